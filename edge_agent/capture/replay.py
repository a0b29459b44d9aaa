"""Replay a recording in real time in place of a camera and a microphone, picture and sound in step.

Both replays of one file share a :class:`ReplayClock`. A late reader loses data, as with a camera: late pictures are
skipped (their indices show it), and sound that is more than :data:`MAX_LAG_S` late becomes a gap. A pass of a looped
file lasts exactly the file's duration in both, so they stay in step. The demo
camera and microphone need no file: a portrait that moves, and a quiet room. The libraries that decode and draw are
imported by the sources that use them, as a live camera needs neither.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from edge_agent.capture.picture import Picture
from edge_agent.capture.sound import BLOCK
from edge_agent.capture.timing import Pacer
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_LAG_S = 5.0
"""Seconds after which unread sound is lost, as with the microphone's buffer."""

MAX_SKIP_S = 0.5
"""Longest time in seconds for which late pictures are skipped."""


class ReplayClock:
    """Shared start time of the replays of one recording: the first to join starts it, the last to leave ends it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._members = 0
        self._start = 0.0

    def join(self) -> float:
        """Join the replay; return the monotonic time of the recording's beginning."""
        with self._lock:
            if self._members == 0:
                self._start = self._clock.monotonic()
            self._members += 1
            return self._start

    def leave(self) -> None:
        """Undo one :meth:`join`."""
        with self._lock:
            self._members -= 1


class ReplayGroup:
    """Registry of one :class:`ReplayClock` per file; make one per agent, for ``make_video`` and ``make_audio``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timelines: dict[Path, ReplayClock] = {}

    def timeline(self, path: Path) -> ReplayClock:
        """Return the shared clock of ``path``."""
        return self._timelines.setdefault(path.resolve(), ReplayClock(self._clock))


class _Playback(Generic[T]):
    """Common part of both replays: items that one thread takes while another may stop the replay."""

    def __init__(self, clock: Clock, timeline: ReplayClock) -> None:
        self._clock = clock
        self._timeline = timeline
        self._lock = threading.Lock()
        self._pacer: Pacer | None = None
        self._items: Iterator[T] = iter(())

    def start(self, play: Callable[[float, Pacer], Iterator[T]]) -> None:
        """Begin, with the items that ``play`` yields for the recording's start time."""
        self.stop()
        with self._lock:
            self._pacer = pacer = Pacer(self._clock)
            self._items = play(self._timeline.join(), pacer)

    def take(self, due: Callable[[T], float]) -> T | None:
        """Wait until the next item is due and return it; None at the end or when stopped."""
        with self._lock:
            pacer, item = self._pacer, next(self._items, None)
        return item if pacer is not None and item is not None and pacer.wait_until(due(item)) else None

    def stop(self) -> None:
        """Drop the remaining items; waits for the decoding of at most one."""
        pacer = self._pacer
        if pacer is None:
            return
        pacer.stop()
        with self._lock:
            if self._pacer is pacer:
                self._pacer = None
                self._items = iter(())
                self._timeline.leave()


