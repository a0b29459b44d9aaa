"""Write batches of rows to PostgreSQL in one transaction each, every message once, whoever else writes.

Rows are copied into temporary tables; the insertion of their keys tells which messages are new.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from edge_agent.collect import database
from edge_agent.collect.database import BadData, Connection, NoPartition, Partitions
from edge_agent.collect.rows import (
    EVENTS,
    HEALTH,
    KEY,
    WINDOWS,
    Acceptance,
    Rejection,
    State,
    TableRow,
    dump,
    health_row,
    newest,
    rejection,
)
from edge_agent.collect.settings import DatabaseSettings

log = logging.getLogger(__name__)

COLUMNS: Mapping[str, Sequence[str]] = {"windows": WINDOWS, "events": EVENTS}

_NEW = f"""
WITH new AS (
  INSERT INTO keys (device, boot_id, seq, at, synced)
  SELECT device, boot_id, seq, at, clock = 'synced' FROM (
    SELECT device, boot_id, seq, at, clock FROM staged_windows
    UNION ALL SELECT device, boot_id, seq, at, clock FROM staged_events
  ) staged
  ORDER BY device, boot_id, seq
  ON CONFLICT DO NOTHING
  RETURNING device, boot_id, seq
), stored_windows AS (
  INSERT INTO windows ({", ".join(WINDOWS)})
  SELECT {", ".join(f"s.{name}" for name in WINDOWS)} FROM staged_windows s JOIN new USING (device, boot_id, seq)
  RETURNING 1
), stored_events AS (
  INSERT INTO events ({", ".join(EVENTS)})
  SELECT {", ".join(f"s.{name}" for name in EVENTS)} FROM staged_events s JOIN new USING (device, boot_id, seq)
  RETURNING 1
)
SELECT (SELECT count(*) FROM stored_windows), (SELECT count(*) FROM stored_events)
"""

# A message that came before its device knew the time, and comes again with the right time, moves there.
_CORRECTED = """
SELECT k.device, k.boot_id, k.seq, k.at FROM keys k JOIN staged_{table} s USING (device, boot_id, seq)
WHERE NOT k.synced AND s.clock = 'synced' ORDER BY k.device, k.boot_id, k.seq FOR UPDATE OF k
"""
_MOVE = """
DELETE FROM {table} WHERE device = %(device)s AND boot_id = %(boot_id)s AND seq = %(seq)s AND at = %(at)s;
INSERT INTO {table} ({columns}) SELECT {columns} FROM staged_{table}
WHERE device = %(device)s AND boot_id = %(boot_id)s AND seq = %(seq)s;
UPDATE keys k SET synced = true, at = s.at FROM staged_{table} s
WHERE (k.device, k.boot_id, k.seq) = (s.device, s.boot_id, s.seq)
  AND k.device = %(device)s AND k.boot_id = %(boot_id)s AND k.seq = %(seq)s
"""

_SEEN = """
INSERT INTO devices (device, first_seen, last_seen)
SELECT s.device, s.first, s.last
FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS s (device, first, last)
WHERE NOT EXISTS (SELECT FROM devices d WHERE d.device = s.device AND d.last_seen > s.last - interval '20 seconds')
ORDER BY s.device
ON CONFLICT (device) DO UPDATE SET last_seen = greatest(devices.last_seen, excluded.last_seen)
"""

_REJECTED = """
INSERT INTO rejected (digest, received, device, topic, reason, size, payload) VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (digest) DO UPDATE SET times = rejected.times + 1, received = excluded.received, reason = excluded.reason
"""


@dataclass(slots=True)
class Written:
    """What became of a batch, in messages."""

    windows: int = 0
    events: int = 0
    repeated: int = 0
    corrected: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What is written in one transaction."""

    rows: Sequence[TableRow] = ()
    rejections: Sequence[Rejection] = ()
    states: Sequence[State] = ()

    def __bool__(self) -> bool:
        return bool(self.rows or self.rejections or self.states)


