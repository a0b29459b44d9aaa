"""PostgreSQL: connect, migrate the schema, make and drop partitions, and say what is wrong in one line.

The only module that imports psycopg. A migration that was released is never changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, Literal, cast

import psycopg

from edge_agent.collect.settings import DatabaseSettings, PartitionUnit
from edge_agent.domain.errors import ConfigError, DeliveryError

log = logging.getLogger(__name__)

SCHEMA = "edge_agent"
LOCK = 0xED6EC011
"""Key of the advisory lock of migrations and partitions."""

LEADER = LOCK + 1
"""Key of the lock of the collector that reads the state of devices and applies the retention."""

PARTITIONED = ("windows", "events", "health")
CONNECT_S = 10
PATIENCE_S = 5
"""Seconds that the drop of a partition waits for queries, while inserts wait for it."""

MINIMUM = 14

Connection = psycopg.Connection[tuple[Any, ...]]
Error = psycopg.Error
BadData = (psycopg.DataError, psycopg.IntegrityError)
NoPartition = psycopg.errors.CheckViolation
InUse = psycopg.errors.LockNotAvailable


@dataclass(frozen=True, slots=True)
class Migration:
    """A step of the schema; ``number`` counts from 1."""

    number: int
    name: str
    text: str


def migrations() -> list[Migration]:
    """All steps, in order."""
    folder = files(__package__) / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(int(name[:4]), name[5:-4], (folder / name).read_text(encoding="utf-8")) for name in names]


def connect(settings: DatabaseSettings, name: str = "edge-agent-collect") -> Connection:
    """Open a connection on the collector's schema, in UTC, whose commits are durable.

    Raises:
        ConfigError: the address cannot be used.
        psycopg.Error: the database cannot be reached, or refuses.
    """
    try:
        connection = psycopg.connect(
            settings.url,
            password=settings.password_text(),
            connect_timeout=CONNECT_S,
            application_name=name,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            tcp_user_timeout=60_000,
            autocommit=True,
        )
    except psycopg.ProgrammingError as error:
        raise ConfigError(f"database.url cannot be used: {one_line(error)}") from None
    if connection.info.server_version < MINIMUM * 10_000:
        version = connection.info.server_version // 10_000
        connection.close()
        raise ConfigError(f"PostgreSQL {version} is too old: {MINIMUM} or newer is needed")
    connection.execute(f"SET search_path = {SCHEMA}, public")
    connection.execute("SET timezone = 'UTC'")
    # A message is acknowledged after the commit, so the commit must not be lost when the server crashes.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    return connection


def one_line(error: BaseException) -> str:
    """Say in one line what the database has to say."""
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return " ".join(first.split())


# -- schema ------------------------------------------------------------------------------------------------------------


def applied(connection: Connection) -> int:
    """Number of the last migration that the database has; 0: none."""
    row = connection.execute("SELECT to_regclass(%s)::text", (f"{SCHEMA}.migrations",)).fetchone()
    if row is None or row[0] is None:
        return 0
    latest = connection.execute(f"SELECT coalesce(max(number), 0) FROM {SCHEMA}.migrations").fetchone()
    return int(latest[0]) if latest else 0


def check_schema(connection: Connection, unit: PartitionUnit) -> None:
    """Refuse a database that this version cannot use.

    Raises:
        ConfigError: the schema is missing, older or newer, or has other partitions.
    """
    known, found = len(migrations()), applied(connection)
    if found > known:
        raise ConfigError(
            f"the database has schema {found} and this edge-agent-collect knows {known}: install the newer version"
        )
    if found < known:
        what = f"has schema {found}, {known} is needed" if found else f"has no schema {SCHEMA}"
        raise ConfigError(f"the database {what}: run 'edge-agent-collect migrate'")
    _check_unit(connection, unit)


def _check_unit(connection: Connection, unit: PartitionUnit) -> None:
    row = connection.execute("SELECT value FROM parameters WHERE name = 'partition'").fetchone()
    if row is not None and row[0] != unit:
        raise ConfigError(f'the tables are divided by {row[0]}: set database.partition = "{row[0]}"')


def migrate(connection: Connection, unit: PartitionUnit) -> list[Migration]:
    """Apply what is missing, all or nothing; the steps applied. Others that migrate at the same time wait.

    Raises:
        ConfigError: the database is newer than this version, or has other partitions.
        psycopg.Error: a step fails, as for want of rights.
    """
    known = migrations()
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        found = applied(connection)
        if found > len(known):
            check_schema(connection, unit)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (number integer PRIMARY KEY, name text NOT NULL,"
            " applied timestamptz NOT NULL DEFAULT now())"
        )
        hypertables = has_timescale(connection)
        for step in known[found:]:
            text = step.text.replace("{partitioned}", "" if hypertables else "PARTITION BY RANGE (at)")
            connection.execute(cast(Any, text))
            connection.execute("INSERT INTO migrations (number, name) VALUES (%s, %s)", (step.number, step.name))
        if not found:
            chosen = "timescale" if hypertables else "native"
            connection.execute(
                "INSERT INTO parameters (name, value) VALUES ('partition', %s), ('engine', %s)", (unit, chosen)
            )
            if hypertables:
                _make_hypertables(connection, unit)
        _check_unit(connection, unit)
    return known[found:]


def has_timescale(connection: Connection) -> bool:
    """Whether TimescaleDB is set up in this database (``CREATE EXTENSION timescaledb``)."""
    return connection.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'").fetchone() is not None


def _make_hypertables(connection: Connection, unit: PartitionUnit) -> None:
    for table in PARTITIONED:
        connection.execute(
            "SELECT create_hypertable(%s::regclass, 'at', chunk_time_interval => %s::interval)",
            (f"{SCHEMA}.{table}", f"1 {unit}"),
        )


def write_timezones(connection: Connection, timezones: Iterable[tuple[str, str]]) -> None:
    """Make the sites' time zones those of the configuration; all others begin their days in UTC."""
    with connection.transaction():
        wanted = sorted(timezones)
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        connection.execute("DELETE FROM sites WHERE NOT site = ANY (%s)", ([site for site, _zone in wanted],))
        for site, zone in wanted:
            connection.execute(
                "INSERT INTO sites (site, timezone) VALUES (%s, %s) ON CONFLICT (site) DO UPDATE"
                " SET timezone = excluded.timezone WHERE sites.timezone <> excluded.timezone",
                (site, zone),
            )


