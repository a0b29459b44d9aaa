"""The durable outbox: a bounded, thread-safe queue of messages in SQLite that keeps working when the disk fails.

The policy around :class:`~edge_agent.delivery.outbox.store.Store`: leases, the byte cap (merge, then drop), space on a
full disk, salvage of a damaged file, and a bounded store in memory while the file system fails. A consumer leases rows
and acks, nacks or dead-letters each; a row is deleted when all consumers are done with it. Nothing waits for space:
:meth:`Outbox.put` always returns, at worst after dropping the oldest rows, which are counted.

To spare SD cards, rows of :meth:`Outbox.put_briefly` wait in memory for ``outbox.hold_s`` while the file is empty: what
is acknowledged by then, as nearly everything is while there is a connection, is never written.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from edge_agent.delivery.outbox import recovery
from edge_agent.delivery.outbox.database import SCHEMA, explain
from edge_agent.delivery.outbox.directory import BALLAST_BYTES, OutboxDirectory
from edge_agent.delivery.outbox.leases import Leases
from edge_agent.delivery.outbox.records import Counters, Draft, Origin, OutboxStats, Row
from edge_agent.delivery.outbox.store import Shrinker, Store
from edge_agent.domain.clock import Clock
from edge_agent.domain.database import WAL_BYTES, StoreDamagedError, StoreError, StoreFullError, connect
from edge_agent.domain.errors import DeliveryError
from edge_agent.domain.retry import BackOff
from edge_agent.settings.schema import OutboxSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

MEMORY_BYTES = 2 << 20
"""Byte cap of the store in memory while the file system fails: about a thousand rows."""

RETRY = BackOff(first=15.0, longest=600.0)
"""Pauses between attempts to use the file again."""

PUT_ROWS = 64
"""Most rows stored in one transaction."""

ROW_BYTES = 2048
"""Typical upper bound of a row's size: this much space is made before it is stored."""

COUNT_S = 300.0
"""Counters of messages that were never written are written after this long: a crash forgets no more than that."""

STEADY_S = 600.0
"""Rows expire only after the wall clock has kept pace with the monotonic clock for this long."""


