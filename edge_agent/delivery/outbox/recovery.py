"""Recovery of an outbox: quarantine and salvage of a damaged database, and repair of the counters after a loss.

Salvage reads rows from both ends of the table up to the first error, then one by one between the holes. A destroyed
first page (header and table of contents) is replaced by that of a new database, which is the same for every outbox of
our schema; the original page is kept beside the file. ``adopt``, ``restore`` and ``catch_up`` are each one transaction
that leaves the counters balanced; they raise StoreError.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_agent.delivery.outbox.database import SCHEMA
from edge_agent.delivery.outbox.records import Counters, Gap, Record, load
from edge_agent.delivery.outbox.store import Store
from edge_agent.domain.database import PAGE_BYTES, SQLITE_ERRORS, connect

PROBES = 5_000
"""Failed look-ups in a row after which salvage ends; more than the rows below one inner page of the tree."""

KEPT = 5
"""Most damaged databases that are kept in quarantine."""

SEQ_MARGIN = 1_000_000
"""Sequence numbers skipped when the table of the next numbers is lost, so that no key is used twice."""


@dataclass(slots=True)
class Salvaged:
    """The salvaged content. ``rows`` have a right checksum and are in order; what could not be read is empty."""

    rows: list[Record] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    salvages: int = 0
    boots: dict[str, int] = field(default_factory=dict)
    consumers: dict[str, int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    dead: list[Sequence[Any]] = field(default_factory=list)

    def next_seqs(self) -> dict[str, int]:
        """Next sequence number of every boot that has rows, even if the table of these numbers is lost."""
        result = dict(self.boots)
        for record in self.rows:
            if record.boot_id not in self.boots:
                result[record.boot_id] = max(result.get(record.boot_id, 0), record.seq + SEQ_MARGIN)
        return result


def quarantine(path: Path) -> Path:
    """Move the database at ``path`` and its write-ahead log aside and return the new path.

    Beyond :data:`KEPT` the oldest is deleted, so that a disk that damages every file is not filled with them.
    """
    damaged = {
        int(file.stem.rsplit("-", 1)[1]): file for file in path.parent.glob(f"{path.stem}.damaged-*{path.suffix}")
    }
    for number in sorted(damaged)[: max(0, len(damaged) + 1 - KEPT)]:
        for file in path.parent.glob(f"{damaged[number].name}*"):
            file.unlink()
    target = path.with_name(f"{path.stem}.damaged-{max(damaged, default=0) + 1}{path.suffix}")
    path.rename(target)
    wal = path.with_name(path.name + "-wal")
    if wal.exists():
        wal.rename(target.with_name(target.name + "-wal"))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return target


def read(damaged: Path) -> Salvaged:
    """Salvage ``damaged``, if necessary after replacing its first page. Raises OSError only."""
    try:
        return _read(damaged)
    except SQLITE_ERRORS:
        pass  # the table of contents is lost: try with a new one
    try:
        _replace_first_page(damaged)
        return _read(damaged)
    except SQLITE_ERRORS:
        return Salvaged()


def _read(path: Path) -> Salvaged:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        db.execute("SELECT 1 FROM items LIMIT 0").fetchall()  # raises when there is no such table
        found = Salvaged(rows=list(_rows(db)))
        counters = _table(db, "SELECT produced, acked, merged_away, dropped, dead_lettered, salvages FROM counters")
        if counters:
            found.counters, found.salvages = Counters(*counters[0][:5]), counters[0][5]
        found.boots = dict(_table(db, "SELECT boot_id, next_seq FROM boots"))
        found.consumers = dict(_table(db, "SELECT name, bit FROM consumers"))
        gaps = _table(db, "SELECT boot_id, first_seq, last_seq, start, end, count, reason FROM gaps ORDER BY id")
        found.gaps = [Gap(*row) for row in gaps]
        found.dead = _table(db, "SELECT boot_id, seq, kind, topic, consumer, reason, payload FROM dead ORDER BY id")
        return found


def _table(db: sqlite3.Connection, statement: str) -> list[Any]:
    try:
        return db.execute(statement).fetchall()
    except SQLITE_ERRORS:
        return []


def _rows(db: sqlite3.Connection) -> Iterator[Record]:
    head = list(_run_of_rows(db, "id > ? ORDER BY id", 0))
    yield from filter(None, map(load, head))
    first_missing = head[-1][0] + 1 if head else 1
    tail = list(_run_of_rows(db, f"id >= {first_missing} AND id < ? ORDER BY id DESC", 1 << 62))[::-1]
    # Rows between are looked up one by one: a lost page costs its own rows and not those after it.
    end = tail[0][0] if tail else 1 << 62
    failures, id_ = 0, first_missing
    while id_ < end and failures < PROBES:
        found = _table(db, f"SELECT * FROM items WHERE id = {id_}")
        failures = 0 if found else failures + 1
        yield from filter(None, map(load, found))
        id_ += 1
    yield from filter(None, map(load, tail))


def _run_of_rows(db: sqlite3.Connection, condition: str, start: int) -> Iterator[Sequence[Any]]:
    """Read rows in the order of ``condition`` from id ``start`` on, until the end or the first error."""
    while True:
        try:
            batch = db.execute(f"SELECT * FROM items WHERE {condition} LIMIT 32", (start,)).fetchall()
        except SQLITE_ERRORS:
            return
        yield from batch
        if not batch:
            return
        start = batch[-1][0]


def _replace_first_page(damaged: Path) -> None:
    pattern = damaged.with_name(damaged.name + ".pattern")
    try:
        connect(pattern, SCHEMA).close()
        page = bytearray(pattern.read_bytes()[:PAGE_BYTES])
    finally:
        for suffix in ("", "-wal", "-shm"):
            pattern.with_name(pattern.name + suffix).unlink(missing_ok=True)
    page[28:32] = (damaged.stat().st_size // PAGE_BYTES).to_bytes(4, "big")  # size of the file in pages
    page[32:40] = bytes(8)  # no free list: this copy is only read
    with damaged.open("r+b") as file:
        original = file.read(PAGE_BYTES)
        damaged.with_name(damaged.name + ".page1").write_bytes(original)
        file.seek(0)
        file.write(page)


EVERYONE = (1 << 62) - 1
"""``waiting`` of rows whose consumers are unknown; reduced to the configured consumers when these are set."""


def adopt(store: Store, other: Store) -> None:
    """Move all rows and counters of ``other``, a store in memory, to ``store``, whose ids and numbers it continues."""
    tables, memory = store.tables, other.tables
    ours: dict[str, int] = dict(tables.all("SELECT name, bit FROM consumers"))
    theirs: dict[str, int] = dict(memory.all("SELECT name, bit FROM consumers"))
    with tables.transaction() as work:
        for columns in memory.all("SELECT * FROM items ORDER BY id"):
            record = Record(*columns)
            waiting = sum(ours[name] for name, bit in theirs.items() if record.waiting & bit)
            tables.insert(replace(record, waiting=waiting), work)
        for boot_id, next_seq in memory.next_seqs.items():
            work.next_seq[boot_id] = max(next_seq, store.next_seq(boot_id))
        for gap in other.gaps():
            tables.note_gap(gap)
        for letter in memory.all("SELECT boot_id, seq, kind, topic, consumer, reason, payload FROM dead ORDER BY id"):
            tables.add_dead(letter)
        work.counters += memory.counters
        work.next_id = memory.next_id


def restore(store: Store, found: Salvaged, boot_id: str) -> None:
    """Fill the new ``store`` with the salvaged content; missing rows are counted as dropped."""
    tables = store.tables
    with tables.transaction() as work:
        for record in found.rows:
            tables.insert(record if found.consumers else replace(record, waiting=EVERYONE), work)
        for item in found.consumers.items():
            tables.run("INSERT OR REPLACE INTO consumers VALUES (?, ?)", item)
        for gap in found.gaps:
            tables.note_gap(gap)
        for letter in found.dead:
            tables.add_dead(letter)
        work.next_seq.update(found.next_seqs())
        counted = found.counters
        missing = max(0, counted.produced - counted.settled - len(found.rows))
        work.counters = replace(
            counted,
            produced=max(counted.produced, counted.settled + len(found.rows)),
            dropped=counted.dropped + missing,
        )
        if missing:
            tables.note_gap(Gap(boot_id, 0, 0, 0.0, 0.0, missing, "damaged"))
        tables.run("UPDATE counters SET salvages = ?", (found.salvages + 1,))
    tables.salvages = found.salvages + 1


def catch_up(store: Store, boot_id: str, next_seq: int, known: Counters, reason: str) -> None:
    """Raise the counters of ``store`` to ``known``, from the mark or from memory, where the file is behind.

    Rows that are counted in ``known`` and missing in the file are counted as dropped. Rows that were acknowledged and
    are back in the file are delivered twice.
    """
    with store.tables.transaction() as work:
        if known.produced > store.counters.produced:
            lost = known.produced - known.settled - store.pending
            mine = store.counters
            work.count(
                produced=known.produced - mine.produced,
                acked=known.acked - mine.acked + min(0, lost),
                merged_away=known.merged_away - mine.merged_away,
                dead_lettered=known.dead_lettered - mine.dead_lettered,
                dropped=known.dropped - mine.dropped + max(0, lost),
            )
            if lost > 0:
                first = store.next_seq(boot_id)
                store.tables.note_gap(Gap(boot_id, first, max(first, next_seq - 1), 0.0, 0.0, lost, reason))
        if next_seq > store.next_seq(boot_id):
            work.next_seq[boot_id] = next_seq
