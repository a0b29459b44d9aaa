"""Which windows are merged when space runs out. Pure policy: nothing here knows about SQL or files.

A window belongs to the 1-minute, 10-minute or 1-hour bucket in which it begins on its boot's monotonic clock. The
oldest windows of the finest tier go first, so resolution is lost evenly and as late as possible. Only neighbours of one
boot, one clock state and one set of waiting consumers may merge; a window alone in its bucket just moves up a tier.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

TIERS = (60.0, 600.0, 3600.0)
"""Length in seconds of the buckets into which tier 0, 1 and 2 merge."""

KEPT_FINE = 360
"""This many of the newest rows keep their resolution while anything older can be merged: an hour of 10 s windows."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a decision needs of a stored window."""

    id: int
    boot_id: str
    clock: int
    waiting: int
    begin: float


def buckets(candidates: Iterable[Candidate], tier: int) -> list[tuple[int, ...]]:
    """Ids that become one row each, in order; ``candidates`` are ordered by id and all of ``tier``."""
    length = TIERS[tier]

    def key(c: Candidate) -> tuple[str, int, int, int]:
        return c.boot_id, c.clock, c.waiting, math.floor(c.begin / length)

    return [tuple(c.id for c in group) for _, group in groupby(candidates, key)]


def complete(groups: Sequence[tuple[int, ...]], *, more: bool) -> Sequence[tuple[int, ...]]:
    """The groups that can be merged now: the last one is left when ``more`` rows follow that could belong to it."""
    return groups[:-1] if more and len(groups) > 1 else groups
