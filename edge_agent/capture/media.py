"""Decoding recordings and network streams with PyAV, which this module owns.

PyAV rather than the ffmpeg binary or OpenCV: it has wheels with all codecs for x86-64 and aarch64, so nothing outside
of pip is needed; it decodes sound as well as pictures, in one time base; and it tells a damaged frame from a good one.
Only the first picture and the first sound stream are used; subtitles, cover art and further streams are ignored.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from edge_agent.capture.sound import Resampler, Samples, replace_bad, to_float, to_mono
from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame

log = logging.getLogger(__name__)

BLOCK = AUDIO_RATE // 10
"""Samples in a block of sound: 0.1 s."""

GAP_S = 0.05
"""Time stamps of sound that jump forward by more than this mean lost sound."""

LENIENT: Mapping[str, str] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Titles and names in old encodings are no reason to refuse a file; PyAV 19 always replaces what it cannot decode."""

_MAX_PIXELS = 8192 * 8192
_INTRA = frozenset({"mjpeg", "mjpegb", "jpegls", "png", "gif"})
"""Codecs whose frames stand alone: one with any error is dropped rather than shown half grey."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The picture stream of a file. ``fps`` is the average rate, None when unknown; size as stored, before rotation."""

    width: int
    height: int
    fps: float | None
    codec: str


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The sound stream of a file as stored."""

    rate: int
    channels: int
    codec: str


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a media file holds. ``duration`` in seconds, 0 for a still picture."""

    path: Path
    duration: float
    video: VideoInfo | None
    audio: AudioInfo | None


class Picture:
    """A decoded picture that is converted only when wanted. ``time`` in seconds from the start of the recording."""

    __slots__ = ("_frame", "index", "time")

    def __init__(self, frame: Any, time: float, index: int) -> None:
        self._frame = frame
        self.time = time
        self.index = index

    def to_frame(self, time: float) -> Frame | None:
        """The picture, upright, as BGR with the given time; None when its format cannot be converted."""
        try:
            image: npt.NDArray[np.uint8] = self._frame.to_ndarray(format="bgr24")
        except (av.error.FFmpegError, ValueError) as error:
            log.debug("picture %d cannot be converted: %s", self.index, error)
            return None
        turns = round(self._frame.rotation / 90) % 4
        return Frame.from_bgr(np.ascontiguousarray(np.rot90(image, turns)) if turns else image, time, self.index)


def read_media(path: Path) -> MediaInfo:
    """What ``path`` holds.

    Raises:
        MediaError: no such file, a directory, not readable, empty, not a media file, or neither picture nor sound.
    """
    with open_file(path) as container:
        video, audio = _video(container), _audio(container)
        duration = _duration(container)
        return MediaInfo(
            path,
            _measured_duration(path) if duration is None else duration,
            video and VideoInfo(video.width, video.height, _fps(video), video.codec_context.name),
            audio and AudioInfo(audio.rate, audio.codec_context.layout.nb_channels, audio.codec_context.name),
        )


def iter_media(path: Path, channel: int | None = None) -> Generator[Frame | AudioBlock]:
    """Every picture, and all sound in blocks of about 0.1 s, of a file in the order of their times, as fast as it goes.

    Times count from the start of the recording. Pictures that do not decode are missing, their indices skipped.

    Raises:
        MediaError: as :func:`read_media`, or when nothing in the file could be decoded.
    """
    info = read_media(path)
    found = False
    # One container each: the order of packets inside a file then bounds neither memory nor the order of what comes out.
    with closing(iter_frames(path)) as frames, closing(iter_blocks(path, channel)) as blocks:
        streams: list[Iterator[Frame | AudioBlock]] = []
        streams += [frames] if info.video else []
        streams += [blocks] if info.audio else []
        for item in heapq.merge(*streams, key=lambda item: item.time):
            found = True
            yield item
    if not found:
        raise MediaError(f"{path}: nothing in it could be decoded; the file is damaged")


def iter_frames(path: Path) -> Generator[Frame]:
    """All pictures of a file as BGR frames. Raises MediaError as :func:`read_media`."""
    with closing(iter_pictures(path)) as pictures:
        for picture in pictures:
            frame = picture.to_frame(picture.time)
            if frame is not None:
                yield frame


def iter_pictures(path: Path) -> Generator[Picture]:
    """All pictures of a file, not yet converted; damage in the middle ends it early. Raises as :func:`read_media`."""
    with open_file(path) as container:
        if _video(container) is None:
            raise MediaError(f"{path}: holds no picture")
        try:
            yield from decode_pictures(container)
        except MediaError as error:
            log.warning("%s: cut short: %s", path, error)


def iter_blocks(path: Path, channel: int | None = None) -> Generator[AudioBlock]:
    """All sound of a file in blocks of 0.1 s (the last one may be shorter). Raises as :func:`read_media`."""
    with open_file(path) as container:
        if _audio(container) is None:
            raise MediaError(f"{path}: holds no sound")
        try:
            yield from _decode_blocks(container, channel)
        except MediaError as error:
            log.warning("%s: cut short: %s", path, error)


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """An open container of a local file with at least one picture or sound stream. Raises as :func:`read_media`."""
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise MediaError(f"{path}: is a directory; name a media file in it") from None
    except PermissionError:
        raise MediaError(f"{path}: may not be read; check its permissions") from None
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from error
    if empty:
        raise MediaError(f"{path}: the file is empty")
    try:
        container = av.open(str(path), **LENIENT)
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: not a media file that can be decoded ({error.strerror})") from error
    with container:
        # FFmpeg "plays" any text file as terminal art.
        if container.format.name == "tty" or not (_video(container) or _audio(container)):
            raise MediaError(f"{path}: holds no picture and no sound that can be decoded")
        for stream in container.streams.video:
            # Threads that work on several pictures at once are fastest, but hold them back: not for live streams.
            stream.thread_type = "AUTO"
        yield container


