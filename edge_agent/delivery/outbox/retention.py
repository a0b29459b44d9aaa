"""Retention policy when space runs out: merge old windows into longer ones, and drop the oldest rows last.

A window belongs to the 1-minute, 10-minute or 1-hour bucket in which it begins on its boot's monotonic clock. The
oldest windows of the finest tier are merged first, so resolution is lost evenly and as late as possible. Only
neighbours of one boot, one clock state and one set of waiting consumers may merge; a window alone in its bucket moves
up a tier. Windows with a hole between them are not merged: the part between was or is being delivered, and the merged
window would count that time twice.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise

from edge_agent.delivery.outbox.records import MergeCandidate
from edge_agent.delivery.outbox.store import Store

TIERS = (60.0, 600.0, 3600.0)
"""Length in seconds of the buckets into which tier 0, 1 and 2 merge."""

KEPT_FINE = 360
"""Newest rows that keep their resolution while older ones can be merged: an hour of 10 s windows."""

HOLE_S = 1.0
"""Longest gap between neighbours in seconds: less than the shortest window, more than the pause at a window's cut."""


def buckets(candidates: Sequence[MergeCandidate], tier: int) -> list[tuple[int, ...]]:
    """Group the ids of ``candidates`` (ordered by id, all of ``tier``) that may become one row, in order."""
    groups = [[candidate.id] for candidate in candidates[:1]]
    for before, after in pairwise(candidates):
        if _bucket(before, tier) == _bucket(after, tier) and after.begin - before.begin - before.seconds <= HOLE_S:
            groups[-1].append(after.id)
        else:
            groups.append([after.id])
    return [tuple(group) for group in groups]


def _bucket(candidate: MergeCandidate, tier: int) -> tuple[str, int, int, int]:
    return candidate.boot_id, candidate.clock, candidate.waiting, math.floor(candidate.begin / TIERS[tier])


def complete(groups: Sequence[tuple[int, ...]], *, more: bool) -> Sequence[tuple[int, ...]]:
    """The groups that can be merged now: without the last one when ``more`` rows follow that may belong to it."""
    return groups[:-1] if more and len(groups) > 1 else groups


MERGE_ROWS = 240
"""Most rows of one merge transaction; keeps it, and the write-ahead log, small."""


class Shrinker:
    """Make room in a store. Remembers up to which row each tier is done, so that no row is examined twice."""

    def __init__(self) -> None:
        self._done = [0] * len(TIERS)

    def restart(self) -> None:
        """Examine all rows again, after leases were given back or with another store."""
        self._done = [0] * len(TIERS)

    def shrink(self, store: Store, target: float, keep: Collection[int]) -> None:
        """Merge, then drop, until at most ``target`` bytes are in use; the leased rows in ``keep`` are not touched."""
        while store.used() > target:
            if not self._merge(store, keep) and not _drop(store, keep):
                return

    def _merge(self, store: Store, keep: Collection[int]) -> bool:
        for before in (store.next_id - KEPT_FINE, store.next_id):
            for tier in range(len(TIERS)):
                found = store.candidates(tier, self._done[tier], before, MERGE_ROWS)
                free = [candidate for candidate in found if candidate.id not in keep]
                groups = complete(buckets(free, tier), more=len(found) == MERGE_ROWS)
                if groups:
                    store.merge(groups, tier)
                if found:
                    self._done[tier] = groups[-1][-1] if groups else found[-1].id
                    return True
        return False


def _drop(store: Store, keep: Collection[int]) -> bool:
    return store.drop_oldest(max(16, store.pending // 50), keep, "no space") > 0
