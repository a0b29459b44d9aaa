"""What a face's past readings say about how it looks now, and whether that settles it. Pure.

An emotion reading is a function of the picture of the face, so a face that looks as it did when it was read would
read the same. Each reading is therefore remembered with the tiny look it was made of
(:mod:`edge_agent.analysis.appearance`), for as long as its track lives. A new look is answered from the readings of
similar looks as far as they go (Nadaraya and Watson's kernel regression), and read when they do not: this is the
sequential test of Savchenko (ICML 2023) with evidence counted where it is needed. An old reading counts less, so that
what slowly changes is read again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.analysis.appearance import Look, difference
from edge_agent.domain.observation import EMOTIONS

MEMORY = 16
"""Readings remembered of a face."""


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
