"""Which windows are merged when space runs out. Pure policy: nothing here knows about SQL or files.

A window belongs to the 1-minute, 10-minute or 1-hour bucket in which it begins on its boot's monotonic clock. The
oldest windows of the finest tier go first, so resolution is lost evenly and as late as possible. Only neighbours of one
boot, one clock state and one set of waiting consumers may merge; a window alone in its bucket just moves up a tier.
Windows with a hole between them are no neighbours: what lay there was delivered already or is being delivered, and a
merged window that spans it would claim that time a second time.
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
"""This many of the newest rows keep their resolution while anything older can be merged: an hour of 10 s windows."""

HOLE_S = 1.0
"""Neighbours are at most this many seconds apart: less than the shortest window, more than the pause at a cut."""


def buckets(candidates: Sequence[MergeCandidate], tier: int) -> list[tuple[int, ...]]:
    """Ids that become one row each, in order; ``candidates`` are ordered by id and all of ``tier``."""
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
    """The groups that can be merged now: the last one is left when ``more`` rows follow that could belong to it."""
    return groups[:-1] if more and len(groups) > 1 else groups


MERGE_ROWS = 240
"""Rows looked at in one merging transaction; keeps it, and the WAL, small."""


class Shrinker:
    """Remembers up to which row each tier is done, so that no row is looked at twice."""

    def __init__(self) -> None:
        self._done = [0] * len(TIERS)

    def restart(self) -> None:
        """Look at everything again: rows that were being delivered may be free now, or the store is another one."""
        self._done = [0] * len(TIERS)

    def shrink(self, store: Store, target: float, spare: Collection[int]) -> None:
        """Merge, then drop, until no more than ``target`` bytes are in use; rows in ``spare`` stay as they are."""
        while store.used() > target:
            if not self._merge(store, spare) and not _drop(store, spare):
                return

    def _merge(self, store: Store, spare: Collection[int]) -> bool:
        for before in (store.next_id - KEPT_FINE, store.next_id):
            for tier in range(len(TIERS)):
                found = store.candidates(tier, self._done[tier], before, MERGE_ROWS)
                free = [candidate for candidate in found if candidate.id not in spare]
                groups = complete(buckets(free, tier), more=len(found) == MERGE_ROWS)
                if groups:
                    store.merge(groups, tier)
                if found:
                    self._done[tier] = groups[-1][-1] if groups else found[-1].id
                    return True
        return False


def _drop(store: Store, spare: Collection[int]) -> bool:
    return store.drop_oldest(max(16, store.pending // 50), spare, "no space") > 0
