"""Convert samples of any device or file to finite mono float32 at 16 kHz; ring buffer between callback and reader.

Owns soxr. The audio driver's callback runs at real-time priority, so :meth:`SampleRing.write` copies and counts and
does nothing else: no lock, no allocation of the buffer. One thread writes and one reads; each changes only its own
counters. When the ring is full, new samples are lost rather than old ones, because the reader may be copying those.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.media import AUDIO_RATE

Samples = npt.NDArray[np.float32]

BLOCK = AUDIO_RATE // 10
"""Samples in a block of sound: 0.1 s."""

LOST = 0.2
"""Power of the channels' mean, as a share of the loudest channel's, below which the mean counts as cancelled."""
HALF_LIFE_S = 3.0
"""Half-life in seconds of the channel powers that the mixer averages."""
FADE_S = 0.02


def to_float(samples: npt.NDArray[Any]) -> Samples:
    """Convert PCM samples of any type and shape to float32 in [-1, 1]; unsigned bytes are centred on 128."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(samples.dtype, np.integer):
        scaled: Samples = samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
        return scaled
    converted: Samples = samples.astype(np.float32, copy=False)
    return converted


def replace_bad(samples: Samples) -> tuple[Samples, int]:
    """Replace NaN and infinities by silence, clip to [-1, 1]; return the samples and how many were not finite."""
    finite = np.isfinite(samples)
    bad = int(samples.size - np.count_nonzero(finite))
    if bad:
        samples = np.where(finite, samples, np.float32(0.0))
    return np.clip(samples, -1.0, 1.0), bad


class Mixer:
    """Mix a stream of any number of channels down to mono: the chosen ``channel``, or the mean of all.

    Where channels cancel each other, or all but a few are silent, the mean loses most of the sound: then the loudest
    channel is used alone for as long as that holds. Changes are cross-faded.
    """

    def __init__(self, channel: int | None = None) -> None:
        self._channel = channel
        self._alone: int | None = None
        self._mean = 0.0
        self._powers: npt.NDArray[np.float64] = np.zeros(0)

    def push(self, samples: Samples, rate: float, low: int | None = None) -> Samples:
        """Mix float32 [n, channels] at ``rate`` Hz to [n]; ``low``: index of an LFE channel, which is left out.

        Raises:
            ConfigError: there is no such channel.
        """
        count = samples.shape[1]
        if self._channel is not None:
            if self._channel >= count:
                told = f"microphone.channel = {self._channel}"
                raise ConfigError(f"{told}, but the sound has {count} channel(s), counted from 0")
            return np.ascontiguousarray(samples[:, self._channel])
        if low is not None and count > 1:
            samples, count = np.delete(samples, low, axis=1), count - 1
        if count == 1 or not len(samples):
            return np.ascontiguousarray(samples[:, 0])
        before, known = self._alone, len(self._powers) == count
        self._choose(samples, rate)
        mixed = _mixed(samples, self._alone)
        if known and before != self._alone:
            fading = min(len(samples), max(1, round(FADE_S * rate)))
            rising = np.linspace(0, 1, fading, dtype=np.float32)
            mixed[:fading] = rising * mixed[:fading] + (1 - rising) * _mixed(samples[:fading], before)
        return mixed

    def _choose(self, samples: Samples, rate: float) -> None:
        """Choose mean or channel by recent power: loud moments count most, so a sound after silence is not lost."""
        finite = np.where(np.isfinite(samples), samples, np.float32(0.0)).astype(np.float64)
        finite -= finite.mean(axis=0)  # without a constant offset
        if len(self._powers) != finite.shape[1]:
            self._mean, self._powers, self._alone = 0.0, np.zeros(finite.shape[1]), None
        kept = 0.5 ** (len(finite) / rate / HALF_LIFE_S)
        self._mean = kept * self._mean + float(np.square(finite.mean(axis=1)).sum())
        self._powers = kept * self._powers + np.square(finite).sum(axis=0)
        powers = self._powers
        loudest = int(powers.argmax())
        if powers[loudest] <= 0:
            return
        share = self._mean / powers[loudest]
        if self._alone is None:
            self._alone = loudest if share < LOST else None
        elif share > 2 * LOST:
            self._alone = None
        elif powers[loudest] > 2 * powers[self._alone]:
            self._alone = loudest


def _mixed(samples: Samples, alone: int | None) -> Samples:
    """Copy one channel, or average all."""
    mixed: Samples = samples.mean(axis=1, dtype=np.float32) if alone is None else samples[:, alone].copy()
    return mixed


class Resampler:
    """Resample a stream of mono samples from ``rate`` to :data:`AUDIO_RATE`.

    Output sample ``k`` is at ``k / AUDIO_RATE`` after the first input sample; the filter delays a few milliseconds
    until more input, or ``last``, arrives.
    """

    def __init__(self, rate: float) -> None:
        self._stream = None if rate == AUDIO_RATE else soxr.ResampleStream(rate, AUDIO_RATE, 1, dtype="float32")

    def push(self, samples: Samples, *, last: bool = False) -> Samples:
        """Append samples and return the finished output; ``last`` ends the stream, and nothing may follow."""
        if self._stream is None:
            return samples
        ready: Samples = self._stream.resample_chunk(samples, last=last)
        return np.clip(ready, -1.0, 1.0)


# ---------------------------------------------------------------------- ring buffer and sample clock


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive samples, float32 [n, channels].

    ``lost`` frames are missing before it; ``flagged``: an unknown number more, as the driver reported an overflow.
    """

    samples: npt.NDArray[np.float32]
    lost: int
    flagged: bool


class SampleRing:
    """Ring buffer of ``capacity`` frames of ``channels`` samples, with lost sound marked."""

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
        """Copy at most ``most`` frames without a loss between them; None when there are none."""
        lost, flagged = 0, False
        # Read the counter first: a mark is appended before the samples after it are counted.
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
        """Frames that are available."""
        return self._written - self._read

    @property
    def arrival(self) -> tuple[int, float]:
        """Frames delivered by the driver up to the last write, lost ones included, and the time of that write."""
        return self._arrival

    @property
    def lost(self) -> int:
        """Frames lost because the ring was full."""
        return self._lost

    @property
    def overflows(self) -> int:
        """Overflows that the driver reported, each of an unknown number of samples."""
        return self._overflows


class SampleClock:
    """Map sample positions of a device to monotonic time. Pure.

    A device runs on its own quartz (100 ppm are 9 s a day) and delivers in bursts, late but never early. The clock
    therefore follows the *least* late arrival of the last ``_SPAN`` seconds. A small deviation is drift and shifts the
    time silently; more than ``_JUMP_S`` at once is sound that was lost without a report.
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
        """Record that ``delivered`` frames had arrived at ``now``; return the seconds of sound found missing.

        ``resync``: the driver lost an unknown number just before, so synchronise to this arrival alone.
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