class VideoReplay:
    """Replay a file's pictures in real time. A still picture comes at ``still_fps`` when looped, else once.

    A picture whose time ``wanted`` does not want is counted, and neither waited for nor converted.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        timeline: ReplayClock,
        *,
        loop: bool = False,
        still_fps: float = 5.0,
        wanted: Callable[[float], bool] = lambda _: True,
    ) -> None:
        self._path = path
        self._clock = clock
        self._loop = loop
        self._still_s = 1.0 / still_fps
        self._wanted = wanted
        self._skipped = 0
        self._playback: _Playback[Picture] = _Playback(clock, timeline)

    def open(self) -> None:
        """Check the file and start the recording. Raises MediaError as :func:`edge_agent.capture.read_media`."""
        from edge_agent.capture.media import read_media

        info = read_media(self._path, whole=True)
        if info.video is None:
            raise MediaError(f"{self._path}: holds no picture; set camera.source to 'none' or to another file")
        for warning in info.warnings():
            log.warning("%s", warning)
        self._skipped = 0
        self._playback.start(partial(self._play, info.duration or self._still_s))

    def read(self) -> Frame | None:
        """Wait for the next frame that is not late; None at the end or after :meth:`close`."""
        while (picture := self._playback.take(lambda picture: picture.time)) is not None:
            if not self._wanted(picture.time):  # decoded ahead, before the last look
                self._skipped += 1
                continue
            frame = picture.to_frame(picture.time, live=True)
            if frame is not None:
                return replace(frame, skipped=self._skipped)
        return None

    def close(self) -> None:
        """Stop; interrupts :meth:`read`."""
        self._playback.stop()

    def _play(self, period: float, start: float, pacer: Pacer) -> Iterator[Picture]:
        """Yield pictures with monotonic times, skipping those whose successor is due already.

        Where decoding is slower than real time, one late picture is delivered every :data:`MAX_SKIP_S`.
        """
        waiting, given = None, self._clock.monotonic()
        for picture in self._stamped(period, start):
            now = self._clock.monotonic()
            if pacer.stopped:
                return
            if not self._wanted(picture.time):
                self._skipped += 1
                continue
            if waiting is not None and (picture.time > now or now - given > MAX_SKIP_S):
                given = now
                yield waiting
            waiting = picture
        if waiting is not None:
            yield waiting

    def _stamped(self, period: float, start: float) -> Iterator[Picture]:
        """Yield the pictures of all passes, with monotonic times and continuous indices."""
        from edge_agent.capture.media import iter_pictures

        base = 0
        for begin in _passes(start, period, self._loop, self._clock.monotonic):
            last = -1
            with closing(iter_pictures(self._path, live=True)) as pictures:
                for picture in pictures:
                    if picture.time >= period and self._loop:
                        break
                    last = picture.index
                    picture.time += begin
                    picture.index += base
                    yield picture
            if last < 0:
                raise MediaError(f"{self._path}: no picture in it could be decoded; the file is damaged")
            base += last + 1


class AudioReplay:
    """Replay a file's sound in real time: a block arrives at the time of its last sample."""

    def __init__(
        self, path: Path, clock: Clock, timeline: ReplayClock, *, loop: bool = False, channel: int | None = None
    ) -> None:
        self._path = path
        self._clock = clock
        self._loop = loop
        self._channel = channel
        self._playback: _Playback[AudioBlock] = _Playback(clock, timeline)

    def open(self) -> None:
        """Check the file and start the recording. Raises MediaError as :func:`edge_agent.capture.read_media`."""
        from edge_agent.capture.media import read_media

        info = read_media(self._path, whole=True)
        if info.audio is None:
            raise MediaError(f"{self._path}: holds no sound; set microphone.source to 'none' or to another file")
        self._playback.start(partial(self._play, info.duration))

    def read(self) -> AudioBlock | None:
        """Wait until the next block is over and return it; None at the end or after :meth:`close`."""
        return self._playback.take(lambda block: block.end)

    def close(self) -> None:
        """Stop; interrupts :meth:`read`."""
        self._playback.stop()

    def _play(self, period: float, start: float, pacer: Pacer) -> Iterator[AudioBlock]:
        """Yield blocks with monotonic times; missing sound between them, skipped blocks included, is their gap."""
        from edge_agent.capture.media import iter_blocks

        end = start

        def oldest() -> float:
            return self._clock.monotonic() - MAX_LAG_S

        for begin in _passes(start, period, self._loop, oldest):
            with closing(iter_blocks(self._path, self._channel)) as blocks:
                for recorded in blocks:
                    if pacer.stopped:  # not only this pass: the next one would begin, and so on for ever
                        return
                    rest = round((period - recorded.time) * AUDIO_RATE) if self._loop else len(recorded.samples)
                    if rest <= 0:
                        break
                    block = replace(recorded, time=begin + recorded.time, samples=recorded.samples[:rest])
                    if block.end < oldest():
                        continue
                    gap, end = block.time - end, block.end
                    yield replace(block, gap=gap if gap > 1e-3 else 0.0)


def _passes(start: float, period: float, loop: bool, oldest: Callable[[], float]) -> Iterator[float]:
    """Yield the monotonic start of each pass; passes that end before ``oldest()`` are skipped."""
    count = 0
    while count == 0 or (loop and period > 0):
        if loop and period > 0:
            count = max(count, int((oldest() - start) / period))
        yield start + count * period
        count += 1


_FACE = (222.0, 125.0)
"""Centre of the face in the 512 x 512 portrait."""
_VIEW = 250.0
"""Rows of the portrait that fill the height of the picture; the face is about 105 rows high."""
_KNOCK_S = 7.0
_MAX_LAG_S = 5.0

Image = npt.NDArray[np.uint8]


