"""Decode pictures and sound of an open PyAV container, for files and network streams.

PyAV belongs to this module and to :mod:`edge_agent.capture.media`, which opens files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

from edge_agent.capture.picture import MAX_PIXELS, Grid, Image, Picture, Turn, square_size
from edge_agent.capture.sound import BLOCK, Mixer, Resampler, Samples, replace_bad, to_float
from edge_agent.capture.timing import FAR_RESTARTING_S, Meter, Steps
from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AUDIO_RATE, AudioBlock

log = logging.getLogger(__name__)

GAP_S = 0.05
"""Forward jumps of audio time stamps above this are lost sound."""

_PYAV = int(av.__version__.split(".")[0])

LENIENT: Mapping[str, str] = {"metadata_errors": "replace"} if _PYAV < 19 else {}
"""Titles and names in old encodings are no reason to refuse a file; PyAV 19 always replaces what it cannot decode."""

_INTRA = frozenset({"mjpeg", "mjpegb", "jpegls", "png", "apng", "gif", "bmp", "webp"})
"""Codecs whose frames stand alone: one with any error is dropped rather than shown half grey."""


_ONE_THREAD: Mapping[str, int] = {"threads": 1} if _PYAV >= 17 else {}
"""Converts on the calling thread; libswscale otherwise starts one for each core, and for each picture anew."""
_TURN_S = 5.0
_UNSPECIFIED, _BT470BG, _SMPTE170M = 2, 5, 6
_BT601 = (_UNSPECIFIED, _BT470BG, _SMPTE170M)
"""Colour spaces that I420 frames are in; an unspecified one is taken for it, as libswscale does."""
_LIMITED = 1


@contextmanager
def open_stream(url: str, options: Mapping[str, str], open_s: float, read_s: float) -> Iterator[Any]:
    """Open a network stream that has a picture.

    Raises:
        MediaError: cannot be reached or understood in ``open_s`` seconds. The text never holds the URL.
    """
    try:
        container = av.open(url, options=dict(options), timeout=(open_s, read_s), **LENIENT)
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(str(error.strerror)) from None  # the cause's text holds the URL, and a traceback would show it
    with container:
        if video_of(container) is None:
            raise MediaError("the stream has no picture")
        yield container


def decode_pictures(container: Any, meter: Meter) -> Iterator[Picture]:
    """Decode the pictures of an open network stream; damaged ones are skipped but counted in ``index``.

    ``meter`` measures the stream on the way.

    Raises:
        MediaError: the container cannot be read further (its end is no error).
    """
    stream = video_of(container)
    yield from decode(container, stream, meter.watch(demux(container, stream)))


def decode(
    container: Any, stream: Any, packets: Iterator[Any], turn: Turn | None = None, far: float = FAR_RESTARTING_S
) -> Iterator[Picture]:
    """Decode the pictures of ``packets``. ``turn``: their orientation; None to read it from each picture. ``far``: the
    longest plausible pause in seconds.
    """
    intra = stream.codec_context.name in _INTRA
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS), **({"err_detect": "explode"} if intra else {})}
    start, fps = start_of(container), fps_of(stream) or 25.0
    index, time, steps, shown = 0, 0.0, Steps(far), -1
    convert, turns = VideoReformatter(), _Turns()
    for packet in packets:
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            log.debug("picture %d does not decode: %s", index, error)
            index += 1
            continue
        for frame in frames:
            stamped = frame.time - start if frame.time is not None else index / fps
            due = time + (index - shown) / fps
            time = max(time, steps.place(stamped, time, due) if shown >= 0 else stamped)
            shown = index
            if not frame.is_corrupt:
                tell = partial(turns.of, frame, time) if turn is None else partial(_same, turn)
                aspect = _aspect(stream)
                render, planes = partial(_render, convert, frame, aspect), partial(_planes, frame, aspect)
                yield Picture(render, tell, time, index, planes)
            index += 1


def _render(convert: Any, frame: Any, aspect: float | None = None) -> Image:
    """Convert a decoded frame to BGR with square pixels. Raises ValueError."""
    width, height = square_size(frame.width, frame.height, aspect)
    try:
        image: Image = convert.reformat(frame, width, height, "bgr24", **_ONE_THREAD).to_ndarray()
    except av.error.FFmpegError as error:
        raise ValueError(str(error)) from error
    return image


def _planes(frame: Any, aspect: float | None) -> Image | None:
    """Copy the planes of a frame that is in I420 as :class:`PixelFormat` defines it, as most films are; else None."""
    size = (frame.width, frame.height)
    planar = frame.format.name == "yuv420p" and not (frame.width % 2 or frame.height % 2)
    if not planar or int(frame.colorspace) not in _BT601 or int(frame.color_range) > _LIMITED:
        return None
    image: Image | None = frame.to_ndarray() if square_size(*size, aspect) == size else None
    return image


def _same(turn: Turn) -> Turn:
    return turn


class _Turns:
    """Orientation of a film's pictures, read from one in five seconds and from the first of another size.

    Reading it ties picture and side data together, so that the memory of both is in use until the garbage collector
    runs: that of hundreds of pictures, were it read from each.
    """

    def __init__(self) -> None:
        self._read: tuple[float, int, int] | None = None
        self._turn = Turn()

    def of(self, frame: Any, time: float) -> Turn:
        """Return the orientation of ``frame``, shown at ``time``."""
        size = (frame.width, frame.height)
        if self._read is None or self._read[1:] != size or not 0 <= time - self._read[0] < _TURN_S:
            self._read, self._turn = (time, *size), _turn(frame)
        return self._turn


def _turn(frame: Any) -> Turn:
    """Read a frame's orientation from its display matrix."""
    try:
        told = frame.side_data.get(SideData.DISPLAYMATRIX)
    except ValueError:  # PyAV 18 cannot read all side data of FFmpeg 8; the angle is available nevertheless
        turn = Turn()
        for _ in range(round(frame.rotation / 90) % 4):
            turn = turn.then(Turn(swap=True, flip=True))
        return turn
    if told is None:
        return Turn()
    a, b, _u, c, d = np.frombuffer(bytes(told), np.int32)[:5].tolist()
    return Turn.of_matrix(a, b, c, d)


