"""The outbox as the rest of delivery sees it: durable, bounded, thread-safe, and alive whatever the disk does.

The policy around :class:`~edge_agent.delivery.outbox.store.Store`: who has leased what, the byte cap (merge, then
drop), relief on a full disk, salvage of a damaged file, and a bounded store in memory while the file system fails.
It knows nothing of brokers. A consumer leases rows, and acks, nacks or buries each; a row goes when all consumers are
done with it. Nothing here waits for space: :meth:`Outbox.put` always ends, at worst by dropping the oldest, counted.
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
from edge_agent.delivery.outbox.database import (
    WAL_BYTES,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    connect,
    explain,
)
from edge_agent.delivery.outbox.directory import BALLAST_BYTES, OutboxDirectory
from edge_agent.delivery.outbox.records import Counters, Draft, Origin, OutboxStats, Row
from edge_agent.delivery.outbox.retention import Shrinker
from edge_agent.delivery.outbox.store import Store
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import DeliveryError
from edge_agent.settings.schema import OutboxSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

MEMORY_BYTES = 2 << 20
"""Cap of the store in memory while the file system fails: about a thousand rows."""

RETRY_S = (15.0, 600.0)
"""First and longest pause between attempts to use the file again."""

PUT_ROWS = 64
"""Most rows stored in one transaction."""

ROW_BYTES = 2048
"""What a row takes at most, as a rule: room for it is made before it is stored."""

STEADY_S = 600.0
"""The wall clock must have kept pace with the monotonic one this long before anything is dropped for its age."""


@dataclass(slots=True)
class _Consumer:
    """Where a consumer stands. Every row it waits for with an id up to ``at[skip]`` is in ``leased`` or of a kind in
    ``skip``: what was looked through once is not looked through again. ``fresh``: ids of rows put lately that it has
    not leased yet.
    """

    bit: int = 0
    at: dict[frozenset[str], int] = field(default_factory=dict)
    leased: set[int] = field(default_factory=set)
    fresh: deque[int] = field(default_factory=lambda: deque(maxlen=512))


class Outbox:
    """One outbox in one directory. ``consumers`` names those that every new row waits for, at least one."""

    def __init__(
        self, directory: Path, origin: Origin, clock: Clock, settings: OutboxSettings, consumers: Sequence[str]
    ) -> None:
        if not consumers:
            raise ValueError("an outbox needs a consumer")
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
        self._retry_s = RETRY_S[0]
        self._ballast_at = 0.0
        self._offset = float("nan")
        self._steady_since = 0.0

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open or make the database; falls back to memory when the file system refuses.

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
        """Move everything into the file and free the directory; idempotent."""
        with self._lock:
            if self._degraded:
                self._recover()
            store, self._current = self._current, None
            if store is None:
                return
            if self._degraded:
                if store.pending:
                    log.error("outbox: %d messages held in memory are lost: %s", store.pending, self._degraded)
                self._files.unlock()
            else:
                self._files.close(store)

    # -- producing ----------------------------------------------------------------------------------------------------

    def put(self, drafts: Sequence[Draft]) -> None:
        """Store ``drafts`` in order; when this returns they survive a power cut (unless degraded)."""
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

    def miss(self, count: int, reason: str) -> None:
        """Account for ``count`` messages that were produced but never reached the outbox."""
        with self._lock:
            self._run(lambda store: store.miss(count, reason))

    # -- consuming ----------------------------------------------------------------------------------------------------

    def lease(self, name: str, limit: int, live_s: float = 0.0, skip: Collection[str] = ()) -> list[Row]:
        """Up to ``limit`` rows for consumer ``name``: those put lately whose time ended in the last ``live_s`` seconds
        (marked ``live``), then the backlog, each in order. Backlog of the kinds in ``skip`` is left out.
        """
        with self._lock:
            consumer = self._consumers[name]
            horizon = self._clock.monotonic() - live_s
            rows = self._lease_fresh(name, consumer, limit, horizon)
            rows += self._lease_backlog(name, consumer, limit - len(rows), horizon, skip)
            return sorted(rows, key=lambda row: (not row.live, row.id))

    def ack(self, name: str, ids: Collection[int]) -> None:
        """Consumer ``name`` has delivered ``ids``."""
        if ids:
            self._finish(name, ids, lambda store, bit: store.settle(bit, ids))

    def bury(self, name: str, ids: Collection[int], reason: str) -> None:
        """Consumer ``name`` can never deliver ``ids``: they become dead letters."""
        if ids:
            self._finish(name, ids, lambda store, bit: store.bury(bit, name, ids, reason))

    def nack(self, name: str, ids: Collection[int]) -> None:
        """Consumer ``name`` did not deliver ``ids`` and will lease them again."""
        with self._lock:
            consumer = self._consumers[name]
            consumer.leased.difference_update(ids)
            before = min((id_ - 1 for id_ in ids), default=1 << 62)
            consumer.at = {skip: min(at, before) for skip, at in consumer.at.items()}

    def release(self, name: str) -> None:
        """Consumer ``name`` gives all its leases back: its connection is gone."""
        with self._lock:
            consumer = self._consumers[name]
            consumer.leased.clear()
            consumer.at.clear()
            self._shrinker.restart()

    # -- upkeep -------------------------------------------------------------------------------------------------------

    def maintain(self) -> None:
        """Whatever is due: from memory back to the file, ballast, clock repair, age. Cheap: call it each second."""
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
        """Whether it can be used."""
        return self._current is not None

    def stats(self) -> OutboxStats:
        """The state of affairs now. Raises DeliveryError when it is not open."""
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
        """Do ``operation``, after relief, salvage or a move to memory if that is what it takes."""
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
            log.warning("outbox: no space (%s): merging, then dropping the oldest", error)
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
        """Go on in memory; the file's rows stay where they are until it works again."""
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
        self._retry_at = self._clock.monotonic() + self._retry_s
        log.error("outbox: cannot use the disk (%s): keeping the newest messages in memory only", self._degraded)
        memory = Store(connect(None), self._origin, next_id)
        recovery.catch_up(memory, boot_id, next_seq, Counters(), "")
        self._use(memory)

    def _recover(self) -> None:
        try:
            store = self._files.open()
        except (OSError, StoreError, DeliveryError) as error:
            self._retry_s = min(self._retry_s * 2, RETRY_S[1])
            self._retry_at = self._clock.monotonic() + self._retry_s
            log.warning("outbox: still in memory: %s", error)
            return
        memory = self._store
        try:
            store.consumers(list(self._consumers))
            recovery.adopt(store, memory)
        except StoreError as error:
            self._retry_at = self._clock.monotonic() + self._retry_s
            log.warning("outbox: still in memory: %s", error)
            return
        self._degraded, self._retry_s = None, RETRY_S[0]
        self._base = OutboxStats(Counters(), 0, 0, 0)
        leases = {name: set(c.leased) for name, c in self._consumers.items()}
        self._use(store)
        for name, leased in leases.items():  # rows keep their ids, so what is being delivered stays leased
            self._consumers[name].leased |= leased
        memory.close()
        self._files.mark(store)
        log.warning("outbox: the disk works again; messages moved there from memory")

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
        self.bury(name, damaged, "damaged")
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
                self.bury(name, damaged, "damaged")
            if not rows and not damaged:  # looked through to the end
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
        """Drop what is too old, but only by a clock that has been steady for a while: no jump empties the outbox."""
        if not abs(offset - self._offset) < 60.0:
            self._offset, self._steady_since = offset, now
        if now - self._steady_since >= STEADY_S:
            self._run(lambda store: store.expire(now + offset - self._max_age, self._leased()))
