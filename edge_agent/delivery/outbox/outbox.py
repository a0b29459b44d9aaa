"""The durable outbox: a bounded, thread-safe queue of messages in SQLite that keeps working when the disk fails.

The policy around :class:`~edge_agent.delivery.outbox.store.Store`: leases, the byte cap (merge, then drop), space on a
full disk, salvage of a damaged file, and a bounded store in memory while the file system fails. A consumer leases rows
and acks, nacks or dead-letters each; a row is deleted when all consumers are done with it. Nothing waits for space:
:meth:`Outbox.put` always returns, at worst after dropping the oldest rows, which are counted.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from edge_agent.delivery.outbox import recovery
from edge_agent.delivery.outbox.database import SCHEMA, explain
from edge_agent.delivery.outbox.directory import BALLAST_BYTES, OutboxDirectory
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

STEADY_S = 600.0
"""Rows expire only after the wall clock has kept pace with the monotonic clock for this long."""


@dataclass(slots=True)
class _Consumer:
    """Read positions and leases of one consumer.

    Every row that waits for it with an id up to ``at[skip]`` is in ``leased`` or of a kind in ``skip``, so that no row
    is read twice in the search for more. ``fresh``: ids of new rows that it has not leased yet.
    """

    bit: int = 0
    at: dict[frozenset[str], int] = field(default_factory=dict)
    leased: set[int] = field(default_factory=set)
    fresh: deque[int] = field(default_factory=lambda: deque(maxlen=512))


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
        self._consumers = {name: _Consumer() for name in consumers}
        self._ended: dict[int, float] = {}
        self._shrinker = Shrinker()
        self._current: Store | None = None
        self._degraded: str | None = None
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
            ended: dict[int, float] = {}
            for k in range(0, len(drafts), PUT_ROWS):
                part = drafts[k : k + PUT_ROWS]
                ended |= self._run(lambda store: self._put(store, part))  # noqa: B023
            now = self._clock.monotonic()
            for id_, end in ended.items():
                self._ended[id_] = min(end, now)
                for consumer in self._consumers.values():
                    consumer.fresh.append(id_)
            while len(self._ended) > 1024:
                del self._ended[next(iter(self._ended))]
            if not self._degraded:
                self._files.mark(self._store)

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
            consumer = self._consumers[name]
            horizon = self._clock.monotonic() - live_s
            rows = self._lease_fresh(name, consumer, limit, horizon)
            rows += self._lease_backlog(name, consumer, limit - len(rows), horizon, skip)
            return sorted(rows, key=lambda row: (not row.live, row.id))

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
            consumer = self._consumers[name]
            consumer.leased.difference_update(ids)
            before = min((id_ - 1 for id_ in ids), default=1 << 62)
            consumer.at = {skip: min(at, before) for skip, at in consumer.at.items()}

    def release(self, name: str) -> None:
        """Give back all leases of consumer ``name``, as after a lost connection."""
        with self._lock:
            consumer = self._consumers[name]
            consumer.leased.clear()
            consumer.at.clear()
            self._shrinker.restart()

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

    def stats(self) -> OutboxStats:
        """Present counters and sizes. Raises DeliveryError when the outbox is not open."""
        with self._lock:
            size, oldest, gaps = self._run(lambda store: (store.used(), store.oldest(), store.gaps()))
            store, base = self._store, self._base
            return replace(
                base,
                counters=base.counters + store.counters,
                pending=base.pending + store.pending,
                size=size,
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
        bits = store.consumers(list(self._consumers))
        for name, bit in bits.items():
            self._consumers[name].bit = bit
            self._consumers[name].leased.clear()
            self._consumers[name].at.clear()
        self._shrinker.restart()
        self._current = store
        store.limit(self._limit())

    def _degrade(self, error: Exception) -> None:
        """Fall back to memory; the rows in the file stay there until it works again."""
        durable, self._current = self._current, None
        next_id, next_seq, boot_id = 1, 1, self._origin.boot_id
        if durable is not None:
            self._base = OutboxStats(durable.counters, durable.pending, 0, 0, durable.tables.salvages)
            next_id, next_seq = durable.next_id, durable.next_seq(boot_id)
            try:
                durable.close()
            except StoreError as again:
                log.debug("outbox: closing: %s", again)
        self._degraded = explain(error, self._directory)
        self._retry_at = self._clock.monotonic() + RETRY.delay(self._attempts)
        log.error("outbox: cannot use the disk (%s): keeping the newest messages in memory only", self._degraded)
        memory = Store(connect(None, SCHEMA), self._origin, next_id)
        recovery.catch_up(memory, boot_id, next_seq, Counters(), "")
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
            store.consumers(list(self._consumers))
            recovery.adopt(store, memory)
        except StoreError as error:
            self._retry_at = self._clock.monotonic() + RETRY.delay(self._attempts)
            log.warning("outbox: still in memory: %s", error)
            return
        self._degraded, self._attempts = None, 0
        self._base = OutboxStats(Counters(), 0, 0, 0)
        leases = {name: set(c.leased) for name, c in self._consumers.items()}
        self._use(store)
        for name, leased in leases.items():  # rows keep their ids, so their leases stay valid
            self._consumers[name].leased |= leased
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
        return store.put(drafts, sum(consumer.bit for consumer in self._consumers.values()))

    # -- leases -------------------------------------------------------------------------------------------------------

    def _lease_fresh(self, name: str, consumer: _Consumer, limit: int, horizon: float) -> list[Row]:
        ids: list[int] = []
        while consumer.fresh and len(ids) < limit:
            id_ = consumer.fresh.popleft()
            if self._is_fresh(id_, horizon) and id_ not in consumer.leased:
                ids.append(id_)
        if not ids:
            return []
        rows, damaged = self._run(lambda store: store.fetch(consumer.bit, ids))
        consumer.leased.update(row.id for row in rows)
        self.dead_letter(name, damaged, "damaged")
        return [replace(row, live=True) for row in rows]

    def _lease_backlog(
        self, name: str, consumer: _Consumer, limit: int, horizon: float, skip: Collection[str]
    ) -> list[Row]:
        found: list[Row] = []
        before = consumer.fresh[0] if consumer.fresh else None
        skipped = frozenset(skip)
        after = max(consumer.at.get(skipped, 0), consumer.at.get(frozenset(), 0))
        while len(found) < limit:
            start, asked = after, limit - len(found)
            rows, damaged = self._run(lambda s: s.select(consumer.bit, start, before, asked, skip))  # noqa: B023
            found += [row for row in rows if row.id not in consumer.leased]
            if damaged:
                self.dead_letter(name, damaged, "damaged")
            if not rows and not damaged:  # no more rows
                after = max(after, (self._store.next_id if before is None else before) - 1)
                break
            after = max([row.id for row in rows] + damaged)
        consumer.leased.update(row.id for row in found)
        consumer.at[skipped] = max(consumer.at.get(skipped, 0), after)
        return [replace(row, live=True) if self._is_fresh(row.id, horizon) else row for row in found]

    def _is_fresh(self, id_: int, horizon: float) -> bool:
        return self._ended.get(id_, float("-inf")) > horizon

    def _finish(self, name: str, ids: Collection[int], settle: Callable[[Store, int], None]) -> None:
        with self._lock:
            consumer = self._consumers[name]
            self._run(lambda store: settle(store, consumer.bit))
            consumer.leased.difference_update(ids)
            if not self._degraded:
                self._files.mark(self._store)

    # -- space and age ------------------------------------------------------------------------------------------------

    def _limit(self) -> int:
        return MEMORY_BYTES if self._degraded else self._cap

    def _shrink(self, target: float) -> None:
        self._shrinker.shrink(self._store, target, self._leased())

    def _leased(self) -> set[int]:
        return set().union(*(consumer.leased for consumer in self._consumers.values()))

    def _expire(self, now: float, offset: float) -> None:
        """Drop expired rows once the clock has been steady, so that a clock jump never empties the outbox."""
        if not abs(offset - self._offset) < 60.0:
            self._offset, self._steady_since = offset, now
        if now - self._steady_since >= STEADY_S:
            self._run(lambda store: store.expire(now + offset - self._max_age, self._leased()))
