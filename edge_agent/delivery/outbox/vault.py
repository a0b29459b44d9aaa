"""The outbox's directory: opens the database in it whatever state it was left in, and keeps the files beside it right.

Lock, ballast, mark and quarantine live here; what to do when even this fails is the caller's decision.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path

from edge_agent.delivery.outbox import recovery, salvage
from edge_agent.delivery.outbox.database import StoreDamagedError, StoreError, check, connect
from edge_agent.delivery.outbox.files import Ballast, Lock, Mark, MarkValue
from edge_agent.delivery.outbox.records import Origin
from edge_agent.delivery.outbox.store import Store

log = logging.getLogger(__name__)

FILE = "outbox.db"


class Vault:
    """One directory with one outbox in it."""

    def __init__(self, directory: Path, origin: Origin) -> None:
        self._directory = directory
        self._path = directory / FILE
        self._origin = origin
        self._lock = Lock(directory / "lock")
        self._mark = Mark(directory / "mark")
        self.ballast = Ballast(directory / "ballast")

    def lock(self) -> None:
        """Take the directory. Raises AlreadyRunningError, or OSError when it cannot be written."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock.acquire()

    def unlock(self) -> None:
        """Leave the directory to others."""
        self._mark.close()
        self._lock.release()

    def open(self) -> Store:
        """The store in the file, salvaged if need be, with losses since the last mark accounted for.

        Raises:
            NewerSchemaError: the file belongs to a newer version.
            StoreError, OSError: the file system does not let us, also not after giving up the ballast.
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
            log.warning("outbox: gave up the ballast to open the database")
            store = self._open()
        if mark is not None:
            reason = "write-ahead log lost" if wal_vanished else "not in the file any more"
            recovery.catch_up(store, mark.boot_id, mark.next_seq, mark.counters, reason)
        self.mark(store)
        return store

    def salvage(self, broken: Store, reason: str) -> Store:
        """A new store with what can be read from the file that ``broken`` has open. Raises as :meth:`open`."""
        counters, boot_id = broken.counters, self._origin.boot_id
        next_seq = broken.next_seq(boot_id)
        self._close_quietly(broken)
        store = self._salvage(reason)
        recovery.catch_up(store, boot_id, next_seq, counters, "damaged")
        self.mark(store)
        return store

    def mark(self, store: Store, *, still_open: bool = True) -> None:
        """Note the newest numbers beside the database."""
        boot_id = self._origin.boot_id
        self._mark.write(MarkValue(boot_id, store.next_seq(boot_id), store.counters, still_open))

    def close(self, store: Store) -> None:
        """Close the database in order and leave the directory."""
        try:
            store.close()
            self.mark(store, still_open=False)
        except StoreError as error:
            log.warning("outbox: closing: %s", error)
        finally:
            self.unlock()

    def _open(self) -> Store:
        connection = connect(self._path)
        try:
            check(connection)
            return Store(connection, self._origin)
        except StoreError:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
            raise

    def _salvage(self, reason: str) -> Store:
        aside = salvage.quarantine(self._path)
        log.error("outbox: damaged (%s): kept as %s, reading what is left of it", reason, aside.name)
        found = salvage.read(aside)
        store = Store(connect(self._path), self._origin)
        recovery.restore(store, found, self._origin.boot_id)
        log.warning("outbox: salvaged %d messages", len(found.rows))
        return store

    def _close_quietly(self, store: Store) -> None:
        try:
            store.close()
        except StoreError as error:
            log.debug("outbox: closing the damaged database: %s", error)