class DemoCamera:
    """Demo camera: a moving portrait, ``width`` x ``height`` BGR at ``fps``."""

    def __init__(self, clock: Clock, width: int = 640, height: int = 480, fps: float = 15.0) -> None:
        self._clock = clock
        self._size = (width, height)
        self._fps = fps
        self._pacer: Pacer | None = None
        self._portrait: Image = np.zeros((0, 0, 3), np.uint8)
        self._noise: Image = np.zeros((0, 0), np.uint8)
        self._start = 0.0
        self._index = 0

    def open(self) -> None:
        """Load the portrait. Raises MediaError when the extra is not installed."""
        self._portrait = _load_portrait()
        width, height = self._size
        self._noise = np.random.default_rng(0).integers(0, 6, (2 * height, 2 * width, 1), np.uint8)
        self._start, self._index = self._clock.monotonic(), 0
        self._pacer = Pacer(self._clock)

    def read(self) -> Frame | None:
        """Wait for the next frame's time and return it; late frames are skipped. None after :meth:`close`."""
        pacer = self._pacer
        if pacer is None:
            return None
        self._index = max(self._index, int((self._clock.monotonic() - self._start) * self._fps))
        time = self._start + self._index / self._fps
        if not pacer.wait_until(time):
            return None
        frame = Frame.from_bgr(self._render(time - self._start), time, self._index)
        self._index += 1
        return frame

    def close(self) -> None:
        """Stop; interrupts :meth:`read`."""
        if self._pacer is not None:
            self._pacer.stop()
            self._pacer = None

    def _render(self, t: float) -> Image:
        import cv2

        width, height = self._size
        gain = 1.0 + 0.08 * math.sin(t / 4.1)
        image = cv2.warpAffine(
            self._portrait,
            view(t, width, height),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        image = cv2.convertScaleAbs(image, alpha=gain)
        # Camera noise never repeats; a crop that moves over a fixed noise picture is a cheap stand-in.
        x, y = self._index * 37 % width, self._index * 61 % height
        noisy: Image = cv2.add(image, np.repeat(self._noise[y : y + height, x : x + width], 3, axis=2)).astype(np.uint8)
        return noisy


def view(t: float, width: int, height: int) -> npt.NDArray[np.float64]:
    """Return the 2 x 3 matrix from portrait to picture at ``t`` seconds: pan, zoom and roll of unrelated periods."""
    scale = height / _VIEW * (1.0 + 0.10 * math.sin(t / 2.7))
    roll = math.radians(4.0 * math.sin(t / 1.9))
    x = width * (0.5 + 0.08 * math.sin(t / 3.3))
    y = height * (0.5 + 0.05 * math.sin(t / 2.3))
    cos, sin = scale * math.cos(roll), scale * math.sin(roll)
    matrix: npt.NDArray[np.float64] = np.array(
        [
            [cos, sin, x - cos * _FACE[0] - sin * _FACE[1]],
            [-sin, cos, y + sin * _FACE[0] - cos * _FACE[1]],
        ]
    )
    return matrix


class DemoMicrophone:
    """Demo microphone: a quiet room, in blocks of 0.1 s."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pacer: Pacer | None = None
        self._random = np.random.default_rng(0)
        self._start = 0.0
        self._done = 0

    def open(self) -> None:
        """Start."""
        self._start, self._done = self._clock.monotonic(), 0
        self._pacer = Pacer(self._clock)

    def read(self) -> AudioBlock | None:
        """Wait until the next block is over and return it; None after :meth:`close`."""
        pacer = self._pacer
        if pacer is None:
            return None
        lag = self._clock.monotonic() - self._start - self._done * BLOCK / AUDIO_RATE
        skipped = int(lag * AUDIO_RATE / BLOCK) - 1 if lag > _MAX_LAG_S else 0
        self._done += skipped + 1
        if not pacer.wait_until(self._start + self._done * BLOCK / AUDIO_RATE):
            return None
        t = (self._done - 1) * BLOCK / AUDIO_RATE
        return AudioBlock(sound(t, self._random), self._start + t, gap=skipped * BLOCK / AUDIO_RATE)

    def close(self) -> None:
        """Stop; interrupts :meth:`read`."""
        if self._pacer is not None:
            self._pacer.stop()
            self._pacer = None


def sound(t: float, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Synthesise the block that begins at ``t`` seconds: noise at -60 dBFS, and a knock every few seconds."""
    since = (t + np.arange(BLOCK) / AUDIO_RATE) % _KNOCK_S
    knock = 0.2 * np.exp(-since * 40.0) * np.sin(2 * np.pi * 180.0 * since)
    return (knock + random.normal(0.0, 0.001, BLOCK)).astype(np.float32)


def _load_portrait() -> Image:
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise MediaError("the demo camera needs scikit-image: pip install 'edge-emotion-agent[demo]'") from error
    portrait: Image = np.ascontiguousarray(astronaut()[:, :, ::-1])
    return portrait
