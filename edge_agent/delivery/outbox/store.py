"""The outbox's tables and the transactions on them, over one SQLite connection (a file, or memory as a last resort).

Every method that writes is one transaction that either happened, counters included, or did not; what is held in memory
follows the commit and never precedes it. Not thread-safe, no policy, no files: the modules around it add those.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from pydantic import TypeAdapter

from edge_agent.delivery import payload as render
from edge_agent.delivery.outbox.database import PAGE_BYTES, checksum, classify
from edge_agent.delivery.outbox.retention import Candidate
from edge_agent.delivery.outbox.salvage import Salvaged
from edge_agent.delivery.rows import Counters, Draft, Gap, Row
from edge_agent.domain.message import MessageKind
from edge_agent.domain.summary import ClockState, Summary, Window

Merge = Callable[[Summary, Summary], Summary]
"""Joins two neighbouring summaries exactly."""

GAPS_KEPT = 100
DEAD_KEPT = 500
EVERYONE = (1 << 62) - 1
"""``waiting`` of rows whose consumers are not known any more; cut down to the real ones when these are named."""

_ROW = "id, boot_id, seq, kind, topic, start, seconds, synced, merged, payload, crc, window"
_WINDOW: TypeAdapter[Window] = TypeAdapter(Window)


@dataclass(frozen=True, slots=True)
class Origin:
    """What every payload says about its sender, and how windows merge."""

    device: str
    boot_id: str
    merge: Merge


@dataclass(slots=True)
class _Work:
    """What one transaction will have changed once it is committed."""

    produced: int = 0
    acked: int = 0
    merged_away: int = 0
    dropped: int = 0
    dead_lettered: int = 0
    next_seq: dict[str, int] = field(default_factory=dict)

    def counters(self) -> Counters:
        return Counters(self.produced, self.acked, self.merged_away, self.dropped, self.dead_lettered)


class Store:
    """One open outbox database. ``next_id`` is the smallest id it may give to a new row."""

    def __init__(self, connection: sqlite3.Connection, origin: Origin, next_id: int = 1) -> None:
        self._db = connection
        self._origin = origin
        try:
            self._load(next_id)
        except sqlite3.Error as error:
            raise classify(error) from error

    def _load(self, next_id: int) -> None:
        row = self._one("SELECT produced, acked, merged_away, dropped, dead_lettered, salvages FROM counters")
        self.counters = Counters(*row[:5])
        self.salvages: int = row[5]
        self.pending: int = self._one("SELECT count(*) FROM items")[0]
        self._next_id: int = max(next_id, self._one("SELECT coalesce(max(id), 0) + 1 FROM items")[0])
        self._seqs: dict[str, int] = dict(self._db.execute("SELECT boot_id, next_seq FROM boots"))

    @property
    def next_id(self) -> int:
        """Id of the next row."""
        return self._next_id

    def next_seq(self, boot_id: str) -> int:
        """Sequence number of the next row of ``boot_id``."""
        return self._seqs.get(boot_id, 1)

    def close(self) -> None:
        """Close the connection; SQLite moves the WAL into the file."""
        try:
            self._db.close()
        except sqlite3.Error as error:
            raise classify(error) from error

    # -- size ---------------------------------------------------------------------------------------------------------

    def used(self) -> int:
        """Bytes in use; free pages inside the file do not count."""
        try:
            pages = self._one("PRAGMA page_count")[0] - self._one("PRAGMA freelist_count")[0]
        except sqlite3.Error as error:
            raise classify(error) from error
        return int(pages) * PAGE_BYTES

    def limit(self, size: int) -> None:
        """Never let the file grow beyond ``size`` bytes."""
        self._db.execute(f"PRAGMA max_page_count = {max(8, size // PAGE_BYTES)}")

    # -- consumers ----------------------------------------------------------------------------------------------------

    def consumers(self, names: Sequence[str]) -> dict[str, int]:
        """The bit of each of ``names``; rows that waited for others only are dropped."""
        with self._transaction() as work:
            stored = dict(self._db.execute("SELECT name, bit FROM consumers"))
            bits = {name: bit for name, bit in stored.items() if name in names}
            for name in names:
                if name not in bits:
                    bits[name] = next(1 << k for k in range(62) if 1 << k not in {*stored.values(), *bits.values()})
            if bits != stored:
                self._db.execute("DELETE FROM consumers")
                self._db.executemany("INSERT INTO consumers VALUES (?, ?)", bits.items())
                mask = sum(bits.values())
                self._db.execute("UPDATE items SET waiting = waiting & ? WHERE waiting & ~?", (mask, mask))
                self._drop_where("waiting = 0", (), "consumer removed", work)
        return bits

    # -- rows in ------------------------------------------------------------------------------------------------------

    def put(self, drafts: Iterable[Draft], waiting: int) -> list[int]:
        """Store ``drafts`` in order, each with the next sequence number; their ids. ``waiting``: the consumers' bits.

        A draft that cannot be rendered is counted as dropped.
        """
        ids: list[int] = []
        with self._transaction() as work:
            next_id = self._next_id
            for draft in drafts:
                seq = self._take_seq(self._origin.boot_id, work)
                work.produced += 1
                try:
                    payload, window = self._render(draft, seq)
                except ValueError as error:
                    work.dropped += 1
                    self._note_gap(
                        Gap(self._origin.boot_id, seq, seq, draft.start, draft.start, 1, f"invalid: {error}")
                    )
                    continue
                synced = draft.clock == "synced"
                self._insert(
                    (next_id, self._origin.boot_id, seq, draft.kind, draft.topic, draft.start, synced, draft.begin,
                     draft.seconds, 0, 1, waiting, 0, window, payload, checksum(payload, window))
                )  # fmt: skip
                ids.append(next_id)
                next_id += 1
        self._next_id = next_id
        return ids

    def miss(self, count: int, reason: str) -> None:
        """Count ``count`` messages as produced and dropped."""
        with self._transaction() as work:
            work.produced += count
            work.dropped += count
            self._note_gap(Gap(self._origin.boot_id, 0, 0, 0.0, 0.0, count, reason))

    def adopt(self, other: Store) -> None:
        """Take over all rows and counters of ``other``, a store in memory whose ids and numbers continue this one's."""
        with self._transaction() as work:
            for row in other._db.execute("SELECT * FROM items ORDER BY id"):
                self._insert(row)
            for boot_id, next_seq in other._seqs.items():
                work.next_seq[boot_id] = max(next_seq, self.next_seq(boot_id))
            for gap in other.gaps():
                self._note_gap(gap)
            for row in other._db.execute("SELECT boot_id, seq, kind, topic, consumer, reason, payload FROM dead"):
                self._db.execute("INSERT INTO dead VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row)
            work.produced += other.counters.produced
            work.acked += other.counters.acked
            work.merged_away += other.counters.merged_away
            work.dropped += other.counters.dropped
            work.dead_lettered += other.counters.dead_lettered
        self._next_id = max(self._next_id, other.next_id)

    def restore(self, found: Salvaged) -> None:
        """Fill this new store with what was read from a damaged one, and account for the rest as dropped."""
        with self._transaction() as work:
            for row in found.rows:
                waiting = row[11] if found.consumers else EVERYONE
                self._insert((*row[:11], waiting, *row[12:]))
            for name, bit in found.consumers.items():
                self._db.execute("INSERT OR REPLACE INTO consumers VALUES (?, ?)", (name, bit))
            for gap in found.gaps:
                self._note_gap(Gap(*gap))
            for dead in found.dead:
                self._db.execute("INSERT INTO dead VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", dead)
            work.next_seq.update(found.next_seqs())
            counted = Counters(*found.counters) if found.counters else Counters()
            work.produced = max(counted.produced, counted.settled + len(found.rows))
            work.acked, work.merged_away = counted.acked, counted.merged_away
            work.dead_lettered = counted.dead_lettered
            missing = work.produced - counted.settled - len(found.rows)
            work.dropped = counted.dropped + missing
            if missing:
                self._note_gap(Gap(self._origin.boot_id, 0, 0, 0.0, 0.0, missing, "damaged"))
            self._db.execute("UPDATE counters SET salvages = ?", (found.salvages + 1,))
        self.salvages = found.salvages + 1
        self._next_id = max(self._next_id, *(row[0] + 1 for row in found.rows), 1)

    def catch_up(self, boot_id: str, next_seq: int, known: Counters, reason: str) -> None:
        """Believe another record (the mark, or the memory of a file that broke) that knows of more than this file.

        Rows that record knew and this file has not are dropped, counted; rows that it knew as acked and that are back
        will be delivered twice.
        """
        with self._transaction() as work:
            if known.produced > self.counters.produced:
                lost = known.produced - known.settled - self.pending
                work.produced = known.produced - self.counters.produced
                work.acked = known.acked - self.counters.acked + min(0, lost)
                work.merged_away = known.merged_away - self.counters.merged_away
                work.dead_lettered = known.dead_lettered - self.counters.dead_lettered
                work.dropped = known.dropped - self.counters.dropped + max(0, lost)
                if lost > 0:
                    first = self.next_seq(boot_id)
                    self._note_gap(Gap(boot_id, first, max(first, next_seq - 1), 0.0, 0.0, lost, reason))
            if next_seq > self.next_seq(boot_id):
                work.next_seq[boot_id] = next_seq

    # -- rows out -----------------------------------------------------------------------------------------------------

    def select(
        self, bit: int, after: int, before: int | None, limit: int, skip: Collection[str] = ()
    ) -> tuple[list[Row], list[int]]:
        """Rows that consumer ``bit`` still waits for, ``after < id < before``, oldest first, without kinds in ``skip``.

        The second list holds the ids of rows whose content is damaged.
        """
        marks = ", ".join("?" * len(skip))
        condition = f" AND kind NOT IN ({marks})" if skip else ""
        return self._read(
            f"SELECT {_ROW} FROM items WHERE id > ? AND id < ? AND waiting & ? {condition} ORDER BY id LIMIT ?",
            (after, before if before is not None else 1 << 62, bit, *skip, limit),
        )

    def fetch(self, bit: int, ids: Sequence[int]) -> tuple[list[Row], list[int]]:
        """Those of ``ids`` that consumer ``bit`` still waits for; and the damaged ones, as :meth:`select`."""
        marks = ", ".join("?" * len(ids))
        return self._read(f"SELECT {_ROW} FROM items WHERE id IN ({marks}) AND waiting & ? ORDER BY id", (*ids, bit))

    def settle(self, bit: int, ids: Collection[int]) -> None:
        """Consumer ``bit`` is done with ``ids``; rows that nobody else waits for are deleted and counted."""
        with self._transaction() as work:
            self._settle(bit, ids, work)

    def bury(self, bit: int, consumer: str, ids: Collection[int], reason: str) -> None:
        """Consumer ``bit`` will never take ``ids``: keep a copy as dead letters, and :meth:`settle`."""
        with self._transaction() as work:
            for id_ in ids:
                self._db.execute(
                    "INSERT INTO dead SELECT NULL, boot_id, seq, kind, topic, ?, ?, payload FROM items WHERE id = ?",
                    (consumer, reason, id_),
                )
                self._db.execute("UPDATE items SET dead = 1 WHERE id = ?", (id_,))
            self._db.execute("DELETE FROM dead WHERE id <= (SELECT max(id) FROM dead) - ?", (DEAD_KEPT,))
            self._settle(bit, ids, work)

    # -- space --------------------------------------------------------------------------------------------------------

    def candidates(self, tier: int, after: int, before: int, limit: int) -> list[Candidate]:
        """Summaries of ``tier`` with ``after < id < before``, oldest first."""
        rows = self._all(
            "SELECT id, boot_id, synced, waiting, begin FROM items WHERE id > ? AND id < ? AND tier = ?"
            " AND window IS NOT NULL AND dead = 0 ORDER BY id LIMIT ?",
            (after, before, tier, limit),
        )
        return [Candidate(*row) for row in rows]

    def merge(self, groups: Iterable[Sequence[int]], tier: int) -> None:
        """Make one row of each group of ids (ordered, of one boot) and lift it to the tier above ``tier``.

        The merged row takes a number of its own: with the key of a part that was already sent, a subscriber that
        drops duplicates would drop the other parts with it.
        """
        with self._transaction() as work:
            for group in groups:
                if len(group) > 1:
                    self._merge_group(group, tier, work)
                else:
                    self._db.execute("UPDATE items SET tier = ? WHERE id = ?", (tier + 1, group[0]))

    def drop_oldest(self, count: int, spare: Collection[int], reason: str) -> int:
        """Give up the ``count`` oldest rows that are not in ``spare``; how many it were."""
        with self._transaction() as work:
            oldest = self._db.execute("SELECT id FROM items ORDER BY id LIMIT ?", (count + len(spare),)).fetchall()
            ids = [row[0] for row in oldest if row[0] not in spare][:count]
            self._drop(ids, reason, work)
        return len(ids)

    def purge(self, *, dead_only: bool) -> tuple[int, int]:
        """Delete the dead letters and, unless ``dead_only``, every row, counted as dropped: how many of each."""
        with self._transaction() as work:
            letters = self._db.execute("DELETE FROM dead").rowcount
            if not dead_only:
                self._drop_where("1", (), "purged", work)
            rows = work.dropped
        return letters, rows

    def expire(self, cutoff: float, spare: Collection[int]) -> int:
        """Give up rows at the head of the queue that ended before wall time ``cutoff``; only rows with a known time."""
        ids = []
        for id_, start, seconds, synced in self._all(
            "SELECT id, start, seconds, synced FROM items ORDER BY id LIMIT 500", ()
        ):
            if synced and start + seconds >= cutoff:
                break
            if synced and id_ not in spare:
                ids.append(id_)
        if ids:
            with self._transaction() as work:
                self._drop(ids, "too old", work)
        return len(ids)

    # -- time ---------------------------------------------------------------------------------------------------------

    def repair_clock(self, offset: float, limit: int) -> int:
        """Give rows of this boot their right start, ``begin + offset``, where it was unknown; how many it were."""
        rows = self._all(
            "SELECT id, begin, payload, window FROM items WHERE boot_id = ? AND synced = 0 LIMIT ?",
            (self._origin.boot_id, limit),
        )
        if rows:
            with self._transaction():
                for id_, begin, payload, window in rows:
                    start = begin + offset
                    stamped = render.restamp(payload, start)
                    self._db.execute(
                        "UPDATE items SET start = ?, synced = 1, payload = ?, crc = ? WHERE id = ?",
                        (start, stamped, checksum(stamped, window), id_),
                    )
        return len(rows)

    # -- figures ------------------------------------------------------------------------------------------------------

    def gaps(self) -> tuple[Gap, ...]:
        """The last losses, oldest first."""
        return tuple(
            Gap(*row)
            for row in self._all(
                "SELECT boot_id, first_seq, last_seq, start, end, count, reason FROM gaps ORDER BY id", ()
            )
        )

    def oldest(self) -> float | None:
        """Wall time at which the oldest row starts."""
        rows = self._all("SELECT start FROM items ORDER BY id LIMIT 1", ())
        return float(rows[0][0]) if rows else None

    # -- inside a transaction -----------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[_Work]:
        """BEGIN … COMMIT; counters are written with it, and memory follows only after the commit."""
        work = _Work()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield work
                self._write(work)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise classify(error) from error
        change = work.counters()
        self.counters += change
        self.pending += change.produced - change.settled
        self._seqs.update(work.next_seq)

    def _write(self, work: _Work) -> None:
        change = work.counters()
        if change != Counters():
            self._db.execute(
                "UPDATE counters SET produced = produced + ?, acked = acked + ?, merged_away = merged_away + ?,"
                " dropped = dropped + ?, dead_lettered = dead_lettered + ?",
                (work.produced, work.acked, work.merged_away, work.dropped, work.dead_lettered),
            )
        for boot_id, next_seq in work.next_seq.items():
            self._db.execute(
                "INSERT INTO boots VALUES (?, ?) ON CONFLICT DO UPDATE SET next_seq = excluded.next_seq",
                (boot_id, next_seq),
            )

    def _take_seq(self, boot_id: str, work: _Work) -> int:
        seq = work.next_seq.get(boot_id) or self.next_seq(boot_id)
        work.next_seq[boot_id] = seq + 1
        return seq

    def _render(self, draft: Draft, seq: int) -> tuple[bytes, str | None]:
        device, boot_id = self._origin.device, self._origin.boot_id
        if isinstance(draft.content, Summary):
            document = render.summary_document(draft.content, device, boot_id, seq)
            return render.encode(document), _dump(draft.content.window)
        document = render.event_document(draft.content, draft.start, draft.clock, device, boot_id, seq)
        return render.encode(document), None

    def _insert(self, row: Sequence[Any]) -> None:
        self._db.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _settle(self, bit: int, ids: Collection[int], work: _Work) -> None:
        chosen = f"id IN ({','.join(map(str, ids))})"
        gone = f"DELETE FROM items WHERE {chosen} AND waiting = ? AND dead = ?"
        acked = self._db.execute(gone, (bit, 0)).rowcount
        dead = self._db.execute(gone, (bit, 1)).rowcount if acked < len(ids) else 0
        if acked + dead < len(ids):
            self._db.execute(f"UPDATE items SET waiting = waiting & ~? WHERE {chosen}", (bit,))
        work.acked += acked
        work.dead_lettered += dead

    def _merge_group(self, group: Sequence[int], tier: int, work: _Work) -> None:
        chosen = f"id IN ({','.join(map(str, group))})"
        rows = self._db.execute(
            f"SELECT start, synced, window, merged, boot_id, begin, seconds FROM items WHERE {chosen} ORDER BY id"
        ).fetchall()
        try:
            summaries = [
                Summary(start, _clock(synced), _WINDOW.validate_json(window)) for start, synced, window, *_ in rows
            ]
        except ValueError:  # damaged sums: the rows stay as they are, and are found out when they are sent
            return
        whole = reduce(self._origin.merge, summaries)
        merged, boot_id = sum(row[3] for row in rows), rows[0][4]
        seq = self._take_seq(boot_id, work)
        document = render.summary_document(whole, self._origin.device, boot_id, seq, merged)
        payload, window = render.encode(document), _dump(whole.window)
        self._db.execute(f"DELETE FROM items WHERE {chosen} AND id <> ?", (group[0],))
        self._db.execute(
            "UPDATE items SET seq = ?, start = ?, begin = ?, seconds = ?, tier = ?, merged = ?, window = ?,"
            " payload = ?, crc = ? WHERE id = ?",
            (seq, whole.start, whole.window.begin, whole.seconds, tier + 1, merged, window, payload,
             checksum(payload, window), group[0]),
        )  # fmt: skip
        work.merged_away += len(rows) - 1

    def _drop(self, ids: Sequence[int], reason: str, work: _Work) -> None:
        if ids:
            self._drop_where(f"id IN ({','.join(map(str, ids))})", (), reason, work)

    def _drop_where(self, condition: str, values: Sequence[Any], reason: str, work: _Work) -> None:
        for boot_id, first, last, start, end, count in self._db.execute(
            "SELECT boot_id, min(seq), max(seq), min(start), max(start + seconds), count(*)"
            f" FROM items WHERE {condition} GROUP BY boot_id ORDER BY min(id)",
            values,
        ).fetchall():
            self._note_gap(Gap(boot_id, first, last, start, end, count, reason))
            work.dropped += count
        self._db.execute(f"DELETE FROM items WHERE {condition}", values)

    def _note_gap(self, gap: Gap) -> None:
        last = self._db.execute("SELECT id, boot_id, reason FROM gaps ORDER BY id DESC LIMIT 1").fetchone()
        if last and (last[1], last[2]) == (gap.boot_id, gap.reason):
            self._db.execute(
                "UPDATE gaps SET first_seq = min(first_seq, ?), last_seq = max(last_seq, ?), start = min(start, ?),"
                " end = max(end, ?), count = count + ? WHERE id = ?",
                (gap.first_seq, gap.last_seq, gap.start, gap.end, gap.count, last[0]),
            )
            return
        self._db.execute(
            "INSERT INTO gaps VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            (gap.boot_id, gap.first_seq, gap.last_seq, gap.start, gap.end, gap.count, gap.reason),
        )
        self._db.execute("DELETE FROM gaps WHERE id <= (SELECT max(id) FROM gaps) - ?", (GAPS_KEPT,))

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read(self, statement: str, values: Sequence[Any]) -> tuple[list[Row], list[int]]:
        rows: list[Row] = []
        damaged: list[int] = []
        for id_, boot, seq, kind, topic, start, seconds, synced, merged, payload, crc, window in self._all(
            statement, values
        ):
            if checksum(payload, window) == crc:
                kind_: MessageKind = kind
                rows.append(Row(id_, boot, seq, kind_, topic, start, seconds, _clock(synced), merged, payload))
            else:
                damaged.append(id_)
        return rows, damaged

    def _one(self, statement: str) -> Any:
        return self._db.execute(statement).fetchone()

    def _all(self, statement: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise classify(error) from error


def _clock(synced: int) -> ClockState:
    return "synced" if synced else "unsynced"


def _dump(window: Window) -> str:
    return _WINDOW.dump_json(window, exclude_defaults=True).decode()
