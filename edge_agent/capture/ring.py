"""The way of samples from the audio driver's callback to the reader: a preallocated ring, and a clock for its samples.

The callback runs at real-time priority, so :meth:`SampleRing.write` copies and counts, nothing else: no lock, no
growing. One thread writes, one reads; each changes only its own counters. When the ring is full new samples are lost,
never old ones, because those may be under the reader's hands.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive samples, float32 [n, channels].

    ``lost`` frames are missing before it; ``flagged``: so is a number of them that the driver does not tell.
    """

    samples: npt.NDArray[np.float32]
    lost: int
    flagged: bool


class SampleRing:
    """Room for ``capacity`` frames of ``channels`` samples."""

    def __init__(self, capacity: int, channels: int) -> None:
        self._data = np.zeros((capacity, channels), np.float32)
        self._capacity = capacity
        self._written = 0
        self._read = 0
        self._lost = 0
        self._overflows = 0
        self._marks: deque[tuple[int, int, bool]] = deque()
        self._arrival: tuple[int, float] = (0, 0.0)
        self._pending = (0, False)

    def write(self, samples: npt.NDArray[Any], now: float, overflow: bool) -> None:
        """Append float32 [n, channels] that ended about ``now``; ``overflow``: the driver lost samples before them."""
        count = len(samples)
        lost, flagged = self._pending
        if overflow:
            self._overflows += 1
            flagged = True
        room = self._capacity - (self._written - self._read)
        if room < count:
            self._lost += count
            self._pending = (lost + count, flagged)
            return
        if lost or flagged:
            self._marks.append((self._written, lost, flagged))
            self._pending = (0, False)
        begin = self._written % self._capacity
        first = min(count, self._capacity - begin)
        self._data[begin : begin + first] = samples[:first]
        self._data[: count - first] = samples[first:]
        self._written += count
        self._arrival = (self._written + self._lost, now)

    def take(self, most: int) -> Chunk | None:
        """At most ``most`` frames that follow each other without a loss, copied; None when there are none."""
        lost, flagged = 0, False
        # The counter first: a mark is appended before the samples behind it are counted.
        end = self._written
        while self._marks and self._marks[0][0] == self._read:
            _, more, flag = self._marks.popleft()
            lost, flagged = lost + more, flagged or flag
        if self._marks:
            end = min(end, self._marks[0][0])
        count = min(most, end - self._read)
        if count <= 0:
            if lost or flagged:
                self._marks.appendleft((self._read, lost, flagged))
            return None
        begin = self._read % self._capacity
        first = min(count, self._capacity - begin)
        samples = np.concatenate([self._data[begin : begin + first], self._data[: count - first]])
        self._read += count
        return Chunk(samples, lost, flagged)

    @property
    def ready(self) -> int:
        """Frames that can be taken."""
        return self._written - self._read

    @property
    def arrival(self) -> tuple[int, float]:
        """How many frames the driver had delivered at the last write, lost ones included, and when that was."""
        return self._arrival

    @property
    def lost(self) -> int:
        """Frames that found the ring full."""
        return self._lost

    @property
    def overflows(self) -> int:
        """Times the driver reported lost samples of unknown number."""
        return self._overflows


class SampleClock:
    """When sample ``n`` of a device was heard, by the monotonic clock. Pure.

    A device counts by its own quartz (100 ppm are 9 s a day) and delivers in bursts, always late, never early. So the
    clock follows the *least* late arrival of the last ``_SPAN`` seconds, and what it finds is either drift, which
    shifts the time silently, or more than ``_JUMP_S`` at once, which is sound that nobody reported lost.
    """

    _SPAN = 10.0
    _DRIFT_S = 0.02
    _JUMP_S = 0.25

    def __init__(self, rate: float, latency: float = 0.0) -> None:
        self._rate = rate
        self._latency = latency
        self._anchor: float | None = None
        self._late: deque[tuple[float, float]] = deque()

    def time(self, position: float) -> float:
        """Monotonic time of frame ``position``."""
        return (self._anchor or 0.0) + position / self._rate

    def observe(self, delivered: int, now: float, *, resync: bool = False) -> float:
        """Learn that ``delivered`` frames had come at ``now``; seconds of sound found missing.

        ``resync``: the driver lost an unknown number just before; believe this one arrival.
        """
        if self._anchor is None:
            self._anchor = now - self._latency - delivered / self._rate
            return 0.0
        late = now - self._latency - self.time(delivered)
        if resync:
            return self._shift(max(0.0, late))
        self._late.append((now, late))
        if now - self._late[0][0] < self._SPAN:
            return 0.0
        while now - self._late[0][0] > self._SPAN:
            self._late.popleft()
        least = min(late for _, late in self._late)
        if abs(least) < self._DRIFT_S:
            return 0.0
        self._shift(least)
        return least if least > self._JUMP_S else 0.0

    def _shift(self, seconds: float) -> float:
        assert self._anchor is not None
        self._anchor += seconds
        self._late.clear()
        return seconds
