"""Durable SQLite databases, of the outbox and of the batch queue: connection, schema version, classification of errors.

WAL with synchronous=FULL: a commit that returned survives a power cut. The write-ahead log is checkpointed often and
keeps its size, so that it is already allocated when the disk is full. No memory mapping: a bad SD card must give an
error and not a SIGBUS.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from edge_agent.domain.errors import DeliveryError

PLAUSIBLE_VERSION = 1000
PAGE_BYTES = 4096
WAL_BYTES = 1 << 20
"""Size to which the write-ahead log is cut back."""


class StoreError(Exception):
    """An operation on the database failed; its transaction was rolled back."""


class StoreFullError(StoreError):
    """No room on the disk or under the cap."""


class StoreDamagedError(StoreError):
    """The database is damaged."""


class StoreFailedError(StoreError):
    """The file system fails: read-only, input/output error, locked for too long."""


SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises: the message about a damaged schema quotes it, and may be no text at all."""


class NewerSchemaError(DeliveryError):
    """The database was written by a newer edge-agent."""


@dataclass(frozen=True, slots=True)
class Schema:
    """``tables``: the statements that create them; ``what``: the database's name in errors."""

    what: str
    version: int
    tables: str


def connect(path: Path | None, schema: Schema) -> sqlite3.Connection:
    """Open a connection to ``path`` (None: a database in memory) and create its schema if needed.

    Raises:
        NewerSchemaError: the file belongs to a newer version; it is left as it is.
        StoreError: it cannot be opened, or it is damaged.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            str(path) if path else ":memory:", timeout=5.0, isolation_level=None, check_same_thread=False
        )
        _configure(connection, path, schema)
        return connection
    except SQLITE_ERRORS as error:
        if connection is not None:
            connection.close()
        raise classify(error) from error
    except (StoreError, DeliveryError):
        if connection is not None:
            connection.close()
        raise


def _configure(connection: sqlite3.Connection, path: Path | None, schema: Schema) -> None:
    version = _version(connection, path, schema)
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
        connection.executescript(f"BEGIN IMMEDIATE; {schema.tables} PRAGMA user_version = {schema.version}; COMMIT;")


def _version(connection: sqlite3.Connection, path: Path | None, schema: Schema) -> int:
    """The schema version, 0 for a new file. A damaged header must not pass for a new file or a newer version."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == schema.version:
        return version
    if schema.version < version <= PLAUSIBLE_VERSION:
        check(connection)
        raise NewerSchemaError(
            f"{path}: written by a newer edge-agent (schema {version}, this one knows {schema.version}): "
            "install that version again, or move the file away"
        )
    if version != 0 or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreDamagedError(f"no {schema.what} has schema version {version}")
    return 0


def check(connection: sqlite3.Connection) -> None:
    """Check the structure of the database. Raises StoreDamagedError."""
    try:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except SQLITE_ERRORS as error:
        raise classify(error) from error
    if verdict != "ok":
        raise StoreDamagedError(str(verdict))


def classify(error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
    """Map an error of :data:`SQLITE_ERRORS` to a StoreError."""
    if isinstance(error, UnicodeDecodeError):
        return StoreDamagedError("the schema is damaged")
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return StoreFullError(str(error))
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (
        # The file was replaced or emptied while it was open.
        primary == sqlite3.SQLITE_ERROR and ("no such table" in str(error) or "no such column" in str(error))
    ):
        return StoreDamagedError(str(error))
    return StoreFailedError(str(error))
