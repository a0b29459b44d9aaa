"""How long to wait before trying again: exponential with full jitter, so that a fleet does not return in step. Pure."""

from __future__ import annotations

import random


class Backoff:
    """Delays grow from attempt to attempt until :meth:`reset`. ``rng`` is injected for tests; all times in seconds."""

    def __init__(self, first: float, longest: float, rng: random.Random) -> None:
        self._first = first
        self._longest = longest
        self._rng = rng
        self._failures = 0

    @property
    def failures(self) -> int:
        """Attempts since the last reset."""
        return self._failures

    def next(self, floor: float = 0.0) -> float:
        """The delay before the next attempt: ``floor`` plus anything from 0 to the current ceiling."""
        ceiling = min(self._longest, self._first * 2 ** min(self._failures, 30))
        self._failures += 1
        return floor + self._rng.uniform(0.0, ceiling)

    def reset(self) -> None:
        """Things work again."""
        self._failures = 0