# -- partitions and retention -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """The time of a partition, ``begin`` included and ``end`` not."""

    begin: datetime
    end: datetime

    def name(self, table: str) -> str:
        """Name of the partition of ``table``."""
        return f"{table}_{self.begin:%Y%m%d}"


def span_of(moment: datetime, unit: PartitionUnit) -> Span:
    """The partition that ``moment`` belongs to, in UTC."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "day":
        return Span(day, day + timedelta(days=1))
    first = day.replace(day=1)
    return Span(first, (first + timedelta(days=32)).replace(day=1))


class Partitions:
    """Makes partitions before rows need them, and drops those that are too old.

    With TimescaleDB, which makes its own, it only drops. Remembers which exist: :meth:`forget` after somebody else
    may have dropped one.
    """

    def __init__(self, unit: PartitionUnit) -> None:
        self._unit = unit
        self._known: set[Span] = set()

    def forget(self) -> None:
        """Look again which partitions exist."""
        self._known.clear()

    def ensure(self, connection: Connection, moments: Iterable[datetime]) -> None:
        """Make the partitions that rows of ``moments`` need."""
        missing = sorted({span_of(m, self._unit) for m in moments} - self._known, key=lambda span: span.begin)
        if not missing:
            return
        with connection.transaction():
            if self._engine(connection) == "native":
                # Two collectors that make the same one would fail on each other.
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                for span in missing:
                    self._make(connection, span)
        self._known.update(missing)

    def ahead(self, connection: Connection) -> None:
        """Make the partitions of the next days, so that no batch has to."""
        now = datetime.now(UTC)
        self.ensure(connection, (now, now + timedelta(days=1), now + timedelta(days=2)))

    def prune(self, connection: Connection, before: datetime) -> int:
        """Delete all rows and keys of a time before ``before``; the number of partitions dropped.

        Raises:
            psycopg.errors.LockNotAvailable: a query reads the tables for longer than collectors should wait for it.
        """
        self.forget()
        connection.execute(f"SET lock_timeout = '{PATIENCE_S}s'")
        try:
            return self._prune(connection, before)
        finally:
            if not connection.closed:
                connection.execute("RESET lock_timeout")

    def _prune(self, connection: Connection, before: datetime) -> int:
        tables = [PARTITIONED[0], PARTITIONED[1], PARTITIONED[2]]
        if self._engine(connection) == "timescale":
            chunks = [
                connection.execute("SELECT drop_chunks(%s::regclass, %s)", (f"{SCHEMA}.{t}", before)).fetchall()
                for t in tables
            ]
            dropped = sum(map(len, chunks))
        else:
            dropped = 0
            for table in tables:
                for name, end in self._partitions(connection, table):
                    if end <= before:
                        connection.execute(cast(Any, f'DROP TABLE IF EXISTS {SCHEMA}."{name}"'))
                        dropped += 1
        # The rest of the oldest partition: the retention is kept to the hour, not to the month.
        for table in (*tables, "keys"):
            connection.execute(cast(Any, f"DELETE FROM {table} WHERE at < %s"), (before,))
        return dropped

    @staticmethod
    def _make(connection: Connection, span: Span) -> None:
        """Attach new tables: to create them as partitions would wait for queries that run, and block all others."""
        for table in PARTITIONED:
            name, bounds = span.name(table), f"FROM ('{span.begin.isoformat()}') TO ('{span.end.isoformat()}')"
            if connection.execute("SELECT to_regclass(%s)::text", (name,)).fetchone() == (None,):
                connection.execute(cast(Any, f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)"))
                connection.execute(cast(Any, f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {bounds}"))

    def _partitions(self, connection: Connection, table: str) -> list[tuple[str, datetime]]:
        rows = connection.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = %s::regclass ORDER BY 1",
            (f"{SCHEMA}.{table}",),
        ).fetchall()
        found = []
        for (name,) in rows:
            begin = datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC)
            found.append((name, span_of(begin, self._unit).end))
        return found

    @staticmethod
    def _engine(connection: Connection) -> Literal["native", "timescale"]:
        row = connection.execute("SELECT value FROM parameters WHERE name = 'engine'").fetchone()
        return "timescale" if row is not None and row[0] == "timescale" else "native"


def is_leader(connection: Connection) -> bool:
    """Become the leader unless another collector is; ends with the connection."""
    held = connection.execute(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        " AND (classid::bigint << 32) + objid::bigint = %s AND granted",
        (LEADER,),
    ).fetchone()
    if held is not None:
        return True
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LEADER,)).fetchone()
    return bool(row and row[0])


def describe(connection: Connection) -> str:
    """Say in one line what this database is and holds."""
    version = connection.info.parameter_status("server_version")
    rows = connection.execute(
        "SELECT (SELECT value FROM parameters WHERE name = 'engine'), (SELECT count(*) FROM devices),"
        " (SELECT count(*) FROM rejected), pg_size_pretty(sum(pg_total_relation_size(c.oid)))"
        " FROM pg_class c WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r'",
        (SCHEMA,),
    ).fetchone()
    engine, devices, rejected, size = rows or ("", 0, 0, "")
    return (
        f"PostgreSQL {version}, schema {applied(connection)}, {engine} partitions, {devices} devices, "
        f"{rejected} rejected messages, {size}"
    )


def forget(connection: Connection, device: str) -> int:
    """Delete everything of ``device``; the number of rows, without the keys."""
    with connection.transaction():
        counts = [
            connection.execute(cast(Any, f"DELETE FROM {table} WHERE device = %s"), (device,)).rowcount
            for table in ("keys", *PARTITIONED, "devices", "rejected")
        ]
    return sum(counts[1:])


def storage_failure(error: Error) -> DeliveryError:
    """What the command line says of ``error``."""
    return DeliveryError(f"database: {one_line(error)}")