def _aspect(stream: Any) -> float | None:
    """Return the sample aspect ratio, width over height; None when unknown."""
    for told in (stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio):
        try:
            if told:
                return float(told)
        except (ArithmeticError, ValueError):
            log.debug("invalid sample aspect ratio %s", told)
    return None


def assemble(container: Any, grid: Grid, turn: Turn) -> Picture:
    """Assemble a tiled picture. Raises MediaError when a tile is missing, damaged or of another size."""
    places = {number: divmod(k, grid.columns) for k, number in enumerate(grid.tiles)}
    streams, convert = [stream for stream in container.streams.video if stream.id in places], VideoReformatter()
    whole, missing = np.zeros((grid.height, grid.width, 3), np.uint8), set(places)
    try:
        for packet in container.demux(*streams):
            for frame in packet.decode():
                tile = _render(convert, frame)
                row, column = places[packet.stream.id]
                top, left = row * frame.height, column * frame.width
                if grid.rows * frame.height < grid.height or grid.columns * frame.width < grid.width:
                    raise MediaError("its tiles do not cover the picture")
                part = whole[top : top + frame.height, left : left + frame.width]
                part[:] = tile[: part.shape[0], : part.shape[1]]
                missing -= set() if frame.is_corrupt else {packet.stream.id}
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"a tile of the picture cannot be decoded: {error}") from error
    if missing:
        raise MediaError(f"{len(missing)} of the picture's {len(places)} tiles cannot be decoded")
    return Picture(lambda: whole, partial(_same, turn), 0.0, 0)


def decode_blocks(packets: Iterator[Any], start: float, channel: int | None, far: float) -> Iterator[AudioBlock]:
    """Decode audio packets into blocks with times relative to ``start``; a pause in the stamps becomes a gap."""
    mixer, steps = Mixer(channel), Steps(far)
    cutter: _Cutter | None = None
    for packet in packets:
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            log.debug("sound does not decode: %s", error)
            continue
        for frame in frames:
            expected = cutter.expected if cutter else 0.0
            time = expected if frame.time is None else frame.time - start
            if cutter and frame.time is not None:
                time = steps.place(time, expected, expected)
            if cutter is None or cutter.rate != frame.sample_rate or abs(time - expected) > GAP_S:
                if cutter:
                    yield from cutter.finish()
                # Stamps that jump back are damage: the sound continues where it was.
                cutter = _Cutter(
                    frame.sample_rate, max(time, expected), gap=max(0.0, time - expected) if cutter else 0.0
                )
            yield from cutter.push(mixer.push(_samples(frame), frame.sample_rate, _low(frame)))
    if cutter:
        yield from cutter.finish()


class _Cutter:
    """Resample one continuous stretch of sound and cut it into blocks."""

    def __init__(self, rate: int, time: float, gap: float) -> None:
        self.rate = rate
        self.expected = time
        """Time of the next input sample."""
        self._resampler = Resampler(rate)
        self._time = time
        self._gap = gap
        self._made = 0
        self._rest: Samples = np.zeros(0, np.float32)

    def push(self, samples: Samples) -> Iterator[AudioBlock]:
        """Append samples; yield the completed blocks."""
        self.expected += len(samples) / self.rate
        samples, _bad = replace_bad(samples)
        self._rest = np.concatenate([self._rest, self._resampler.push(samples)])
        while len(self._rest) >= BLOCK:
            yield self._cut(BLOCK)

    def finish(self) -> Iterator[AudioBlock]:
        """Flush the resampler and yield the last blocks."""
        self._rest = np.concatenate([self._rest, self._resampler.push(np.zeros(0, np.float32), last=True)])
        while len(self._rest):
            yield self._cut(min(BLOCK, len(self._rest)))

    def _cut(self, count: int) -> AudioBlock:
        block = AudioBlock(self._rest[:count], self._time + self._made / AUDIO_RATE, self._gap)
        self._rest = self._rest[count:]
        self._made += count
        self._gap = 0.0
        return block


def demux(container: Any, *streams: Any) -> Iterator[Any]:
    try:
        yield from container.demux(*streams)
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(str(error.strerror)) from error


def _low(frame: Any) -> int | None:
    """Return the index of the LFE channel, which holds low frequencies only and is left out of the mix."""
    return next((k for k, channel in enumerate(frame.layout.channels) if channel.name == "LFE"), None)


def _samples(frame: Any) -> Samples:
    """Convert an audio frame of any layout to float32 [n, channels]."""
    data = to_float(frame.to_ndarray())
    return data.T if frame.format.is_planar else data.reshape(-1, frame.layout.nb_channels)


def video_of(container: Any) -> Any:
    """Return the first video stream that is no cover art."""
    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & cover and s.codec_context), None)


def audio_of(container: Any) -> Any:
    return next((s for s in container.streams.audio if s.codec_context), None)


def fps_of(stream: Any) -> float | None:
    return float(stream.average_rate) if stream.average_rate else None


def start_of(container: Any) -> float:
    """Return the container's first time stamp in seconds, which all times of the recording are relative to."""
    return container.start_time / av.time_base if container.start_time is not None else 0.0
