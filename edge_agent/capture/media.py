"""Recordings, opened and read with PyAV, which this module and :mod:`edge_agent.capture.decode` own.

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
"""A file is read by itself: nothing that it names is opened."""
_REORDERED_S = 3.0
"""Pictures are stored at most so long before they are shown."""


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
    """What a media file holds. ``duration`` in seconds, 0 for a still picture.

    ``still``: there is just one picture. ``jumps`` of the time stamps, where the file was read whole: the times of what
    is decoded go on over them, and so does the duration.
    """

    path: Path
    duration: float
    video: VideoInfo | None
    audio: AudioInfo | None
    still: bool = False
    jumps: tuple[Jump, ...] = ()

    def warnings(self) -> Iterator[str]:
        """What was odd in the file, a line each."""
        for jump in self.jumps[:3]:
            told = f"jump {'ahead' if jump.by > 0 else 'back'} by {abs(jump.by):.1f} s at {jump.time:.1f} s"
            yield f"{self.path}: the time stamps {told}; times go on as if they did not"
        if len(self.jumps) > 3:
            yield f"{self.path}: {len(self.jumps) - 3} more jumps of the time stamps"


def read_media(path: Path, *, whole: bool = False) -> MediaInfo:
    """What ``path`` holds. ``whole``: all of it is read, nothing decoded, for its jumps and a duration true to them.

    Raises:
        MediaError: no such file, a directory, a pipe or a device, not readable, empty, in no known format, or neither
            picture nor sound.
    """
    with _open(path) as file:
        found = MediaInfo(path, 0.0, file.video_info(), file.audio_info(), still=file.is_picture)
        return found if file.is_picture else _survey(file, found, whole)


def _survey(file: _File, found: MediaInfo, whole: bool) -> MediaInfo:
    """What the header does not tell, or not truly: how many pictures there are, and when the last one ends."""
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
    with _open(path) as file:
        if file.video is None:
            raise MediaError(f"{path}: holds no picture")
        try:
            yield from file.pictures()
        except MediaError as error:
            log.warning("%s: cut short: %s", path, error)


def iter_blocks(path: Path, channel: int | None = None) -> Generator[AudioBlock]:
    """All sound of a file in blocks of 0.1 s (the last one may be shorter). Raises as :func:`read_media`."""
    with _open(path) as file:
        if file.audio is None:
            raise MediaError(f"{path}: holds no sound")
        try:
            yield from decode_blocks(file.packets(file.audio), start_of(file.container), channel, file.far)
        except MediaError as error:
            log.warning("%s: cut short: %s", path, error)


@dataclass(frozen=True, slots=True)
class _File:
    """An open file. ``layout`` of a picture that stands still."""

    path: Path
    container: Any
    form: Format
    layout: Still | None

    @property
    def is_picture(self) -> bool:
        """Whether the format holds one picture that stands still, or one of them that counts."""
        return self.layout is not None and (self.form.demuxer.endswith("_pipe") or self.form.demuxer == "mov")

    @property
    def video(self) -> Any:
        """The stream of the picture; of a picture in tiles, that of the first one."""
        if self.layout is not None and (self.layout.grid or self.layout.item is not None):
            wanted = self.layout.grid.tiles[0] if self.layout.grid else self.layout.item
            return next((s for s in self.container.streams.video if s.id == wanted and s.codec_context), None)
        if self.form.medium == "picture":  # beside its pictures in motion an AVIF holds one of them as a still
            return max(self.container.streams.video, key=lambda stream: stream.frames, default=None)
        return video_of(self.container)

    @property
    def audio(self) -> Any:
        """The stream of the sound."""
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
        """The times of one pass over the file."""
        return Timeline(start_of(self.container), self.far)

    @property
    def far(self) -> float:
        """The longest pause in seconds that is believed."""
        return FAR_RESTARTING_S if self.form.restarts else FAR_S

    def packets(self, wanted: Any = None, times: Timeline | None = None) -> Iterator[Any]:
        """Packets of picture and sound, or of the ``wanted`` one, whose stamps go on where they jump.

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
        """All pictures; of a format for stills the first one only: what follows is a thumbnail or a map of it."""
        if self.layout is not None and self.layout.grid:
            yield assemble(self.container, self.layout.grid, self.layout.turn)
            return
        turn = self.layout.turn if self.layout else None
        for picture in decode(self.container, self.video, self.packets(self.video), turn, self.far):
            yield picture
            if self.is_picture:
                return


def _stamp(packet: Any) -> tuple[float | None, bool]:
    """When a packet is decoded; when that is not told, or made up by whoever wrote the file, when it is shown."""
    shown, decoded = (None if ticks is None else float(ticks * packet.time_base) for ticks in (packet.pts, packet.dts))
    known = decoded is not None and (shown is None or abs(shown - decoded) < _REORDERED_S)
    return (decoded, True) if known else (shown, False)


def _move(packet: Any, ticks: int) -> None:
    if ticks:
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks


@contextmanager
def _open(path: Path) -> Iterator[_File]:
    """A file with at least one picture or sound stream. Raises as :func:`read_media`."""
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
                # Threads that work on several pictures at once are fastest, but hold them back: not for live streams.
                opened.video.thread_type = "AUTO"
            yield opened


@contextmanager
def _open_bytes(path: Path) -> Iterator[BinaryIO]:
    """A regular file that is not empty. Raises MediaError."""
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            # It is read more than once, and a film does not fit into the memory of a small machine.
            what = "a pipe" if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else "a device"
            raise MediaError(f"{path}: is {what}; save what comes from it to a file and name that")
        file = path.open("rb")
    except FileNotFoundError:
        if str(path) == "-":
            raise MediaError("-: standard input is not read; save it to a file and name that") from None
        raise MediaError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise MediaError(f"{path}: is a directory; name a media file in it") from None
    except PermissionError:
        raise MediaError(f"{path}: may not be read; check its permissions") from None
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        if not file.read(1):
            raise MediaError(f"{path}: the file is empty")
        yield file
