"""Capture stage: cameras, microphones, network streams and recordings as sources of frames and audio blocks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_agent.capture.reopening import Reopening, SourceStatus
from edge_agent.capture.replay import ReplayGroup
from edge_agent.capture.select import make_audio, make_video
from edge_agent.capture.timing import Demand

if TYPE_CHECKING:
    from edge_agent.capture.media import AudioInfo, MediaInfo, VideoInfo, iter_blocks, iter_media, read_media

__all__ = [
    "AudioInfo",
    "Demand",
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


def __getattr__(name: str) -> Any:
    """Import what reads recordings at its first use: PyAV takes 16 MB, and a live agent reads none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.media"), name)
