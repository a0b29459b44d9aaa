"""Opening an outbox database: pragmas, schema, version, and what SQLite's errors mean for us.

WAL with synchronous=FULL: a commit that returned survives a power cut. The WAL is checkpointed often and kept at its
size, so that it is there, already allocated, when the disk is full. No memory mapping: a bad SD card must give an error
and not a SIGBUS.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_agent.domain.errors import DeliveryError

SCHEMA_VERSION = 1
PLAUSIBLE_VERSION = 1000
PAGE_BYTES = 4096
WAL_BYTES = 1 << 20
"""Size the WAL is cut back to; counted against the cap."""

SCHEMA = """
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
"""


class StoreError(Exception):
    """The database did not do what it was asked; nothing of the failed transaction is kept."""


class StoreFullError(StoreError):
    """No room on the disk or under the cap."""


class StoreDamagedError(StoreError):
    """The file is not a sound database any more."""


class StoreFailedError(StoreError):
    """The file system refuses: read-only, input/output error, locked for too long."""


class NewerSchemaError(DeliveryError):
    """The outbox was written by a newer edge-agent."""


def connect(path: Path | None) -> sqlite3.Connection:
    """A configured connection to ``path`` (None: a database in memory), its schema present.

    Raises:
        NewerSchemaError: the file belongs to a newer version; it is left as it is.
        StoreError: it cannot be opened, or not trusted.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            str(path) if path else ":memory:", timeout=5.0, isolation_level=None, check_same_thread=False
        )
        _configure(connection, path)
        return connection
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise classify(error) from error
    except (StoreError, DeliveryError):
        if connection is not None:
            connection.close()
        raise


def _configure(connection: sqlite3.Connection, path: Path | None) -> None:
    version = _version(connection, path)
    if version == 0:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    if path:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreFailedError(f"write-ahead logging is not possible here (journal mode stays {mode})")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 100")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    connection.execute("PRAGMA mmap_size = 0")
    # A flipped bit in a text must cost that row and not raise from the middle of a query.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    connection.execute("PRAGMA temp_store = MEMORY")
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _version(connection: sqlite3.Connection, path: Path | None) -> int:
    """The schema's version, 0 for a new file. A damaged header must not pass for a new file or for a newer version."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return version
    if SCHEMA_VERSION < version <= PLAUSIBLE_VERSION:
        check(connection)
        raise NewerSchemaError(
            f"{path}: written by a newer edge-agent (schema {version}, this one knows {SCHEMA_VERSION}): "
            "install that version again, or move the file away"
        )
    if version != 0 or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreDamagedError(f"no outbox has schema version {version}")
    return 0


def check(connection: sqlite3.Connection) -> None:
    """Raises StoreDamagedError when the file's structure is not sound."""
    try:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise classify(error) from error
    if verdict != "ok":
        raise StoreDamagedError(str(verdict))


def classify(error: sqlite3.Error) -> StoreError:
    """Our kind of error for SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return StoreFullError(str(error))
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (
        # A database whose tables are not ours was replaced or emptied under us.
        primary == sqlite3.SQLITE_ERROR and ("no such table" in str(error) or "no such column" in str(error))
    ):
        return StoreDamagedError(str(error))
    return StoreFailedError(str(error))
