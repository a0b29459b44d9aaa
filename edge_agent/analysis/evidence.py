"""What a face's past readings say about how it looks now, and whether that settles it. Pure.

An emotion reading is a function of the picture of the face, so a face that looks as it did when it was read would
read the same. Each reading is therefore remembered with the tiny look it was made of
(:mod:`edge_agent.analysis.appearance`), for as long as its track lives. A new look is answered from the readings of
similar looks as far as they go (Nadaraya and Watson's kernel regression), and read when they do not: this is the
sequential test of Savchenko (ICML 2023) with evidence counted where it is needed. An old reading counts less, so that
what slowly changes is read again. How much evidence is enough is learned from each face: the more its readings
surprise those who recalled the ones before, the more are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.analysis.appearance import Look, difference
from edge_agent.domain.observation import EMOTIONS

MEMORY = 32
"""Readings remembered of a face."""

USUAL_SURPRISE = 0.2
"""Distance between a reading and what was recalled for its look: what is expected of a face nothing is known of."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How much a reading says about another look: a Gaussian of their difference in appearance with the standard
    deviation ``alike``, nothing beyond ``apart``; and 1/e of it after ``fade`` seconds."""

    alike: float = 0.15
    apart: float = 0.7
    fade: float = 30.0

    def weight(self, distance: float, age: float) -> float:
        """0 to 1."""
        if distance > self.apart:
            return 0.0
        return math.exp(-((distance / self.alike) ** 2) / 2 - max(0.0, age) / self.fade)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A distribution over the emotions, read at ``time`` of a face that looked like ``look``."""

    time: float
    p: tuple[float, ...]
    look: Look


@dataclass(frozen=True, slots=True)
class Answer:
    """What the past says: a distribution (None: nothing) and how many full readings' worth of evidence it rests on."""

    p: tuple[float, ...] | None
    evidence: float


@dataclass(frozen=True, slots=True)
class Surprise:
    """How far one face's readings lie from what was recalled for their looks: ``weight`` readings' worth of squared
    Euclidean distances that add up to ``total``. Begins with two readings of the usual surprise; the last ten or so
    count."""

    weight: float = 2.0
    total: float = 2.0 * USUAL_SURPRISE**2

    def after(self, read: Sequence[float], recalled: Sequence[float]) -> Surprise:
        """With one more reading, of which ``recalled`` was expected."""
        return Surprise(0.9 * self.weight + 1, 0.9 * self.total + math.dist(read, recalled) ** 2)

    @property
    def relative(self) -> float:
        """1 for a usual face, 0.4 (a face that hardly changes) to 2.5 (one whose readings scatter)."""
        return min(max(math.sqrt(self.total / self.weight) / USUAL_SURPRISE, 0.4), 2.5)


def recall(readings: Sequence[Reading], look: Look, now: float, likeness: Likeness) -> Answer:
    """Answer ``look`` from ``readings``."""
    weights = [likeness.weight(difference(r.look, look), now - r.time) for r in readings]
    total = sum(weights)
    if total <= 1e-6:
        return Answer(None, 0.0)
    p = [sum(w * r.p[k] for w, r in zip(weights, readings, strict=True)) / total for k in range(len(EMOTIONS))]
    scale = sum(p)
    return Answer(tuple(value / scale for value in p), total)


def remember(readings: Sequence[Reading], reading: Reading) -> tuple[Reading, ...]:
    """``readings`` and one more, without the oldest when there are too many."""
    return (*readings, reading)[-MEMORY:]
