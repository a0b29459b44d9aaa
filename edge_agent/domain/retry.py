"""Retry policy: exponential back-off, restart budgets and step timeouts. Pure: callers pass in the time."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BackOff:
    """Exponential back-off: ``first`` seconds, then twice as long after each failure, at most ``longest``."""

    first: float = 1.0
    longest: float = 10.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after ``failures`` in a row; 0 and 1 both give ``first``."""
        return float(min(self.longest, self.first * 2 ** min(max(failures - 1, 0), 30)))


class JitteredBackOff:
    """Exponential back-off with full jitter, so that a fleet of devices does not retry in step.

    Counts the failures itself, until :meth:`reset`. ``longest`` may be changed at any time. ``rng`` is injected for
    tests. Times are in seconds.
    """

    def __init__(self, first: float, longest: float, rng: random.Random) -> None:
        self._first = first
        self.longest = longest
        self._rng = rng
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures since the last reset."""
        return self._failures

    def next(self, floor: float = 0.0) -> float:
        """Count a failure and return the delay: ``floor`` plus a random share of the present back-off."""
        self._failures += 1
        return floor + self._rng.uniform(0.0, BackOff(self._first, self.longest).delay(self._failures))

    def reset(self) -> None:
        """Start over after a success."""
        self._failures = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """A restart budget: at most ``restarts`` within ``window`` seconds, with back-off from ``first`` to ``longest``."""

    restarts: int = 5
    window: float = 300.0
    first: float = 0.5
    longest: float = 30.0

    def pause(self, recent: int) -> float | None:
        """Seconds to wait before the next start after ``recent`` failures within the window; None: give up."""
        if recent > self.restarts:
            return None
        return BackOff(self.first, self.longest).delay(recent)


@dataclass(frozen=True, slots=True)
class Patience:
    """The timeout of a step, scaled to how long steps take on this machine.

    ``least`` seconds, or ``times`` the longest step so far if that is more, capped at ``longest`` seconds so that a
    hang is always detected.
    """

    least: float
    times: float = 5.0
    longest: float = 300.0

    def after(self, seconds: float) -> float:
        """Timeout of the next step when a step has taken ``seconds``."""
        return max(self.least, min(self.times * seconds, self.longest))


@dataclass(slots=True)
class Failures:
    """The recent failures of one component, within the window of its ``budget``."""

    budget: Budget
    times: deque[float] = field(default_factory=deque)

    def note(self, now: float) -> float | None:
        """Record a failure at ``now`` (monotonic seconds) and return :meth:`Budget.pause` for it."""
        self.times.append(now)
        while self.times[0] < now - self.budget.window:
            self.times.popleft()
        return self.budget.pause(len(self.times))
