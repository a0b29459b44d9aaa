"""Operations on the stored messages of one database; each method that writes is one transaction, counters included.

The database is a file or, as a fallback, in memory. Not thread-safe and without policy: leases, and when to merge or
drop, are decided by :class:`~edge_agent.delivery.outbox.outbox.Outbox`. All methods raise StoreError.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

from edge_agent.delivery.outbox import records
from edge_agent.delivery.outbox.database import Tables, Work
from edge_agent.delivery.outbox.records import Counters, Draft, Gap, MergeCandidate, Origin, Row
from edge_agent.domain.database import PAGE_BYTES

GAP_COLUMNS = "boot_id, first_seq, last_seq, start, end, count, reason"


class Store:
    """The messages in one open database."""

    def __init__(self, connection: sqlite3.Connection, origin: Origin, next_id: int = 1) -> None:
        self.tables = Tables(connection, next_id)
        self._origin = origin
        self._unsynced = True
        """Whether there may be rows with an unsynced clock; they are searched once and after each new one only."""

    @property
    def counters(self) -> Counters:
        """Counters since the outbox was created."""
        return self.tables.counters

    @property
    def pending(self) -> int:
        """Number of stored rows."""
        return self.tables.pending

    @property
    def next_id(self) -> int:
        """Id of the next new row."""
        return self.tables.next_id

    def next_seq(self, boot_id: str) -> int:
        """Sequence number of the next row of ``boot_id``."""
        return self.tables.next_seqs.get(boot_id, 1)

    def limit(self, size: int) -> None:
        """Cap the file at ``size`` bytes."""
        self.tables.all(f"PRAGMA max_page_count = {max(16, size // PAGE_BYTES)}")

    def consumers(self, names: Sequence[str]) -> dict[str, int]:
        """Set the consumers and return the bit of each; rows that wait only for removed consumers are dropped."""
        with self.tables.transaction() as work:
            stored: dict[str, int] = dict(self.tables.all("SELECT name, bit FROM consumers"))
            bits = {name: bit for name, bit in stored.items() if name in names}
            for name in names:
                if name not in bits:
                    bits[name] = next(1 << k for k in range(62) if 1 << k not in {*stored.values(), *bits.values()})
            if bits != stored:
                self.tables.run("DELETE FROM consumers")
                for item in bits.items():
                    self.tables.run("INSERT INTO consumers VALUES (?, ?)", item)
                mask = sum(bits.values())
                self.tables.run("UPDATE items SET waiting = waiting & ? WHERE waiting & ~?", (mask, mask))
                self.tables.drop("waiting = 0", "consumer removed", work)
        return bits

    # -- in -----------------------------------------------------------------------------------------------------------

    def put(self, drafts: Iterable[Draft], waiting: int) -> dict[int, float]:
        """Store ``drafts`` in order, each with the next sequence number; the end of each (monotonic seconds) by row id.

        ``waiting``: the bits of the consumers. A draft that cannot be rendered is counted as dropped.
        """
        ended: dict[int, float] = {}
        with self.tables.transaction() as work:
            for draft in drafts:
                seq = self.tables.take_seq(self._origin.boot_id, work)
                work.count(produced=1)
                try:
                    id_ = max(self.next_id, work.next_id)
                    record = records.from_draft(draft, self._origin, id_, seq, waiting)
                except ValueError as error:
                    work.count(dropped=1)
                    gap = Gap(self._origin.boot_id, seq, seq, draft.start, draft.start, 1, f"invalid: {error}")
                    self.tables.note_gap(gap)
                    continue
                self.tables.insert(record, work)
                self._unsynced |= not record.synced
                ended[record.id] = record.begin + record.seconds
        return ended

    def count_lost(self, count: int, reason: str) -> None:
        """Count ``count`` messages as produced and dropped."""
        with self.tables.transaction() as work:
            work.count(produced=count, dropped=count)
            self.tables.note_gap(Gap(self._origin.boot_id, 0, 0, 0.0, 0.0, count, reason))

    # -- out ----------------------------------------------------------------------------------------------------------

    def select(
        self, bit: int, after: int, before: int | None, limit: int, skip: Collection[str] = ()
    ) -> tuple[list[Row], list[int]]:
        """Rows that wait for consumer ``bit``, ``after < id < before``, oldest first, without the kinds in ``skip``.

        The second list holds the ids of rows whose content is damaged.
        """
        condition = f" AND kind NOT IN ({', '.join('?' * len(skip))})" if skip else ""
        return self._read(
            f"SELECT * FROM items WHERE id > ? AND id < ? AND waiting & ? {condition} ORDER BY id LIMIT ?",
            (after, before if before is not None else 1 << 62, bit, *skip, limit),
        )

    def fetch(self, bit: int, ids: Sequence[int]) -> tuple[list[Row], list[int]]:
        """The rows of ``ids`` that wait for consumer ``bit``, and the damaged ones as in :meth:`select`."""
        return self._read(f"SELECT * FROM items WHERE {_among(ids)} AND waiting & ? ORDER BY id", (bit,))

    def settle(self, bit: int, ids: Collection[int]) -> None:
        """Mark ``ids`` as taken by consumer ``bit``; rows that wait for no other consumer are deleted and counted."""
        with self.tables.transaction() as work:
            self.tables.settle(bit, ids, work)

    def dead_letter(self, bit: int, consumer: str, ids: Collection[int], reason: str) -> None:
        """Copy ``ids``, which consumer ``bit`` can never take, to the dead letters, and :meth:`settle` them."""
        with self.tables.transaction() as work:
            for boot_id, seq, kind, topic, payload in self.tables.all(
                f"SELECT boot_id, seq, kind, topic, payload FROM items WHERE {_among(ids)} AND waiting & ?", (bit,)
            ):
                self.tables.add_dead((boot_id, seq, kind, topic, consumer, reason, payload))
            self.tables.run(f"UPDATE items SET dead = 1 WHERE {_among(ids)} AND waiting & ?", (bit,))
            self.tables.settle(bit, ids, work)

    def _read(self, statement: str, values: Sequence[object]) -> tuple[list[Row], list[int]]:
        rows: list[Row] = []
        damaged: list[int] = []
        for columns in self.tables.all(statement, values):
            record = records.load(columns)
            if record is None:
                damaged.append(columns[0])
            else:
                rows.append(record.row())
        return rows, damaged

    # -- space and age ------------------------------------------------------------------------------------------------

    def used(self) -> int:
        """Bytes in use."""
        return self.tables.used()

    def candidates(self, tier: int, after: int, before: int, limit: int) -> list[MergeCandidate]:
        """Summaries of ``tier`` with ``after < id < before``, oldest first."""
        rows = self.tables.all(
            "SELECT id, boot_id, synced, waiting, begin, seconds FROM items WHERE id > ? AND id < ? AND tier = ?"
            " AND window IS NOT NULL AND dead = 0 ORDER BY id LIMIT ?",
            (after, before, tier, limit),
        )
        return [MergeCandidate(*row) for row in rows]

    def merge(self, groups: Iterable[Sequence[int]], tier: int) -> None:
        """Merge each group of ids (ordered, of one boot) into one row of the tier above ``tier``."""
        with self.tables.transaction() as work:
            for group in groups:
                if len(group) == 1 or not self._merge_group(group, work):
                    self.tables.run(f"UPDATE items SET tier = ? WHERE {_among(group)}", (tier + 1,))

    def _merge_group(self, group: Sequence[int], work: Work) -> bool:
        parts = [records.load(row) for row in self.tables.all(f"SELECT * FROM items WHERE {_among(group)} ORDER BY id")]
        sound = [part for part in parts if part is not None]
        if len(sound) < len(group):
            return False  # damaged parts are detected when they are sent
        boot_id = sound[0].boot_id
        try:
            whole = records.merge(sound, self._origin, work.next_seq.get(boot_id) or self.next_seq(boot_id))
        except ValueError:  # windows that overlap, as those of a looping recording do, are not merged
            return False
        self.tables.take_seq(boot_id, work)
        self.tables.run(f"DELETE FROM items WHERE {_among(group[1:])}")
        self.tables.insert(whole, work)
        work.count(merged_away=len(group) - 1)
        return True

    def drop_oldest(self, count: int, keep: Collection[int], reason: str) -> int:
        """Drop the ``count`` oldest rows that are not in ``keep``; the number dropped."""
        oldest = self.tables.all("SELECT id FROM items ORDER BY id LIMIT ?", (count + len(keep),))
        return self._drop([id_ for (id_,) in oldest if id_ not in keep][:count], reason)

    def expire(self, cutoff: float, keep: Collection[int]) -> int:
        """Drop the oldest rows with a synced clock that ended before wall time ``cutoff``; the number dropped."""
        ids = []
        for id_, end, synced in self.tables.all("SELECT id, start + seconds, synced FROM items ORDER BY id LIMIT 500"):
            if synced and end >= cutoff:
                break
            if synced and id_ not in keep:
                ids.append(id_)
        return self._drop(ids, "too old")

    def purge(self, *, dead_only: bool) -> tuple[int, int]:
        """Delete the dead letters and, unless ``dead_only``, all rows, which count as dropped; the number of each."""
        with self.tables.transaction() as work:
            letters = self.tables.run("DELETE FROM dead")
            rows = 0 if dead_only else self.tables.drop("1", "purged", work)
        return letters, rows

    def _drop(self, ids: Sequence[int], reason: str) -> int:
        if not ids:
            return 0
        with self.tables.transaction() as work:
            return self.tables.drop(_among(ids), reason, work)

    # -- clock and figures --------------------------------------------------------------------------------------------

    def repair_clock(self, offset: float, limit: int) -> int:
        """Set the start of this boot's unsynced rows to ``begin + offset``; the number of rows repaired."""
        if not self._unsynced:
            return 0
        rows = self.tables.all(
            "SELECT * FROM items WHERE boot_id = ? AND synced = 0 LIMIT ?", (self._origin.boot_id, limit)
        )
        if rows:
            with self.tables.transaction() as work:
                for columns in rows:
                    record = records.load(columns)
                    if record is None:  # damaged: detected when it is sent
                        self.tables.run("UPDATE items SET synced = 1 WHERE id = ?", (columns[0],))
                    else:
                        self.tables.insert(record.restamped(record.begin + offset), work)
        self._unsynced = len(rows) == limit
        return len(rows)

    def gaps(self) -> tuple[Gap, ...]:
        """The latest gaps, oldest first."""
        return tuple(Gap(*row) for row in self.tables.all(f"SELECT {GAP_COLUMNS} FROM gaps ORDER BY id"))

    def oldest(self) -> float | None:
        """Start of the oldest row, wall time; None when there is no row."""
        rows = self.tables.all("SELECT start FROM items ORDER BY id LIMIT 1")
        return float(rows[0][0]) if rows else None

    def close(self) -> None:
        """Close the database."""
        self.tables.close()


def _among(ids: Iterable[int]) -> str:
    return f"id IN ({','.join(map(str, ids))})"


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
