"""The outbox database: its schema, and transactions that keep the counters. Not thread-safe."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.delivery.outbox.records import Counters, Gap, Record
from edge_agent.domain.database import PAGE_BYTES, SQLITE_ERRORS, Schema, StoreFullError, classify

SCHEMA = Schema(
    "outbox",
    1,
    """
CREATE TABLE items (
  id INTEGER PRIMARY KEY,     -- order of delivery
  boot_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  kind TEXT NOT NULL,
  topic TEXT NOT NULL,        -- relative, of live delivery
  start REAL NOT NULL,        -- wall clock, Unix seconds
  synced INTEGER NOT NULL,    -- whether start can be trusted
  begin REAL NOT NULL,        -- monotonic seconds of boot_id
  seconds REAL NOT NULL,
  tier INTEGER NOT NULL,      -- 0: as produced; see retention
  merged INTEGER NOT NULL,    -- number of produced rows it stands for
  waiting INTEGER NOT NULL,   -- bit per consumer that has not taken it yet
  dead INTEGER NOT NULL,      -- set once any consumer refused it for good
  window TEXT,                -- a summary's mergeable sums, JSON
  payload BLOB NOT NULL,
  crc INTEGER NOT NULL        -- of window and payload
);
CREATE TABLE boots (boot_id TEXT PRIMARY KEY, next_seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE consumers (name TEXT PRIMARY KEY, bit INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (
  one INTEGER PRIMARY KEY CHECK (one = 1), produced INTEGER NOT NULL, acked INTEGER NOT NULL,
  merged_away INTEGER NOT NULL, dropped INTEGER NOT NULL, dead_lettered INTEGER NOT NULL, salvages INTEGER NOT NULL
);
CREATE TABLE gaps (
  id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
  start REAL NOT NULL, end REAL NOT NULL, count INTEGER NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE dead (
  id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, topic TEXT NOT NULL,
  consumer TEXT NOT NULL, reason TEXT NOT NULL, payload BLOB NOT NULL
);
INSERT INTO counters VALUES (1, 0, 0, 0, 0, 0, 0);
""",
)


GAPS_KEPT = 100
DEAD_KEPT = 500
"""Most gaps and dead letters that are kept."""


@dataclass(slots=True)
class Work:
    """Changes of counters and next numbers that take effect in memory once the transaction is committed."""

    counters: Counters = field(default_factory=Counters)
    next_seq: dict[str, int] = field(default_factory=dict)
    next_id: int = 0

    def count(
        self, *, produced: int = 0, acked: int = 0, merged_away: int = 0, dropped: int = 0, dead_lettered: int = 0
    ) -> None:
        """Add to the counters."""
        self.counters += Counters(produced, acked, merged_away, dropped, dead_lettered)


class Tables:
    """Statements and transactions of an open database. ``next_id``: the smallest id that a new row may get."""

    def __init__(self, connection: sqlite3.Connection, next_id: int = 1) -> None:
        self._db = connection
        counted = self.all("SELECT produced, acked, merged_away, dropped, dead_lettered, salvages FROM counters")[0]
        self.counters = Counters(*counted[:5])
        self.salvages: int = counted[5]
        self.pending: int = self.all("SELECT count(*) FROM items")[0][0]
        self.next_id: int = max(next_id, self.all("SELECT coalesce(max(id), 0) + 1 FROM items")[0][0])
        self.next_seqs: dict[str, int] = dict(self.all("SELECT boot_id, next_seq FROM boots"))

    def close(self) -> None:
        """Close the connection, which checkpoints the write-ahead log. Raises StoreError."""
        try:
            self._db.close()
        except SQLITE_ERRORS as error:
            raise classify(error) from error

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a query and return all its rows. Raises StoreError."""
        try:
            return self._db.execute(statement, values).fetchall()
        except SQLITE_ERRORS as error:
            raise classify(error) from error

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement inside a transaction and return the number of rows changed. Raises StoreError."""
        try:
            return self._db.execute(statement, values).rowcount
        except SQLITE_ERRORS as error:
            raise classify(error) from error

    def used(self) -> int:
        """Bytes in use, without the free pages of the file."""
        pages: int = self.all("PRAGMA page_count")[0][0] - self.all("PRAGMA freelist_count")[0][0]
        return pages * PAGE_BYTES

    @contextmanager
    def transaction(self) -> Iterator[Work]:
        """Run the block in a transaction; an error rolls it back. Raises StoreError."""
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
        """Take the next sequence number of ``boot_id``."""
        seq = work.next_seq.get(boot_id) or self.next_seqs.get(boot_id, 1)
        work.next_seq[boot_id] = seq + 1
        return seq

    def insert(self, record: Record, work: Work) -> None:
        """Insert a row, or replace the one with the same id."""
        self.run(f"INSERT OR REPLACE INTO items VALUES ({', '.join('?' * 16)})", record.columns())
        work.next_id = max(work.next_id, record.id + 1)

    def settle(self, bit: int, ids: Collection[int], work: Work) -> None:
        """Mark ``ids`` as taken by consumer ``bit``; delete and count rows that wait for no other."""
        chosen = f"id IN ({','.join(map(str, ids))})"
        gone = f"DELETE FROM items WHERE {chosen} AND waiting = ? AND dead = ?"
        acked = self.run(gone, (bit, 0))
        dead = self.run(gone, (bit, 1)) if acked < len(ids) else 0
        if acked + dead < len(ids):
            self.run(f"UPDATE items SET waiting = waiting & ~? WHERE {chosen}", (bit,))
        work.count(acked=acked, dead_lettered=dead)

    def drop(self, condition: str, reason: str, work: Work) -> int:
        """Drop the rows that meet ``condition``, count them and note their gaps; the number dropped."""
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
        """Store a gap; gaps in a row of the same boot and reason become one."""
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
        """Store a dead letter: boot_id, seq, kind, topic, consumer, reason, payload."""
        self.run("INSERT INTO dead VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", letter)
        self.run("DELETE FROM dead WHERE id <= (SELECT max(id) FROM dead) - ?", (DEAD_KEPT,))


ELSEWHERE = "or set device.state_dir"


def explain(error: Exception, folder: Path) -> str:
    """Explain in one line why the outbox's ``folder`` cannot be used, and what to do about it."""
    what = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return f"{folder}: {what}: {_remedy(error, folder)}"


def _remedy(error: Exception, folder: Path) -> str:
    number = error.errno if isinstance(error, OSError) else None
    nearest = next(path for path in (folder, *folder.parents, Path()) if os.path.exists(path))
    if isinstance(error, StoreFullError) or number in (errno.ENOSPC, errno.EDQUOT):
        return f"free some space there, {ELSEWHERE}"
    if number == errno.EROFS or _read_only(nearest):
        return f"mounted read-only: see dmesg for the disk's errors, then remount it, {ELSEWHERE}"
    if not nearest.is_dir():
        return f"{nearest} is not a folder: move it away, {ELSEWHERE}"
    if nearest != folder or not os.access(folder, os.W_OK | os.X_OK):
        return f"make {folder.parent} a folder that this user can write to, {ELSEWHERE}"
    return f"see dmesg for the disk's errors, {ELSEWHERE}"


def _read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False