class BatchWriter:
    """Writes through ``connection``, which nothing else may use. Raises psycopg.Error when it cannot write."""

    def __init__(self, connection: Connection, partitions: Partitions, rejected_rows: int) -> None:
        self._connection = connection
        self._partitions = partitions
        self._rejected_rows = rejected_rows
        for table in COLUMNS:
            connection.execute(cast(Any, f"CREATE TEMPORARY TABLE staged_{table} (LIKE {table}) ON COMMIT DELETE ROWS"))

    def write(self, batch: Batch) -> Written:
        """Commit ``batch``. A row that the database refuses is rejected, and the rest is stored."""
        try:
            return self._write(batch)
        except NoPartition:
            self._partitions.forget()  # another collector has dropped one
            return self._write(batch)
        except BadData as error:
            return self._without_bad(batch, error)

    def _without_bad(self, batch: Batch, error: Exception) -> Written:
        """Find the bad rows by halving, and reject them."""
        count = len(batch.rows)
        if count == 0:
            return self._without_bad_state(batch, error)
        log.warning("the database refuses a batch of %d, looking for the reason: %s", count, database.one_line(error))
        if count == 1:
            return self._write(Batch((), (*batch.rejections, _refused(batch.rows[0], error)), batch.states))
        first = self.write(Batch(batch.rows[: count // 2], batch.rejections, batch.states))
        second = self.write(Batch(batch.rows[count // 2 :]))
        return Written(*(getattr(first, n) + getattr(second, n) for n in Written.__slots__))

    def _without_bad_state(self, batch: Batch, error: Exception) -> Written:
        """Leave out the state of a device that the database refuses: the next one replaces it anyhow."""
        count = len(batch.states)
        if count == 0:
            raise error
        if count == 1:
            log.error("the database refuses %s of %s: %s", batch.states[0].kind, batch.states[0].device, error)
            return self._write(Batch((), batch.rejections))
        first = self.write(Batch((), batch.rejections, batch.states[: count // 2]))
        self.write(Batch((), (), batch.states[count // 2 :]))
        return first

    def _write(self, batch: Batch) -> Written:
        outcome = Written(rejected=len(batch.rejections))
        rows = newest(batch.rows)
        health = [health_row(s) for s in batch.states if s.kind == "health" and s.document and not s.retained]
        moments = [row.values["at"] for row in rows] + [row["at"] for row in health]
        self._partitions.ensure(self._connection, moments)
        with self._connection.transaction():
            if rows:
                self._store(rows, outcome)
                outcome.repeated = len(batch.rows) - outcome.windows - outcome.events
                self._seen(rows)
            with self._connection.pipeline():
                for state in batch.states:
                    self._keep(state)
            if health:
                self._copy("health", HEALTH, health)
            self._reject(batch.rejections)
        return outcome

    def _store(self, rows: Sequence[TableRow], outcome: Written) -> None:
        for table, columns in COLUMNS.items():
            self._copy(f"staged_{table}", columns, [row.values for row in rows if row.table == table])
        counts = self._connection.execute(cast(Any, _NEW)).fetchone() or (0, 0)
        outcome.windows, outcome.events = counts
        if outcome.windows + outcome.events < len(rows):
            for table in COLUMNS:
                outcome.corrected += self._correct(table)

    def _correct(self, table: str) -> int:
        found = self._connection.execute(cast(Any, _CORRECTED.format(table=table))).fetchall()
        for *key, at in found:
            for statement in _MOVE.format(table=table, columns=", ".join(COLUMNS[table])).split(";"):
                self._connection.execute(cast(Any, statement), dict(zip((*KEY, "at"), (*key, at), strict=True)))
        return len(found)

    def _copy(self, table: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        rows = list(rows)
        if not rows:
            return
        statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
        with self._connection.cursor() as cursor, cursor.copy(cast(Any, statement)) as copy:
            for row in rows:
                copy.write_row([row[name] for name in columns])

    def _seen(self, rows: Sequence[TableRow]) -> None:
        times: dict[str, tuple[datetime, datetime]] = {}
        for row in rows:
            device, received = row.values["device"], row.values["received"]
            first, last = times.get(device, (received, received))
            times[device] = min(first, received), max(last, received)
        devices = sorted(times)
        self._connection.execute(_SEEN, (devices, [times[d][0] for d in devices], [times[d][1] for d in devices]))

    def _keep(self, state: State) -> None:
        """Make ``state`` the latest of its device; what the broker had kept says nothing about when it was sent."""
        columns: dict[str, Any] = {}
        document = state.document
        if state.kind == "status":
            columns = {"status": document}
        else:
            columns = {state.kind: dump(document)}
            if document is not None:
                columns |= {"site": document.get("site"), "labels": dump(document.get("labels"))}
        if state.kind == "info" and document is not None:
            columns |= {"name": document["name"], "version": document["version"]}
        run = self._connection.execute
        if document is not None:
            run(
                "INSERT INTO devices (device, first_seen, last_seen) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (state.device, state.received, state.received),
            )
        names = ", ".join(f"{name} = %s" for name in columns)
        same = f"devices.{state.kind} IS NOT DISTINCT FROM %s" + ("" if state.kind == "status" else "::jsonb")
        seen = state.received if document is not None and not state.retained and document != "offline" else None
        run(
            cast(
                Any,
                f"UPDATE devices SET {names}, {state.kind}_at = CASE WHEN {same} AND %s THEN {state.kind}_at"
                " ELSE %s END, last_seen = greatest(last_seen, %s) WHERE device = %s",
            ),
            (*columns.values(), columns[state.kind], state.retained, state.received, seen, state.device),
        )

    # -- retention ----------------------------------------------------------------------------------------------------

    def _reject(self, rejections: Sequence[Rejection]) -> None:
        for each in sorted(rejections, key=lambda r: r.digest):
            self._connection.execute(_REJECTED, tuple(getattr(each, name) for name in Rejection.__slots__))
        if rejections:
            self._connection.execute(
                "DELETE FROM rejected WHERE digest IN"
                " (SELECT digest FROM rejected ORDER BY received DESC, digest OFFSET %s)",
                (self._rejected_rows,),
            )

    def prune(self, now: datetime, settings: DatabaseSettings) -> int:
        """Delete what is older than its retention; the number of partitions dropped."""
        run = self._connection.execute
        run("DELETE FROM rejected WHERE received < %s", (now - timedelta(days=settings.rejected_days),))
        if not settings.retention_days:
            return 0
        before = now - timedelta(days=settings.retention_days)
        run("DELETE FROM devices WHERE last_seen < %s", (before,))
        return self._partitions.prune(self._connection, before)


def _refused(row: TableRow, error: Exception) -> Rejection:
    """The row stands for its message, which is not at hand any more."""
    text = f"the database refuses it: {database.one_line(error)}"
    key = dump(row.key) or ""
    return rejection(row.table, key.encode(), row.values["received"], text, Acceptance(), row.values["device"])
