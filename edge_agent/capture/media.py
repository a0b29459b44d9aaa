"""Read recordings and pictures with PyAV, which this module and :mod:`edge_agent.capture.decode` own.

PyAV rather than the ffmpeg binary or OpenCV: it has wheels with all codecs for x86-64 and aarch64, so nothing outside
of pip is needed; it decodes sound as well as pictures, in one time base; and it tells a damaged frame from a good one.
Only the first picture and the first sound stream are used; subtitles, cover art and further streams are ignored.

A file is opened by us and handed over as such: libav never sees its name, which it would read as an address or as a
pattern, and opens nothing that the file names. It is told the format that :mod:`edge_agent.capture.formats` found.
"""

from __future__ import annotations

import heapq
import logging
import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import av

from edge_agent.capture.decode import (
    LENIENT,
    assemble,
    audio_of,
    decode,
    decode_blocks,
    demux,
    fps_of,
    start_of,
    video_of,
)
from edge_agent.capture.formats import ACCEPTED, Format, sniff
from edge_agent.capture.picture import Picture, Still, StillError, read_still
from edge_agent.capture.timing import FAR_RESTARTING_S, FAR_S, Jump, Timeline
from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AudioBlock, Frame

log = logging.getLogger(__name__)

_ALONE = {"protocol_whitelist": "none"}
"""Forbid all protocols: nothing that a file names is opened."""
_SMALL = 1280 * 720
"""Pixels up to which one thread decodes in real time, even on a Raspberry Pi; every other one has its own pictures."""
_REORDERED_S = 3.0
"""Longest plausible time between decoding and showing a picture."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Video stream of a file. ``fps`` is the average rate, None when unknown; size as stored, before rotation."""

    width: int
    height: int
    fps: float | None
    codec: str


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Audio stream of a file as stored."""

    rate: int
    channels: int
    codec: str


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Contents of a media file. ``duration`` in seconds, 0 for a still picture.

    ``still``: there is just one picture. ``jumps`` of the time stamps, when the file was read whole: decoded times and
    the duration continue across them.
    """

    path: Path
    duration: float
    video: VideoInfo | None
    audio: AudioInfo | None
    still: bool = False
    jumps: tuple[Jump, ...] = ()

    def warnings(self) -> Iterator[str]:
        """Yield one line for each irregularity of the file."""
        for jump in self.jumps[:3]:
            told = f"jump {'ahead' if jump.by > 0 else 'back'} by {abs(jump.by):.1f} s at {jump.time:.1f} s"
            yield f"{self.path}: the time stamps {told}; times go on as if they did not"
        if len(self.jumps) > 3:
            yield f"{self.path}: {len(self.jumps) - 3} more jumps of the time stamps"


def read_media(path: Path, *, whole: bool = False) -> MediaInfo:
    """Inspect a media file. ``whole``: read all packets, undecoded, for jumps of the stamps and the true duration.

    Raises:
        MediaError: no such file, a directory, a pipe or a device, not readable, empty, in no known format, or neither
            picture nor sound.
    """
    with _open(path) as file:
        found = MediaInfo(path, 0.0, file.video_info(), file.audio_info(), still=file.is_picture)
        return found if file.is_picture else _survey(file, found, whole)


def _survey(file: _File, found: MediaInfo, whole: bool) -> MediaInfo:
    """Count pictures and measure the duration from the packets, where the header lacks or misstates them."""
    told = file.container.duration
    duration = None if told is None else told / av.time_base
    times, video, pictures = file.timeline(), file.video, 0
    try:
        for packet in file.packets(times=times):
            pictures += bool(packet.size) and video is not None and packet.stream.index == video.index
            if not whole and duration is not None and (pictures > 1 or video is None):
                break
    except MediaError as error:
        log.warning("%s: cut short: %s", file.path, error)
    still = pictures == 1
    if still and not found.audio:
        return replace(found, still=True)
    if duration is None or times.jumps:
        # Raw streams have no stamps.
        duration = times.end or (pictures / (fps_of(video) or 25.0) if video else 0.0)
    return replace(found, duration=duration, still=still, jumps=tuple(times.jumps))


def iter_media(path: Path, channel: int | None = None) -> Generator[Frame | AudioBlock]:
    """Yield a file's pictures and sound (in blocks of about 0.1 s) in order of time, as fast as decoding goes.

    Times count from the start of the recording. Pictures that do not decode are missing, their indices skipped.

    Raises:
        MediaError: as :func:`read_media`, or when nothing in the file could be decoded.
    """
    info = read_media(path)
    found = False
    # One container per stream: interleaving in the file then affects neither memory nor the order of the output.
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
    """Yield a file's pictures as BGR frames. Raises MediaError as :func:`read_media`."""
    with closing(iter_pictures(path)) as pictures:
        for picture in pictures:
            frame = picture.to_frame(picture.time)
            if frame is not None:
                yield frame


def iter_pictures(path: Path, *, live: bool = False) -> Generator[Picture]:
    """Yield a file's pictures, not yet converted; damage ends the file early. Raises as :func:`read_media`.

    ``live``: they are taken in real time, for which one thread suffices unless they are large.
    """
    with _open(path) as file:
        if live and file.video is not None and file.video.width * file.video.height <= _SMALL:
            file.video.codec_context.thread_count = 1
        if file.video is None:
            raise MediaError(f"{path}: holds no picture")
        try:
            yield from file.pictures()
        except MediaError as error:
            log.warning("%s: cut short: %s", path, error)


