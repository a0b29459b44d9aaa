"""Capture stage: cameras, microphones, network streams and recordings as sources of frames and audio blocks."""

from edge_agent.capture.media import AudioInfo, MediaInfo, VideoInfo, iter_blocks, iter_media, read_media
from edge_agent.capture.reopening import Reopening, SourceStatus
from edge_agent.capture.replay import ReplayGroup
from edge_agent.capture.select import make_audio, make_video

__all__ = [
    "AudioInfo",
    "MediaInfo",
    "Reopening",
    "ReplayGroup",
    "SourceStatus",
    "VideoInfo",
    "iter_blocks",
    "iter_media",
    "make_audio",
    "make_video",
    "read_media",
]
