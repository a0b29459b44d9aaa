"""Cuts blocks of any length into overlapping windows of equal length. Pure bookkeeping on sample counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


class Windows:
    """Every ``hop`` samples the latest ``length`` samples, as soon as they are known."""

    def __init__(self, length: int, hop: int) -> None:
        self._length = length
        self._hop = hop
        self._buffer = np.zeros(0, np.float32)
        self._begin = 0
        self._fresh = 0

    def feed(self, samples: npt.NDArray[np.float32]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Append float32 [n]; yields (index of the first sample since the start, float32 [length])."""
        self._buffer = np.concatenate([self._buffer, samples])
        self._fresh += len(samples)
        while len(self._buffer) >= self._length:
            yield self._begin, self._buffer[: self._length]
            self._buffer = self._buffer[self._hop :]
            self._begin += self._hop
            self._fresh = max(0, len(self._buffer) - self._length + self._hop)

    def drain(self) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """A last window, padded with silence, when samples are left that no window has shown."""
        if self._fresh > 0:
            window = np.zeros(self._length, np.float32)
            window[: len(self._buffer)] = self._buffer
            self._fresh = 0
            yield self._begin, window
