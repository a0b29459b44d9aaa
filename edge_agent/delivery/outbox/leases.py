"""Leases of an outbox: which rows each consumer has taken, and which are still live. Not thread-safe.

A consumer leases rows and reports each as done or not; a row that is leased is not given to the same consumer again,
and no row is read twice in the search for more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from edge_agent.delivery.outbox.records import Row
from edge_agent.delivery.outbox.store import Store

REMEMBERED = 1024
"""Newest rows whose end is remembered: only these can be live."""

Run = Callable[[Callable[[Store], Any]], Any]
"""Runs an operation on the store in use and returns its result."""


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

    def release(self) -> None:
        self.leased.clear()
        self.at.clear()


class Leases:
    """The leases of ``names``. ``spoiled(name, ids)`` is told of damaged rows as they are found."""

    def __init__(self, names: Sequence[str], run: Run, spoiled: Callable[[str, list[int]], None]) -> None:
        self._consumers = {name: _Consumer() for name in names}
        self._run = run
        self._spoiled = spoiled
        self._ended: dict[int, float] = {}

    @property
    def names(self) -> list[str]:
        """The consumers."""
        return list(self._consumers)

    @property
    def all_bits(self) -> int:
        """What waits for every consumer."""
        return sum(consumer.bit for consumer in self._consumers.values())

    def bit(self, name: str) -> int:
        """The bit of consumer ``name`` in the store in use."""
        return self._consumers[name].bit

    def restart(self, bits: Mapping[str, int]) -> None:
        """Begin again with another store, in which the consumers have these ``bits``: nothing is leased."""
        for name, bit in bits.items():
            self._consumers[name].bit = bit
            self._consumers[name].release()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the leases while the block moves their rows, ids included, to another store."""
        before = {name: set(consumer.leased) for name, consumer in self._consumers.items()}
        yield
        for name, leased in before.items():
            self._consumers[name].leased |= leased

    def stored(self, ended: Mapping[int, float], now: float) -> None:
        """Note new rows: the end of each (monotonic seconds) by id."""
        for id_, end in ended.items():
            self._ended[id_] = min(end, now)
            for consumer in self._consumers.values():
                consumer.fresh.append(id_)
        while len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def lease(self, name: str, limit: int, horizon: float, skip: Collection[str]) -> list[Row]:
        """Lease up to ``limit`` rows: live ones, ended after ``horizon``, then backlog without the kinds ``skip``."""
        consumer = self._consumers[name]
        rows = self._lease_fresh(name, consumer, limit, horizon)
        rows += self._lease_backlog(name, consumer, limit - len(rows), horizon, skip)
        return sorted(rows, key=lambda row: (not row.live, row.id))

    def done(self, name: str, ids: Collection[int]) -> None:
        """Forget the leases of rows that the consumer is done with."""
        self._consumers[name].leased.difference_update(ids)

    def nack(self, name: str, ids: Collection[int]) -> None:
        """Give back leases of rows that were not delivered and will be leased again."""
        consumer = self._consumers[name]
        consumer.leased.difference_update(ids)
        before = min((id_ - 1 for id_ in ids), default=1 << 62)
        consumer.at = {skip: min(at, before) for skip, at in consumer.at.items()}

    def release(self, name: str) -> None:
        """Give back all leases of a consumer."""
        self._consumers[name].release()

    def leased(self) -> set[int]:
        """The rows that any consumer has leased."""
        return set().union(*(consumer.leased for consumer in self._consumers.values()))

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
        self._spoiled(name, damaged)
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
                self._spoiled(name, damaged)
            if not rows and not damaged:  # no more rows
                following = self._run(lambda store: store.next_id)
                after = max(after, (following if before is None else before) - 1)
                break
            after = max([row.id for row in rows] + damaged)
        consumer.leased.update(row.id for row in found)
        consumer.at[skipped] = max(consumer.at.get(skipped, 0), after)
        return [replace(row, live=True) if self._is_fresh(row.id, horizon) else row for row in found]

    def _is_fresh(self, id_: int, horizon: float) -> bool:
        return self._ended.get(id_, float("-inf")) > horizon
