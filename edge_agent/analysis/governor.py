"""Slowing down when the machine is busy or hot: additive increase, multiplicative decrease, as TCP shares a line.

The step is a pure function of the last allowance and the load. The allowance scales the rate between the operator's
bounds, so the lower bound is always kept. What the load is comes from probes (:mod:`edge_agent.analysis.probes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """What the machine says; None where it does not. ``cpu``: our share of all cores since the last question, 0 to 1.
    ``celsius``: the hottest zone. ``throttled``: the firmware has lowered the clock or the voltage is too low."""

    cpu: float | None = None
    celsius: float | None = None
    throttled: bool | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """``cpu`` is a share of all cores; ``increase`` and ``decrease`` are per question."""

    cpu: float = 0.5
    celsius: float = 75.0
    increase: float = 0.1
    decrease: float = 0.5
    least: float = 0.01


@dataclass(frozen=True, slots=True)
class Allowance:
    """``value`` in 0..1 is the part of the rate above the lower bound that may be used."""

    value: float = 1.0
    reason: str = "no limit"


def next_allowance(last: Allowance, load: Load, limits: Limits) -> Allowance:
    """One step: halve on any excess, else recover a tenth."""
    excess = []
    if load.throttled:
        excess.append("the firmware throttles")
    if load.celsius is not None and load.celsius > limits.celsius:
        excess.append(f"{load.celsius:.0f} °C is above {limits.celsius:.0f}")
    if load.cpu is not None and load.cpu > limits.cpu:
        excess.append(f"CPU share {load.cpu:.0%} is above {limits.cpu:.0%}")
    if excess:
        value = last.value * limits.decrease
        return Allowance(value if value >= limits.least else 0.0, ", ".join(excess))
    value = min(1.0, last.value + limits.increase)
    return Allowance(value, "no limit" if value >= 1.0 else "recovering")


class Governor:
    """Asks ``probe`` every ``every`` seconds of the caller's time and remembers the allowance in between."""

    def __init__(self, probe: Callable[[], Load], limits: Limits | None = None, every: float = 5.0) -> None:
        self._probe = probe
        self._limits = limits or Limits()
        self._every = every
        self._asked: float | None = None
        self._allowance = Allowance()

    def allowance(self, now: float) -> Allowance:
        """The allowance at ``now``, monotonic seconds."""
        if self._asked is None or now - self._asked >= self._every or now < self._asked:
            self._asked = now
            self._allowance = next_allowance(self._allowance, self._probe(), self._limits)
        return self._allowance
