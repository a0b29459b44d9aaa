"""How many readings of a face its window needs: a sequential test in the spirit of Savchenko (ICML 2023). Pure.

A window publishes the time average of the readings. What it would gain from one more is known from how much successive
readings differ: a face that reads the same each time is settled after two, a lively one is read on. The error that
matters is that of the pooled distribution, so several people share the readings one would need; and readings are spread
evenly over the time a person has been there, since neighbours in time say the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.domain.observation import EMOTIONS

HORIZON = 10.0
"""Seconds of the past that count: the usual window."""

MAX_GAP = 4.0
"""A face in view is read at least this often (seconds), whatever the test says: one reading holds for five."""

_PRIOR_VARIANCE = 0.05**2
_PRIOR_WEIGHT = 2.0
_FLOOR = 0.02
"""Least probability a class is taken to have, so that a rare one cannot ask for readings on its own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A distribution over the emotions at a moment."""

    time: float
    p: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class History:
    """The readings of one face that are younger than the horizon, oldest first."""

    readings: tuple[Reading, ...] = ()

    def add(self, reading: Reading, horizon: float = HORIZON) -> History:
        """With one more, without those that are too old."""
        kept = tuple(r for r in self.readings if r.time > reading.time - horizon)
        return History((*kept, reading))

    @property
    def last(self) -> float:
        """Time of the latest; minus infinity without any."""
        return self.readings[-1].time if self.readings else -math.inf


def liveliness(readings: Sequence[Reading]) -> float:
    """Expected Jensen-Shannon divergence in bits between one reading and the average it belongs to.

    From half the mean squared difference of successive readings (von Neumann): a slow drift, which evenly spread
    readings follow anyway, hardly counts. With few readings a prior speaks.
    """
    count = len(readings)
    total = 0.0
    for k in range(len(EMOTIONS)):
        values = [r.p[k] for r in readings]
        steps = sum((b - a) ** 2 for a, b in zip(values, values[1:], strict=False)) / 2
        mean = sum(values) / count if count else 1 / len(EMOTIONS)
        share = max(mean, _FLOOR)
        prior = _PRIOR_VARIANCE * share * (1 - share) * 4
        variance = (steps + _PRIOR_WEIGHT * prior) / (max(count - 1, 0) + _PRIOR_WEIGHT)
        total += variance / share
    return total / (8 * math.log(2))


def readings_needed(readings: Sequence[Reading], tolerance: float, people: int = 1) -> float:
    """Readings of this face within the horizon that bring the expected error of the pooled average to ``tolerance``.

    ``tolerance`` is a Jensen-Shannon distance (the root of the divergence, base 2). At least one, and not an integer.
    """
    return max(1.0, liveliness(readings) / (tolerance * tolerance) / max(1, people))


def reading_interval(history: History, since: float, now: float, tolerance: float, people: int = 1) -> float:
    """Seconds after its last reading at which a face that is in view since ``since`` is due, if it looks the same."""
    present = min(HORIZON, max(now - since, 0.0))
    return min(MAX_GAP, present / readings_needed(history.readings, tolerance, people))
