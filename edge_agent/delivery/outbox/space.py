"""Making room in an outbox: merge the oldest of the finest windows, tier by tier, and drop only when nothing merges."""

from __future__ import annotations

from collections.abc import Collection

from edge_agent.delivery.outbox.retention import KEPT_FINE, TIERS, buckets, complete
from edge_agent.delivery.outbox.store import Store

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
