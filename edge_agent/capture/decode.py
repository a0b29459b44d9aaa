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

from edge_agent.capture.picture import MAX_PIXELS, Grid, Image, Picture, Turn, square_size
from edge_agent.capture.sound import Mixer, Resampler, Samples, replace_bad, to_float
from edge_agent.capture.timing import FAR_RESTARTING_S, Meter, Steps
from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AUDIO_RATE, AudioBlock

log = logging.getLogger(__name__)

BLOCK = AUDIO_RATE // 10
"""Samples in a block of sound: 0.1 s."""

GAP_S = 0.05
"""Forward jumps of audio time stamps above this are lost sound."""

LENIENT: Mapping[str, str] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Titles and names in old encodings are no reason to refuse a file; PyAV 19 always replaces what it cannot decode."""

_INTRA = frozenset({"mjpeg", "mjpegb", "jpegls", "png", "apng", "gif", "bmp", "webp"})
"""Codecs whose frames stand alone: one with any error is dropped rather than shown half grey."""


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
                tell = partial(_turn, frame) if turn is None else partial(_same, turn)
                yield Picture(partial(_render, frame, _aspect(stream)), tell, time, index)
            index += 1


def _render(frame: Any, aspect: float | None = None) -> Image:
    """Convert a decoded frame to BGR with square pixels. Raises ValueError."""
    width, height = square_size(frame.width, frame.height, aspect)
    try:
        image: Image = frame.to_ndarray(format="bgr24", width=width, height=height)
    except av.error.FFmpegError as error:
        raise ValueError(str(error)) from error
    return image


def _same(turn: Turn) -> Turn:
    return turn


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
    streams = [stream for stream in container.streams.video if stream.id in places]
    whole, missing = np.zeros((grid.height, grid.width, 3), np.uint8), set(places)
    try:
        for packet in container.demux(*streams):
            for frame in packet.decode():
                tile = _render(frame)
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
