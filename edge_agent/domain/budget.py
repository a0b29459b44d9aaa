"""How often something that fails is started again, and after which pause. Pure: whoever asks says what time it is."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Budget:
    """At most ``restarts`` within ``window`` seconds, after pauses that double from ``first`` up to ``longest``."""

    restarts: int = 5
    window: float = 300.0
    first: float = 0.5
    longest: float = 30.0

    def pause(self, recent: int) -> float | None:
        """Seconds to wait before the next start after ``recent`` failures within the window; None: give up."""
        if recent > self.restarts:
            return None
        return min(self.longest, self.first * 2.0 ** max(0, recent - 1))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a step may take before it counts as hung: ``least``, and longer where steps take long on this machine.

    ``times`` what one has taken, but at most ``longest`` seconds: what hangs is found in any case.
    """

    least: float
    times: float = 5.0
    longest: float = 300.0

    def after(self, seconds: float) -> float:
        """Seconds to wait for the next step when one has taken ``seconds``."""
        return max(self.least, min(self.times * seconds, self.longest))


@dataclass(slots=True)
class Failures:
    """Remembers when one thing failed, as far back as its ``budget`` looks."""

    budget: Budget
    times: deque[float] = field(default_factory=deque)

    def note(self, now: float) -> float | None:
        """It failed ``now`` (monotonic seconds): what :meth:`Budget.pause` says to that."""
        self.times.append(now)
        while self.times[0] < now - self.budget.window:
            self.times.popleft()
        return self.budget.pause(len(self.times))