@contextmanager
def open_stream(url: str, options: Mapping[str, str], open_s: float, read_s: float) -> Iterator[Any]:
    """An open container of a network stream that has a picture.

    Raises:
        MediaError: cannot be reached or understood in ``open_s`` seconds. The text never holds the URL.
    """
    try:
        container = av.open(url, options=dict(options), timeout=(open_s, read_s), **LENIENT)
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(str(error.strerror)) from None  # the cause's own text holds the URL, as a traceback shows
    with container:
        if _video(container) is None:
            raise MediaError("the stream has no picture")
        yield container


def decode_pictures(container: Any) -> Iterator[Picture]:
    """Pictures of an open container; those that do not decode are skipped, but counted by ``index``.

    Raises:
        MediaError: the container cannot be read further (its end is no error).
    """
    stream = _video(container)
    intra = stream.codec_context.name in _INTRA
    stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS), **({"err_detect": "explode"} if intra else {})}
    start, fps = _start(container), _fps(stream) or 25.0
    index, time = 0, 0.0
    for packet in _packets(container, stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            log.debug("picture %d does not decode: %s", index, error)
            index += 1
            continue
        for frame in frames:
            stamped = frame.time - start if frame.time is not None else index / fps
            time = max(time, stamped)
            if not frame.is_corrupt:
                yield Picture(frame, time, index)
            index += 1


def _decode_blocks(container: Any, channel: int | None) -> Iterator[AudioBlock]:
    """Sound of an open container, cut into blocks; a jump of the time stamps becomes a gap."""
    stream, start = _audio(container), _start(container)
    cutter: _Cutter | None = None
    for packet in _packets(container, stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            log.debug("sound does not decode: %s", error)
            continue
        for frame in frames:
            expected = cutter.expected if cutter else 0.0
            time = frame.time - start if frame.time is not None else expected
            if cutter is None or cutter.rate != frame.sample_rate or abs(time - expected) > GAP_S:
                if cutter:
                    yield from cutter.finish()
                # Stamps that jump back are damage, not time travel: the sound goes on where it was.
                cutter = _Cutter(
                    frame.sample_rate, max(time, expected), gap=max(0.0, time - expected) if cutter else 0.0
                )
            yield from cutter.push(to_mono(_samples(frame), channel))
    if cutter:
        yield from cutter.finish()


class _Cutter:
    """Resamples one unbroken stretch of sound and cuts it into blocks."""

    def __init__(self, rate: int, time: float, gap: float) -> None:
        self.rate = rate
        self.expected = time
        """When the next input sample is due."""
        self._resampler = Resampler(rate)
        self._time = time
        self._gap = gap
        self._made = 0
        self._rest: Samples = np.zeros(0, np.float32)

    def push(self, samples: Samples) -> Iterator[AudioBlock]:
        """Blocks that became complete."""
        self.expected += len(samples) / self.rate
        samples, _bad = replace_bad(samples)
        self._rest = np.concatenate([self._rest, self._resampler.push(samples)])
        while len(self._rest) >= BLOCK:
            yield self._cut(BLOCK)

    def finish(self) -> Iterator[AudioBlock]:
        """What is left."""
        self._rest = np.concatenate([self._rest, self._resampler.push(np.zeros(0, np.float32), last=True)])
        while len(self._rest):
            yield self._cut(min(BLOCK, len(self._rest)))

    def _cut(self, count: int) -> AudioBlock:
        block = AudioBlock(self._rest[:count], self._time + self._made / AUDIO_RATE, self._gap)
        self._rest = self._rest[count:]
        self._made += count
        self._gap = 0.0
        return block


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    try:
        yield from container.demux(stream)
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(str(error.strerror)) from error


def _samples(frame: Any) -> Samples:
    """float32 [n, channels] of a sound frame in any layout."""
    data = to_float(frame.to_ndarray())
    return data.T if frame.format.is_planar else data.reshape(-1, frame.layout.nb_channels)


def _video(container: Any) -> Any:
    """The first stream that is a picture and not a cover."""
    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & cover and s.codec_context), None)


def _audio(container: Any) -> Any:
    return next((s for s in container.streams.audio if s.codec_context), None)


def _fps(stream: Any) -> float | None:
    return float(stream.average_rate) if stream.average_rate else None


def _start(container: Any) -> float:
    """The container's first time stamp in seconds: the moment all times of the recording count from."""
    return container.start_time / av.time_base if container.start_time is not None else 0.0


def _duration(container: Any) -> float | None:
    """Seconds, 0 for a still picture, None when the container does not say."""
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        return 0.0
    return container.duration / av.time_base if container.duration is not None else None


def _measured_duration(path: Path) -> float:
    """The end of the last packet, found by reading all of the file but decoding nothing."""
    with open_file(path) as container:
        start, end = _start(container), 0.0
        try:
            for packet in container.demux():
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start)
        except (av.error.FFmpegError, OSError) as error:
            log.warning("%s: cut short: %s", path, error.strerror)
        return end