def iter_blocks(path: Path, channel: int | None = None) -> Generator[AudioBlock]:
    """Yield a file's sound in blocks of 0.1 s (the last may be shorter). Raises as :func:`read_media`."""
    with _open(path) as file:
        if file.audio is None:
            raise MediaError(f"{path}: holds no sound")
        try:
            yield from decode_blocks(file.packets(file.audio), start_of(file.container), channel, file.far)
        except MediaError as error:
            log.warning("%s: cut short: %s", path, error)


@dataclass(frozen=True, slots=True)
class _File:
    """Open media file. ``layout``: metadata of a still picture."""

    path: Path
    container: Any
    form: Format
    layout: Still | None

    @property
    def is_picture(self) -> bool:
        """Whether the file holds a single still picture, or several of which the first counts."""
        return self.layout is not None and (self.form.demuxer.endswith("_pipe") or self.form.demuxer == "mov")

    @property
    def video(self) -> Any:
        """Video stream; of a tiled picture, that of the first tile."""
        if self.layout is not None and (self.layout.grid or self.layout.item is not None):
            wanted = self.layout.grid.tiles[0] if self.layout.grid else self.layout.item
            return next((s for s in self.container.streams.video if s.id == wanted and s.codec_context), None)
        if self.form.medium == "picture":  # an animated AVIF also holds one of its pictures as a still
            return max(self.container.streams.video, key=lambda stream: stream.frames, default=None)
        return video_of(self.container)

    @property
    def audio(self) -> Any:
        """Audio stream."""
        return audio_of(self.container)

    def video_info(self) -> VideoInfo | None:
        video, grid = self.video, self.layout and self.layout.grid
        if video is None:
            return None
        width, height = (grid.width, grid.height) if grid else (video.width, video.height)
        return VideoInfo(width, height, None if grid else fps_of(video), video.codec_context.name)

    def audio_info(self) -> AudioInfo | None:
        audio = self.audio
        if audio is None:
            return None
        return AudioInfo(audio.rate, audio.codec_context.layout.nb_channels, audio.codec_context.name)

    def timeline(self) -> Timeline:
        """Start a timeline for one pass over the file."""
        return Timeline(start_of(self.container), self.far)

    @property
    def far(self) -> float:
        """Longest plausible pause in seconds."""
        return FAR_RESTARTING_S if self.form.restarts else FAR_S

    def packets(self, wanted: Any = None, times: Timeline | None = None) -> Iterator[Any]:
        """Yield packets of all streams, or of the ``wanted`` one, with jumps of the stamps removed.

        Raises:
            MediaError: it cannot be read further.
        """
        times = times or self.timeline()
        for packet in demux(self.container, *(stream for stream in (self.video, self.audio) if stream)):
            base = packet.time_base
            if base:
                stamp, ordered = _stamp(packet)
                seconds = float((packet.duration or 0) * base)
                _move(packet, round(times.shift(packet.stream.index, stamp, seconds, ordered=ordered) / base))
            if wanted is None or packet.stream.index == wanted.index:
                yield packet

    def pictures(self) -> Iterator[Picture]:
        """Yield all pictures; of still formats the first only, as thumbnails or depth maps follow."""
        if self.layout is not None and self.layout.grid:
            yield assemble(self.container, self.layout.grid, self.layout.turn)
            return
        turn = self.layout.turn if self.layout else None
        for picture in decode(self.container, self.video, self.packets(self.video), turn, self.far):
            yield picture
            if self.is_picture:
                return


def _stamp(packet: Any) -> tuple[float | None, bool]:
    """Return the decoding time and True; the presentation time and False where the former is missing or implausible."""
    shown, decoded = (None if ticks is None else float(ticks * packet.time_base) for ticks in (packet.pts, packet.dts))
    known = decoded is not None and (shown is None or abs(shown - decoded) < _REORDERED_S)
    return (decoded, True) if known else (shown, False)


def _move(packet: Any, ticks: int) -> None:
    if ticks:
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks


@contextmanager
def _open(path: Path) -> Iterator[_File]:
    """Open a file with at least one video or audio stream. Raises as :func:`read_media`."""
    with _open_bytes(path) as file:
        form = sniff(file)
        if form is None:
            raise MediaError(f"{path}: not a media file in a known format: {ACCEPTED}")
        if form.demuxer not in av.formats_available:
            raise MediaError(f"{path}: this {form.name} needs a newer decoder (PyAV {av.__version__} is installed)")
        try:
            layout = read_still(file, form) if form.medium == "picture" else None
        except StillError as error:
            raise MediaError(f"{path}: {error}") from error
        file.seek(0)
        try:
            container = av.open(file, format=form.demuxer, options=_ALONE, **LENIENT)
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(f"{path}: {form.name} that cannot be decoded ({error.strerror})") from error
        with container:
            opened = _File(path, container, form, layout)
            if not (opened.video or opened.audio):
                raise MediaError(f"{path}: holds no picture and no sound that can be decoded")
            if opened.video and not (layout and layout.grid):
                # Frame threads are fastest but delay pictures, so they are used for files only.
                opened.video.thread_type = "AUTO"
            yield opened


@contextmanager
def _open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file that is not empty. Raises MediaError."""
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            # A file is read more than once, and a film does not fit into a small machine's memory.
            what = "a pipe" if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else "a device"
            raise MediaError(f"{path}: is {what}; save its data to a file and pass that")
        file = path.open("rb")
    except FileNotFoundError:
        if str(path) == "-":
            raise MediaError("-: standard input is not read; save it to a file and pass that") from None
        raise MediaError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise MediaError(f"{path}: is a directory; pass a media file in it") from None
    except PermissionError:
        raise MediaError(f"{path}: may not be read; check its permissions") from None
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        if not file.read(1):
            raise MediaError(f"{path}: the file is empty")
        yield file
