"""Which windows are merged when space runs out. Pure policy: nothing here knows about SQL or files.

A window belongs to the 1-minute, 10-minute or 1-hour bucket in which it begins on its boot's monotonic clock. The
oldest windows of the finest tier go first, so resolution is lost evenly and as late as possible. Only neighbours of one
boot, one clock state and one set of waiting consumers may merge; a window alone in its bucket just moves up a tier.
Windows with a hole between them are no neighbours: what lay there was delivered already or is being delivered, and a
merged window that spans it would claim that time a second time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

TIERS = (60.0, 600.0, 3600.0)
"""Length in seconds of the buckets into which tier 0, 1 and 2 merge."""

KEPT_FINE = 360
"""This many of the newest rows keep their resolution while anything older can be merged: an hour of 10 s windows."""

HOLE_S = 1.0
"""Neighbours are at most this many seconds apart: less than the shortest window, more than the pause at a cut."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a decision needs of a stored window; ``begin`` and ``seconds`` on its boot's monotonic clock."""

    id: int
    boot_id: str
    clock: int
    waiting: int
    begin: float
    seconds: float


def buckets(candidates: Sequence[Candidate], tier: int) -> list[tuple[int, ...]]:
    """Ids that become one row each, in order; ``candidates`` are ordered by id and all of ``tier``."""
    groups = [[candidate.id] for candidate in candidates[:1]]
    for before, after in pairwise(candidates):
        if _bucket(before, tier) == _bucket(after, tier) and after.begin - before.begin - before.seconds <= HOLE_S:
            groups[-1].append(after.id)
        else:
            groups.append([after.id])
    return [tuple(group) for group in groups]


def _bucket(candidate: Candidate, tier: int) -> tuple[str, int, int, int]:
    return candidate.boot_id, candidate.clock, candidate.waiting, math.floor(candidate.begin / TIERS[tier])


def complete(groups: Sequence[tuple[int, ...]], *, more: bool) -> Sequence[tuple[int, ...]]:
    """The groups that can be merged now: the last one is left when ``more`` rows follow that could belong to it."""
    return groups[:-1] if more and len(groups) > 1 else groups
