"""Decide from several looks at a face who it is, and whether a new face is one that was just lost. Pure functions.

Two people of one family, or of a group that the network knows badly, can look alike in one picture. So a name needs
several looks, a high mean similarity, and a distance to the second best; everything else is unknown (open set).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

LOOK_EVERY_S = 1.0
"""Least seconds between two embeddings of one track until it is settled."""
RECHECK_S = 60.0
"""Seconds between two embeddings of a settled track."""
MARGIN = 0.08
"""Least lead of the best person's mean similarity over the second best's."""
FAR_BELOW = 0.15
"""Somebody whose best mean similarity is so far below the threshold is unknown after as many looks as a name needs."""
RECHECK_SLACK = 0.10
"""A later look may be so far below the threshold before a settled person is looked at anew."""


@dataclass(frozen=True, slots=True)
class LookRules:
    """``threshold``: least mean cosine similarity; ``looks`` needed for a name. Twice as many without one: unknown."""

    threshold: float
    looks: int = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one track: ``sums`` of the similarity to each person over ``looks``; ``who`` once settled: the
    person's key, or "" for somebody unknown; None before. ``due``: time of the next look."""

    sums: Mapping[str, float] = field(default_factory=dict)
    looks: int = 0
    who: str | None = None
    score: float = 0.0
    due: float = float("-inf")


def similarities(vector: Vector, templates: Mapping[str, Vector]) -> dict[str, float]:
    """Cosine similarity of ``vector`` to each person's template; both have the length 1."""
    return {key: float(vector @ template) for key, template in templates.items() if template.shape == vector.shape}


def look(standing: Standing, alike: Mapping[str, float], rules: LookRules, now: float) -> Standing:
    """The standing after one more look with the similarities ``alike``."""
    if standing.who:
        if alike.get(standing.who, -1.0) >= rules.threshold - RECHECK_SLACK:
            return replace(standing, due=now + RECHECK_S)
        standing = Standing()  # somebody else took the track over, or the name was wrong
    elif standing.who == "":
        standing = Standing()  # unknown people get a fresh chance each time
    sums = {key: standing.sums.get(key, 0.0) + value for key, value in alike.items()}
    looks = standing.looks + 1
    means = sorted(((total / looks, key) for key, total in sums.items()), reverse=True)
    best, who = means[0] if means else (-1.0, "")
    second = means[1][0] if len(means) > 1 else -1.0
    settled = decide(best, second, looks, rules)
    found = None if settled is None else who if settled else ""
    due = now + (LOOK_EVERY_S if found is None else RECHECK_S)
    return Standing(sums, looks, found, max(0.0, min(1.0, best)), due)


def decide(best: float, second: float, looks: int, rules: LookRules) -> bool | None:
    """Whether the best person is believed (True), nobody is (False), or more looks are needed (None)."""
    if looks < rules.looks:
        return None
    if best >= rules.threshold and best - second >= MARGIN:
        return True
    if best < rules.threshold - FAR_BELOW or looks >= 2 * rules.looks:
        return False
    return None


def without_doubles(standings: Mapping[str, Standing], now: float) -> dict[str, Standing]:
    """Nobody is in two places at once: of several tracks settled as one person only the most alike keeps the name."""
    holder: dict[str, str] = {}
    for track, standing in sorted(standings.items(), key=lambda item: -item[1].score):
        if standing.who:
            holder.setdefault(standing.who, track)
    return {
        track: replace(s, who="", due=now + RECHECK_S) if s.who and holder[s.who] != track else s
        for track, s in standings.items()
    }


def reappearance(vector: Vector, lost: Mapping[str, Vector], alike: float) -> tuple[str, float] | None:
    """The lost track whose face is most like ``vector``, and how much; None when none is by ``alike``, or two are."""
    found = sorted(((float(vector @ other), track) for track, other in lost.items()), reverse=True)
    if not found or found[0][0] < alike:
        return None
    if len(found) > 1 and found[0][0] - found[1][0] < MARGIN:
        return None
    return found[0][1], found[0][0]
