"""The outbox directory: open the database after any crash, with lock, ballast and mark files; inspect it for the CLI.

The lock keeps a second agent out. The ballast file is space to give back when the disk is full, because SQLite needs
some even to delete. The mark repeats the newest numbers after every commit, without syncing, which costs no wear: after
a crash it tells how much was in a lost write-ahead log.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from edge_agent.delivery.outbox import recovery
from edge_agent.delivery.outbox.database import SCHEMA
from edge_agent.delivery.outbox.records import Counters, Origin
from edge_agent.delivery.outbox.store import Store
from edge_agent.domain.database import (
    SQLITE_ERRORS,
    NewerSchemaError,
    StoreDamagedError,
    StoreError,
    check,
    connect,
)
from edge_agent.domain.errors import AlreadyRunningError, DeliveryError
from edge_agent.domain.summary import Summary

BALLAST_BYTES = 1 << 20
MARK_BYTES = 320


class DirectoryLock:
    """Exclusive lock on the outbox directory; the kernel releases it when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises AlreadyRunningError: another process has it; OSError: the directory is not writable."""
        if self._fd is not None:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise AlreadyRunningError(
                f"another edge-agent uses {self._path.parent}: stop it, or give this one its own device.state_dir"
            ) from None
        self._fd = fd

    def release(self) -> None:
        """Release the lock; idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class BallastFile:
    """A file of allocated blocks, deleted when the disk is full and created again when there is enough space."""

    def __init__(self, path: Path, size: int = BALLAST_BYTES) -> None:
        self._path = path
        self._size = size

    @property
    def present(self) -> bool:
        """Whether the file exists in full size."""
        try:
            return self._path.stat().st_size >= self._size
        except OSError:
            return False

    def release(self) -> bool:
        """Delete the file; whether that freed its space."""
        present = self.present
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        return present

    def restore(self) -> bool:
        """Create the file if the disk has twice the space for it; whether it exists now."""
        if self.present:
            return True
        try:
            if shutil.disk_usage(self._path.parent).free < 2 * self._size:
                return False
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._size)
            finally:
                os.close(fd)
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            return False
        return True


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest numbers; ``next_seq`` is of ``boot_id``. ``open``: the outbox was not closed properly since."""

    boot_id: str
    next_seq: int
    counters: Counters
    open: bool


class MarkFile:
    """The mark as one JSON line of fixed size. Never raises: the outbox works without it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def read(self) -> Mark | None:
        """The mark of the previous run; None when it is missing or damaged."""
        try:
            value = json.loads(self._path.read_bytes())
            counters = Counters(**{name: int(count) for name, count in value["counters"].items()})
            return Mark(str(value["boot_id"]), int(value["next_seq"]), counters, bool(value["open"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, value: Mark) -> None:
        """Replace the mark."""
        text = json.dumps(asdict(value), separators=(",", ":")).ljust(MARK_BYTES).encode()
        with contextlib.suppress(OSError):
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._fd, text, 0)

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


log = logging.getLogger(__name__)

FILE = "outbox.db"


class OutboxDirectory:
    """The files of one outbox."""

    def __init__(self, directory: Path, origin: Origin) -> None:
        self._directory = directory
        self._path = directory / FILE
        self._origin = origin
        self._lock = DirectoryLock(directory / "lock")
        self._mark = MarkFile(directory / "mark")
        self.ballast = BallastFile(directory / "ballast")

    def lock(self) -> None:
        """Create and lock the directory. Raises AlreadyRunningError; OSError: it is not writable."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock.acquire()

    def unlock(self) -> None:
        """Unlock the directory."""
        self._mark.close()
        self._lock.release()

    def open(self) -> Store:
        """Open the store, salvage it if it is damaged, and count losses since the last mark.

        Raises:
            NewerSchemaError: the file belongs to a newer version.
            StoreError, OSError: the file system fails, even after the ballast file was deleted.
        """
        self.lock()
        mark = self._mark.read()
        wal_vanished = (
            mark is not None and mark.open and self._path.exists() and not self._path.with_name(f"{FILE}-wal").exists()
        )
        try:
            store = self._open()
        except StoreDamagedError as error:
            store = self._salvage(str(error))
        except StoreError:
            if not self.ballast.release():
                raise
            log.warning("outbox: deleted the ballast file to open the database")
            store = self._open()
        if mark is not None:
            reason = "write-ahead log lost" if wal_vanished else "not in the file any more"
            recovery.catch_up(store, mark.boot_id, mark.next_seq, mark.counters, reason)
        self.mark(store)
        return store

    def salvage(self, broken: Store, reason: str) -> Store:
        """Move the damaged database of ``broken`` to quarantine and salvage it; raises as :meth:`open`."""
        counters, boot_id = broken.counters, self._origin.boot_id
        next_seq = broken.next_seq(boot_id)
        self._close_quietly(broken)
        store = self._salvage(reason)
        recovery.catch_up(store, boot_id, next_seq, counters, "damaged")
        self.mark(store)
        return store

    def mark(self, store: Store, *, still_open: bool = True) -> None:
        """Write the newest numbers to the mark."""
        boot_id = self._origin.boot_id
        self._mark.write(Mark(boot_id, store.next_seq(boot_id), store.counters, still_open))

    def close(self, store: Store) -> None:
        """Close the database properly and unlock the directory."""
        try:
            store.close()
            self.mark(store, still_open=False)
        except StoreError as error:
            log.warning("outbox: closing: %s", error)
        finally:
            self.unlock()

    def _open(self) -> Store:
        connection = connect(self._path, SCHEMA)
        try:
            check(connection)
            return Store(connection, self._origin)
        except StoreError:
            with contextlib.suppress(*SQLITE_ERRORS):
                connection.close()
            raise

    def _salvage(self, reason: str) -> Store:
        aside = recovery.quarantine(self._path)
        log.error("outbox: damaged (%s): moved to %s, salvaging its messages", reason, aside.name)
        found = recovery.read(aside)
        store = Store(connect(self._path, SCHEMA), self._origin)
        recovery.restore(store, found, self._origin.boot_id)
        log.warning("outbox: salvaged %d messages", len(found.rows))
        return store

    def _close_quietly(self, store: Store) -> None:
        try:
            store.close()
        except StoreError as error:
            log.debug("outbox: closing the damaged database: %s", error)


T = TypeVar("T")


def figures(directory: Path) -> dict[str, Any]:
    """Counters, pending rows, gaps and number of dead letters; works beside a running agent. Raises DeliveryError."""
    return _read(directory, _figures)


def export(directory: Path, *, dead: bool = False) -> Iterator[dict[str, Any]]:
    """Stored rows or dead letters, oldest first, as ``{"kind", "topic", "payload"}``. Raises DeliveryError.

    Dead letters also have ``consumer`` and ``reason``. Works beside a running agent.
    """
    columns = "kind, topic, payload, consumer, reason" if dead else "kind, topic, payload, NULL, NULL"
    table = "dead" if dead else "items"
    with closing(_connect(directory)) as db:
        try:
            for kind, topic, payload, consumer, reason in db.execute(f"SELECT {columns} FROM {table} ORDER BY id"):
                record = {"kind": kind, "topic": topic, "payload": _parsed(payload)}
                yield record | ({"consumer": consumer, "reason": reason} if dead else {})
        except SQLITE_ERRORS as error:
            raise DeliveryError(f"{directory / FILE}: cannot be read to its end: {error}") from error


def purge(directory: Path, *, dead_only: bool = False) -> tuple[int, int]:
    """Delete dead letters and, unless ``dead_only``, all pending rows, counted as dropped; the number of each.

    Raises:
        AlreadyRunningError: an agent uses the outbox.
        DeliveryError: there is no outbox, or it cannot be written.
    """
    if not (directory / FILE).exists():
        raise DeliveryError(f"{directory / FILE}: no outbox here")
    vault = OutboxDirectory(directory, Origin("purge", "purge", _no_merge))
    try:
        store = vault.open()
    except (OSError, *SQLITE_ERRORS) as error:
        raise DeliveryError(f"{directory / FILE}: cannot be changed: {error}") from error
    try:
        return store.purge(dead_only=dead_only)
    finally:
        vault.close(store)


def _parsed(payload: Any) -> Any:
    try:
        return json.loads(payload)
    except ValueError:  # damaged: show it as text
        return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else str(payload)


def _no_merge(_first: Summary, _second: Summary) -> Summary:
    raise DeliveryError("purge never merges")


def _figures(db: sqlite3.Connection) -> dict[str, Any]:
    names = ("produced", "acked", "merged_away", "dropped", "dead_lettered", "salvages")
    counters = db.execute(f"SELECT {', '.join(names)} FROM counters").fetchone()
    pending = db.execute(
        "SELECT count(*), coalesce(sum(kind = 'summary'), 0), coalesce(sum(kind = 'event'), 0),"
        " coalesce(sum(merged), 0), min(start), max(start + seconds) FROM items"
    ).fetchone()
    gaps = db.execute("SELECT boot_id, first_seq, last_seq, start, end, count, reason FROM gaps ORDER BY id").fetchall()
    pages, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    page = db.execute("PRAGMA page_size").fetchone()[0]
    return {
        **dict(zip(names, counters, strict=True)),
        **dict(zip(("pending", "summaries", "events", "windows", "oldest", "newest"), pending, strict=True)),
        "bytes": (pages - free) * page,
        "dead_letters": db.execute("SELECT count(*) FROM dead").fetchone()[0],
        "gaps": [
            dict(zip(("boot_id", "first_seq", "last_seq", "start", "end", "count", "reason"), gap, strict=True))
            for gap in gaps
        ],
    }


def _connect(directory: Path) -> sqlite3.Connection:
    path = directory / FILE
    if not path.exists():
        raise DeliveryError(f"{path}: no outbox here; give the state directory with --config or device.state_dir")
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5.0, isolation_level=None)
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except SQLITE_ERRORS as error:
        raise DeliveryError(f"{path}: cannot be read: {error}") from error
    if version > SCHEMA.version:
        db.close()
        raise NewerSchemaError(f"{path}: written by a newer edge-agent (schema {version})")
    return db


def _read(directory: Path, query: Callable[[sqlite3.Connection], T]) -> T:
    with closing(_connect(directory)) as db:
        try:
            return query(db)
        except SQLITE_ERRORS as error:
            raise DeliveryError(f"{directory / FILE}: cannot be read: {error}") from error