class Outbox:
    """The outbox in one directory. ``consumers`` names the consumers, at least one, that must take every new row."""

    def __init__(
        self, directory: Path, origin: Origin, clock: Clock, settings: OutboxSettings, consumers: Sequence[str]
    ) -> None:
        if not consumers:
            raise ValueError("an outbox needs at least one consumer")
        self._directory = directory
        self._files = OutboxDirectory(directory, origin)
        self._origin = origin
        self._clock = clock
        self._max_age = settings.max_age_days * 86_400
        cap = int(settings.max_mb * 1e6)
        self._cap = max(cap - BALLAST_BYTES - WAL_BYTES, cap // 5)
        self._room = self._cap
        self._lock = threading.RLock()
        self._leases = Leases(consumers, self._run, lambda name, ids: self.dead_letter(name, ids, "damaged"))
        self._shrinker = Shrinker()
        self._current: Store | None = None
        self._degraded: str | None = None
        self._hold_s = settings.hold_s
        self._file: Store | None = None
        """The file's store while newer rows are held in memory, in the store in use; else None."""
        self._held_since = self._counted_at = 0.0
        self._base = OutboxStats(Counters(), 0, 0, 0)
        self._retry_at = 0.0
        self._attempts = 0
        self._ballast_at = 0.0
        self._offset = float("nan")
        self._steady_since = 0.0

    # -- lifecycle ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open or create the database; fall back to memory when the file system fails.

        Raises:
            AlreadyRunningError: another process uses the directory.
            NewerSchemaError: the file was written by a newer version.
        """
        with self._lock:
            try:
                self._use(self._files.open())
            except (OSError, StoreError) as error:
                self._degrade(error)
            except DeliveryError:
                self._files.unlock()
                raise

    def close(self) -> None:
        """Write everything to the file and unlock the directory; idempotent."""
        with self._lock:
            self._write_held()
            if self._degraded:
                self._recover()
            store, self._current = self._current, None
            if store is None:
                return
            if self._degraded:
                if store.pending:
                    log.error("outbox: %d messages in memory are lost: %s", store.pending, self._degraded)
                self._files.unlock()
            else:
                self._files.close(store)

    # -- producing ----------------------------------------------------------------------------------------------------

    def put(self, drafts: Sequence[Draft]) -> None:
        """Store ``drafts`` in order. When this returns they survive a power cut, unless the outbox is degraded."""
        with self._lock:
            self._write_held()
            self._put_all(drafts)

    def put_briefly(self, drafts: Sequence[Draft]) -> None:
        """Take ``drafts`` in order; :meth:`write_held` stores those that are not acknowledged within ``hold_s``.

        To be used while there is a connection. With older rows in the file it stores them at once, as :meth:`put`.
        """
        with self._lock:
            if self._file is None and not self._degraded and self._hold_s > 0 and self._store.pending == 0:
                self._hold()
            if self._store.pending == 0:
                self._held_since = self._clock.monotonic()
            self._put_all(drafts)

    def write_held(self) -> None:
        """Store what has waited for its acknowledgement for ``hold_s``; cheap, to be called several times a second."""
        with self._lock:
            if self._file is None:
                return
            now, counters = self._clock.monotonic(), self._store.counters
            late = self._store.pending > 0 and now - self._held_since >= self._hold_s
            if late or counters.dropped or counters.dead_lettered or now - self._counted_at >= COUNT_S:
                self._write_held()

    def _put_all(self, drafts: Sequence[Draft]) -> None:
        ended: dict[int, float] = {}
        for k in range(0, len(drafts), PUT_ROWS):
            part = drafts[k : k + PUT_ROWS]
            ended |= self._run(lambda store: self._put(store, part))  # noqa: B023
        self._leases.stored(ended, self._clock.monotonic())
        self._mark()

    def count_lost(self, count: int, reason: str) -> None:
        """Count ``count`` messages that were produced but never reached the outbox as dropped."""
        with self._lock:
            self._run(lambda store: store.count_lost(count, reason))

    # -- consuming ----------------------------------------------------------------------------------------------------

    def lease(self, name: str, limit: int, live_s: float = 0.0, skip: Collection[str] = ()) -> list[Row]:
        """Lease up to ``limit`` rows to consumer ``name``: live rows first, then backlog, each in order.

        Live rows are new ones whose window ended in the last ``live_s`` seconds. Backlog of the kinds in ``skip`` is
        left out.
        """
        with self._lock:
            return self._leases.lease(name, limit, self._clock.monotonic() - live_s, skip)

    def ack(self, name: str, ids: Collection[int]) -> None:
        """Acknowledge that consumer ``name`` delivered ``ids``."""
        if ids:
            self._finish(name, ids, lambda store, bit: store.settle(bit, ids))

    def dead_letter(self, name: str, ids: Collection[int], reason: str) -> None:
        """Turn ``ids``, which consumer ``name`` can never deliver, into dead letters with a ``reason``."""
        if ids:
            self._finish(name, ids, lambda store, bit: store.dead_letter(bit, name, ids, reason))

    def nack(self, name: str, ids: Collection[int]) -> None:
        """Give back the leases of ``ids``, which consumer ``name`` did not deliver and will lease again."""
        with self._lock:
            self._leases.nack(name, ids)

    def release(self, name: str) -> None:
        """Give back all leases of consumer ``name``, as after a lost connection."""
        with self._lock:
            self._leases.release(name)
            self._shrinker.restart()
            self._write_held()

    # -- maintenance --------------------------------------------------------------------------------------------------

    def maintain(self) -> None:
        """Do what is due: return to the file, ballast file, clock repair, expiry. Cheap; to be called each second."""
        with self._lock:
            now = self._clock.monotonic()
            if self._degraded and now >= self._retry_at:
                self._recover()
            if not self._degraded and now >= self._ballast_at:
                self._ballast_at = now + 60.0
                if self._files.ballast.restore():
                    self._room = self._cap
            if self._clock.synced():
                offset = self._clock.wall() - now
                self._run(lambda store: store.repair_clock(offset, 200))
                self._expire(now, offset)

    @property
    def is_open(self) -> bool:
        """Whether the outbox is open."""
        return self._current is not None

    @property
    def losses(self) -> tuple[int, int, int]:
        """Numbers of dropped and dead-lettered messages and of salvages, without asking the file."""
        with self._lock:
            counters = self._base.counters + self._store.counters
            return counters.dropped, counters.dead_lettered, self._base.salvages + self._store.tables.salvages

    def stats(self) -> OutboxStats:
        """Present counters and sizes. Raises DeliveryError when the outbox is not open."""
        with self._lock:
            size, oldest, gaps = self._run(lambda store: (store.used(), store.oldest(), store.gaps()))
            store, base = self._store, self._base
            return replace(
                base,
                counters=base.counters + store.counters,
                pending=base.pending + store.pending,
                size=base.size or size,
                limit=self._limit(),
                salvages=base.salvages + store.tables.salvages,
                ballast=self._files.ballast.present,
                degraded=self._degraded,
                oldest=oldest if base.oldest is None else base.oldest,
                gaps=base.gaps + gaps,
            )

    # -- the store in use ---------------------------------------------------------------------------------------------

    @property
    def _store(self) -> Store:
        if self._current is None:
            raise DeliveryError("the outbox is not open")
        return self._current

    def _run(self, operation: Callable[[Store], T]) -> T:
        """Run ``operation``; on an error free space, salvage the file or fall back to memory, and run it again."""
        try:
            return operation(self._store)
        except StoreFullError as error:
            if self._degraded:
                self._shrink(self._limit() * 0.7)
                return operation(self._store)
            return self._run_relieved(operation, error)
        except StoreDamagedError as error:
            self._salvage(error)
        except StoreError as error:
            self._degrade(error)
        return operation(self._store)

    def _run_relieved(self, operation: Callable[[Store], T], error: StoreError) -> T:
        try:
            self._files.ballast.release()
            self._room = min(self._room, self._store.used())
            log.warning("outbox: no space (%s): merging windows, then dropping the oldest", error)
            self._shrink(self._room * 0.9)
            return operation(self._store)
        except StoreError as again:
            self._degrade(again)
            return operation(self._store)

    def _use(self, store: Store) -> None:
        self._leases.restart(store.consumers(self._leases.names))
        self._shrinker.restart()
        self._current = store
        store.limit(self._limit())

    def _hold(self) -> None:
        """Take new rows into memory; the file is empty but for its counters."""
        self._file = file = self._store
        self._counted_at = self._clock.monotonic()
        self._base = OutboxStats(file.counters, 0, file.used(), 0, file.tables.salvages, gaps=file.gaps())
        self._use(self._memory_after(file))

    def _write_held(self) -> None:
        """Move the rows and counters that are held in memory to the file; leases stay valid."""
        if self._file is None:
            return
        memory, self._current, self._file = self._store, self._file, None
        self._base = OutboxStats(Counters(), 0, 0, 0)
        with self._leases.kept():
            self._run(lambda store: recovery.adopt(store, memory))
            self._use(self._store)
        memory.close()
        self._mark()

    def _memory_after(self, durable: Store | None) -> Store:
        """A store in memory that continues the ids and numbers of ``durable``."""
        next_id, next_seq, boot_id = 1, 1, self._origin.boot_id
        if durable is not None:
            next_id, next_seq = durable.next_id, durable.next_seq(boot_id)
        memory = Store(connect(None, SCHEMA), self._origin, next_id)
        recovery.catch_up(memory, boot_id, next_seq, Counters(), "")
        return memory

    def _degrade(self, error: Exception) -> None:
        """Fall back to memory; the rows in the file stay there until it works again."""
        durable, self._current = self._current, None
        memory = self._memory_after(durable)
        if durable is not None:
            self._base = OutboxStats(durable.counters, durable.pending, 0, 0, durable.tables.salvages)
            try:
                durable.close()
            except StoreError as again:
                log.debug("outbox: closing: %s", again)
        self._degraded = explain(error, self._directory)
        self._retry_at = self._clock.monotonic() + RETRY.delay(self._attempts)
        log.error("outbox: cannot use the disk (%s): keeping the newest messages in memory only", self._degraded)
        self._use(memory)

    def _recover(self) -> None:
        try:
            store = self._files.open()
        except (OSError, StoreError, DeliveryError) as error:
            self._attempts = max(self._attempts, 1) + 1
            self._retry_at = self._clock.monotonic() + RETRY.delay(self._attempts)
            log.warning("outbox: still in memory: %s", error)
            return
        memory = self._store
        try:
            store.consumers(self._leases.names)
            recovery.adopt(store, memory)
        except StoreError as error:
            self._retry_at = self._clock.monotonic() + RETRY.delay(self._attempts)
            log.warning("outbox: still in memory: %s", error)
            return
        self._degraded, self._attempts = None, 0
        self._base = OutboxStats(Counters(), 0, 0, 0)
        with self._leases.kept():
            self._use(store)
        memory.close()
        self._files.mark(store)
        log.warning("outbox: the disk works again; messages moved from memory to the file")

    def _salvage(self, error: StoreError) -> None:
        try:
            self._use(self._files.salvage(self._store, str(error)))
        except (OSError, StoreError) as again:
            self._degrade(again)

    def _put(self, store: Store, drafts: Sequence[Draft]) -> dict[int, float]:
        room = MEMORY_BYTES if self._degraded else self._room
        if store.used() + len(drafts) * ROW_BYTES > room:
            self._shrink(room * 0.97 - len(drafts) * ROW_BYTES)
        return store.put(drafts, self._leases.all_bits)

    def _finish(self, name: str, ids: Collection[int], settle: Callable[[Store, int], None]) -> None:
        with self._lock:
            self._run(lambda store: settle(store, self._leases.bit(name)))
            self._leases.done(name, ids)
            self._mark()

    def _mark(self) -> None:
        if not self._degraded and self._file is None:
            self._files.mark(self._store)

    # -- space and age ------------------------------------------------------------------------------------------------

    def _limit(self) -> int:
        return MEMORY_BYTES if self._degraded else self._cap

    def _shrink(self, target: float) -> None:
        self._shrinker.shrink(self._store, target, self._leases.leased())

    def _expire(self, now: float, offset: float) -> None:
        """Drop expired rows once the clock has been steady, so that a clock jump never empties the outbox."""
        if not abs(offset - self._offset) < 60.0:
            self._offset, self._steady_since = offset, now
        if now - self._steady_since >= STEADY_S:
            self._run(lambda store: store.expire(now + offset - self._max_age, self._leases.leased()))
