"""Putting an outbox together again: rows held in memory, rows salvaged from a damaged file, numbers from other records.

Each function is one transaction that leaves the counters adding up. All raise StoreError.
"""

from __future__ import annotations

from dataclasses import replace

from edge_agent.delivery.outbox import records
from edge_agent.delivery.outbox.salvage import Salvaged
from edge_agent.delivery.outbox.store import Store
from edge_agent.delivery.rows import Counters, Gap

EVERYONE = (1 << 62) - 1
"""``waiting`` of rows whose consumers are not known any more; cut down to the real ones when these are named."""


def adopt(store: Store, other: Store) -> None:
    """Move all rows and counters of ``other``, a store in memory whose ids and numbers continue those of ``store``."""
    tables, memory = store.tables, other.tables
    ours: dict[str, int] = dict(tables.all("SELECT name, bit FROM consumers"))
    theirs: dict[str, int] = dict(memory.all("SELECT name, bit FROM consumers"))
    with tables.transaction() as work:
        for columns in memory.all("SELECT * FROM items ORDER BY id"):
            record = records.Record(*columns)
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
    """Fill the new ``store`` with what was read from a damaged one; what is missing is dropped, counted."""
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
    """Believe another record (the mark, or the memory of a file that broke) that knows of more than the file.

    Rows that record knew and the file has not are dropped, counted; rows that it knew as acked and that are back will
    be delivered twice.
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
