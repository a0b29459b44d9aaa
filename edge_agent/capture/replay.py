"""A recording in place of a camera and a microphone, in real time, picture and sound in step.

Both replays of one file share a :class:`Timeline`, so a moment of the file is the same moment of the clock in both. A
reader that comes late finds that the recording went on without it, as a camera does: late pictures are skipped (their
indices show it), and sound that is more than :data:`MAX_LAG_S` late becomes a gap. A pass of a looped file lasts
exactly the file's duration in both, so they stay in step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from edge_agent.capture.media import MediaInfo, Picture, iter_blocks, iter_pictures, read_media
from edge_agent.capture.pace import Pacer
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AudioBlock, Frame

MAX_LAG_S = 5.0
"""Sound that the reader did not fetch within this time is lost: as much as the microphone's buffer holds."""

MAX_SKIP_S = 0.5
"""However late they are, pictures are not skipped for longer than this."""


class Timeline:
    """When a recording started, for all that replay it now. The first to join starts it, the last to leave ends it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._members = 0
        self._start = 0.0

    def join(self) -> float:
        """The monotonic time of the recording's beginning."""
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
    """Gives every file one timeline; make one group per agent and hand it to ``make_video`` and ``make_audio``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timelines: dict[Path, Timeline] = {}

    def timeline(self, path: Path) -> Timeline:
        """The timeline of ``path``."""
        return self._timelines.setdefault(path.resolve(), Timeline(self._clock))


class VideoReplay:
    """The pictures of a file in real time. A still picture comes at ``still_fps`` when looped, else once."""

    def __init__(
        self, path: Path, clock: Clock, timeline: Timeline, *, loop: bool = False, still_fps: float = 5.0
    ) -> None:
        self._path = path
        self._clock = clock
        self._timeline = timeline
        self._loop = loop
        self._still_s = 1.0 / still_fps
        self._lock = threading.Lock()
        self._pacer: Pacer | None = None
        self._pictures: Iterator[Picture] = iter(())

    def open(self) -> None:
        """Check the file and start the recording. Raises MediaError as :func:`edge_agent.capture.read_media`."""
        info = read_media(self._path)
        if info.video is None:
            raise MediaError(f"{self._path}: holds no picture; set camera.source to 'none' or to another file")
        self.close()
        with self._lock:
            self._pacer = Pacer(self._clock)
            self._pictures = self._play(info, self._timeline.join(), self._pacer)

    def read(self) -> Frame | None:
        """The next frame that is not late already, at its time; None at the end or after :meth:`close`."""
        while True:
            with self._lock:
                pacer = self._pacer
                picture = next(self._pictures, None)
            if pacer is None or picture is None or not pacer.wait_until(picture.time):
                return None
            with self._lock:
                frame = picture.to_frame(picture.time) if self._pacer is pacer else None
            if frame is not None:
                return frame

    def close(self) -> None:
        """Stop; interrupts :meth:`read`."""
        pacer = self._pacer
        if pacer is None:
            return
        pacer.stop()
        with self._lock:
            if self._pacer is not pacer:
                return
            self._pacer = None
            self._pictures = iter(())
            self._timeline.leave()

    def _play(self, info: MediaInfo, start: float, pacer: Pacer) -> Iterator[Picture]:
        """Pictures stamped with monotonic time, without those whose successor is due already.

        Where decoding is slower than real time, one picture in :data:`MAX_SKIP_S` comes nevertheless, late.
        """
        period = info.duration or self._still_s
        base, waiting, given = 0, None, self._clock.monotonic()
        for begin in _passes(start, period, self._loop, self._clock):
            last = -1
            with closing(iter_pictures(self._path)) as pictures:
                for picture in pictures:
                    if pacer.stopped:
                        return
                    if picture.time >= period and self._loop:
                        break
                    last = picture.index
                    picture.time += begin
                    picture.index += base
                    now = self._clock.monotonic()
                    if waiting is not None and (picture.time > now or now - given > MAX_SKIP_S):
                        given = now
                        yield waiting
                    waiting = picture
            if last < 0:
                raise MediaError(f"{self._path}: no picture in it could be decoded; the file is damaged")
            base += last + 1
        if waiting is not None:
            yield waiting


class AudioReplay:
    """The sound of a file in real time: a block arrives when its last sample has sounded."""

    def __init__(
        self, path: Path, clock: Clock, timeline: Timeline, *, loop: bool = False, channel: int | None = None
    ) -> None:
        self._path = path
        self._clock = clock
        self._timeline = timeline
        self._loop = loop
        self._channel = channel
        self._lock = threading.Lock()
        self._pacer: Pacer | None = None
        self._blocks: Iterator[AudioBlock] = iter(())

    def open(self) -> None:
        """Check the file and start the recording. Raises MediaError as :func:`edge_agent.capture.read_media`."""
        info = read_media(self._path)
        if info.audio is None:
            raise MediaError(f"{self._path}: holds no sound; set microphone.source to 'none' or to another file")
        self.close()
        with self._lock:
            self._pacer = Pacer(self._clock)
            self._blocks = self._play(info, self._timeline.join())

    def read(self) -> AudioBlock | None:
        """The next block, once it has sounded; None at the end or after :meth:`close`."""
        with self._lock:
            pacer = self._pacer
            block = next(self._blocks, None)
        if pacer is None or block is None or not pacer.wait_until(block.end):
            return None
        return block

    def close(self) -> None:
        """Stop; interrupts :meth:`read`."""
        pacer = self._pacer
        if pacer is None:
            return
        pacer.stop()
        with self._lock:
            if self._pacer is not pacer:
                return
            self._pacer = None
            self._blocks = iter(())
            self._timeline.leave()

    def _play(self, info: MediaInfo, start: float) -> Iterator[AudioBlock]:
        """Blocks stamped with monotonic time; what is missing between them, skipped blocks included, is their gap."""
        end = None
        for begin in _passes(start, info.duration, self._loop, self._clock):
            with closing(iter_blocks(self._path, self._channel)) as blocks:
                for recorded in blocks:
                    if recorded.end > info.duration and self._loop:
                        break
                    block = replace(recorded, time=begin + recorded.time)
                    if block.end < self._clock.monotonic() - MAX_LAG_S:
                        continue
                    gap = block.time - (start if end is None else end)
                    end = block.end
                    yield replace(block, gap=gap if gap > 1e-3 else 0.0)


def _passes(start: float, period: float, loop: bool, clock: Clock) -> Iterator[float]:
    """Monotonic times at which the recording begins; passes that are over already are left out."""
    count = 0
    while count == 0 or (loop and period > 0):
        count = max(count, int((clock.monotonic() - start) / period)) if loop and period > 0 else count
        yield start + count * period
        count += 1
