"""One SQLite connection to an outbox: transactions that keep the counters right, and the statements they are made of.

What is held in memory (counters, next numbers) follows a commit and never precedes it. Not thread-safe.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from edge_agent.delivery.outbox.database import PAGE_BYTES, classify
from edge_agent.delivery.outbox.records import Record
from edge_agent.delivery.rows import Counters, Gap

GAPS_KEPT = 100
DEAD_KEPT = 500


@dataclass(slots=True)
class Work:
    """What one transaction will have changed once it is committed."""

    counters: Counters = field(default_factory=Counters)
    next_seq: dict[str, int] = field(default_factory=dict)
    next_id: int = 0

    def count(
        self, *, produced: int = 0, acked: int = 0, merged_away: int = 0, dropped: int = 0, dead_lettered: int = 0
    ) -> None:
        """Add to the counters."""
        self.counters += Counters(produced, acked, merged_away, dropped, dead_lettered)


class Tables:
    """The tables of an open database. ``next_id``: the smallest id that a new row may get."""

    def __init__(self, connection: sqlite3.Connection, next_id: int = 1) -> None:
        self._db = connection
        counted = self.all("SELECT produced, acked, merged_away, dropped, dead_lettered, salvages FROM counters")[0]
        self.counters = Counters(*counted[:5])
        self.salvages: int = counted[5]
        self.pending: int = self.all("SELECT count(*) FROM items")[0][0]
        self.next_id: int = max(next_id, self.all("SELECT coalesce(max(id), 0) + 1 FROM items")[0][0])
        self.next_seqs: dict[str, int] = dict(self.all("SELECT boot_id, next_seq FROM boots"))

    def close(self) -> None:
        """Close the connection; SQLite moves the WAL into the file. Raises StoreError."""
        try:
            self._db.close()
        except sqlite3.Error as error:
            raise classify(error) from error

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, or of any statement inside a transaction. Raises StoreError."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise classify(error) from error

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Execute a statement inside a transaction; the number of rows changed. Raises StoreError."""
        try:
            return self._db.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise classify(error) from error

    def used(self) -> int:
        """Bytes in use; free pages inside the file do not count."""
        pages: int = self.all("PRAGMA page_count")[0][0] - self.all("PRAGMA freelist_count")[0][0]
        return pages * PAGE_BYTES

    @contextmanager
    def transaction(self) -> Iterator[Work]:
        """BEGIN … COMMIT, or nothing at all. Raises StoreError."""
        work = Work()
        self.run("BEGIN IMMEDIATE")
        try:
            yield work
            self._write(work)
            self.run("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.counters += work.counters
        self.pending += work.counters.produced - work.counters.settled
        self.next_seqs.update(work.next_seq)
        self.next_id = max(self.next_id, work.next_id)

    def _write(self, work: Work) -> None:
        c = work.counters
        if c != Counters():
            self.run(
                "UPDATE counters SET produced = produced + ?, acked = acked + ?, merged_away = merged_away + ?,"
                " dropped = dropped + ?, dead_lettered = dead_lettered + ?",
                (c.produced, c.acked, c.merged_away, c.dropped, c.dead_lettered),
            )
        for item in work.next_seq.items():
            self.run("INSERT INTO boots VALUES (?, ?) ON CONFLICT DO UPDATE SET next_seq = excluded.next_seq", item)

    # -- inside a transaction -----------------------------------------------------------------------------------------

    def take_seq(self, boot_id: str, work: Work) -> int:
        """The next number of ``boot_id``."""
        seq = work.next_seq.get(boot_id) or self.next_seqs.get(boot_id, 1)
        work.next_seq[boot_id] = seq + 1
        return seq

    def insert(self, record: Record, work: Work) -> None:
        """Add a row, or replace the one with its id."""
        self.run(f"INSERT OR REPLACE INTO items VALUES ({', '.join('?' * 16)})", record.columns())
        work.next_id = max(work.next_id, record.id + 1)

    def settle(self, bit: int, ids: Collection[int], work: Work) -> None:
        """Consumer ``bit`` is done with ``ids``."""
        chosen = f"id IN ({','.join(map(str, ids))})"
        gone = f"DELETE FROM items WHERE {chosen} AND waiting = ? AND dead = ?"
        acked = self.run(gone, (bit, 0))
        dead = self.run(gone, (bit, 1)) if acked < len(ids) else 0
        if acked + dead < len(ids):
            self.run(f"UPDATE items SET waiting = waiting & ~? WHERE {chosen}", (bit,))
        work.count(acked=acked, dead_lettered=dead)

    def drop(self, condition: str, reason: str, work: Work) -> int:
        """Give up the rows that meet ``condition``, counted and noted; how many it were."""
        dropped = 0
        for row in self.all(
            "SELECT boot_id, min(seq), max(seq), min(start), max(start + seconds), count(*)"
            f" FROM items WHERE {condition} GROUP BY boot_id ORDER BY min(id)"
        ):
            boot_id, first, last, start, end, count = row
            self.note_gap(Gap(boot_id, first, last, start, end, count, reason))
            dropped += count
        self.run(f"DELETE FROM items WHERE {condition}")
        work.count(dropped=dropped)
        return dropped

    def note_gap(self, gap: Gap) -> None:
        """Remember a loss; neighbours with one reason become one."""
        last = self.all("SELECT id, boot_id, reason FROM gaps ORDER BY id DESC LIMIT 1")
        if last and last[0][1:] == (gap.boot_id, gap.reason):
            self.run(
                "UPDATE gaps SET first_seq = min(first_seq, ?), last_seq = max(last_seq, ?), start = min(start, ?),"
                " end = max(end, ?), count = count + ? WHERE id = ?",
                (gap.first_seq, gap.last_seq, gap.start, gap.end, gap.count, last[0][0]),
            )
            return
        self.run(
            "INSERT INTO gaps VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            (gap.boot_id, gap.first_seq, gap.last_seq, gap.start, gap.end, gap.count, gap.reason),
        )
        self.run("DELETE FROM gaps WHERE id <= (SELECT max(id) FROM gaps) - ?", (GAPS_KEPT,))

    def add_dead(self, letter: Sequence[Any]) -> None:
        """Keep a dead letter: boot_id, seq, kind, topic, consumer, reason, payload."""
        self.run("INSERT INTO dead VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", letter)
        self.run("DELETE FROM dead WHERE id <= (SELECT max(id) FROM dead) - ?", (DEAD_KEPT,))
