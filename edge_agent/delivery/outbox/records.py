"""Rows of the table ``items`` as values: rendering drafts, merging summaries, and telling sound rows from damaged ones.

No SQL here. A row's checksum covers everything that is sent or merged, because SQLite notices a broken page structure
but not a flipped bit in a value.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from functools import reduce
from typing import Any

from pydantic import TypeAdapter

from edge_agent.delivery import payload as render
from edge_agent.domain.event import Event, Message, MessageKind
from edge_agent.domain.summary import ClockState, Summary, Window


@dataclass(frozen=True, slots=True)
class Draft:
    """One thing to store. ``topic`` is relative; ``start`` is wall time; ``begin`` monotonic; all in seconds."""

    kind: MessageKind
    topic: str
    content: Summary | Event
    start: float
    begin: float
    seconds: float
    clock: ClockState


@dataclass(frozen=True, slots=True)
class Row:
    """One stored message. ``live``: it is fresh enough for the live topics; ``merged``: how many rows it stands for."""

    id: int
    boot_id: str
    seq: int
    kind: MessageKind
    topic: str
    start: float
    seconds: float
    clock: ClockState
    merged: int
    payload: bytes
    live: bool = False

    def message(self) -> Message:
        """The row as sinks get it."""
        return Message(self.boot_id, self.seq, self.kind, self.topic, self.payload, not self.live)


@dataclass(frozen=True, slots=True)
class Counters:
    """Fates of everything ever handed over: ``produced = acked + pending + merged_away + dropped + dead_lettered``."""

    produced: int = 0
    acked: int = 0
    merged_away: int = 0
    dropped: int = 0
    dead_lettered: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(
            self.produced + other.produced,
            self.acked + other.acked,
            self.merged_away + other.merged_away,
            self.dropped + other.dropped,
            self.dead_lettered + other.dead_lettered,
        )

    @property
    def settled(self) -> int:
        """What is no longer stored."""
        return self.acked + self.merged_away + self.dropped + self.dead_lettered


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of messages that will never be delivered, and why. Times are wall clock, 0 when unknown."""

    boot_id: str
    first_seq: int
    last_seq: int
    start: float
    end: float
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """``degraded`` says why rows are only held in memory, or is None. ``size`` and ``limit`` are bytes."""

    counters: Counters
    pending: int
    size: int
    limit: int
    salvages: int = 0
    ballast: bool = True
    degraded: str | None = None
    oldest: float | None = None
    gaps: tuple[Gap, ...] = field(default=())

    @property
    def balanced(self) -> bool:
        """Whether the counters add up."""
        return self.counters.produced == self.counters.settled + self.pending


@dataclass(frozen=True, slots=True)
class MergeCandidate:
    """What a decision needs of a stored window; ``begin`` and ``seconds`` on its boot's monotonic clock."""

    id: int
    boot_id: str
    clock: int
    waiting: int
    begin: float
    seconds: float


Merge = Callable[[Summary, Summary], Summary]
"""Joins two neighbouring summaries exactly; raises ValueError when they are none."""

_WINDOW: TypeAdapter[Window] = TypeAdapter(Window)


@dataclass(frozen=True, slots=True)
class Origin:
    """What every payload says about its sender, and how windows merge."""

    device: str
    boot_id: str
    merge: Merge


@dataclass(frozen=True, slots=True)
class Record:
    """One row of ``items``, its fields in the order of the columns; see the schema for their meaning."""

    id: int
    boot_id: str
    seq: int
    kind: MessageKind
    topic: str
    start: float
    synced: int
    begin: float
    seconds: float
    tier: int
    merged: int
    waiting: int
    dead: int
    window: str | None
    payload: bytes
    crc: int = 0

    def sealed(self) -> Record:
        """The record with its checksum right."""
        return replace(self, crc=self._checksum())

    def columns(self) -> tuple[Any, ...]:
        """Values for an INSERT."""
        return astuple(self)

    def row(self) -> Row:
        """The record as consumers see it."""
        return Row(
            self.id,
            self.boot_id,
            self.seq,
            self.kind,
            self.topic,
            self.start,
            self.seconds,
            _clock(self.synced),
            self.merged,
            self.payload,
        )

    def summary(self) -> Summary:
        """The summary it was rendered from. Raises ValueError when there is none in it."""
        if self.window is None:
            raise ValueError("an event has no sums")
        return Summary(self.start, _clock(self.synced), _WINDOW.validate_json(self.window))

    def restamped(self, start: float) -> Record:
        """The record with a start that is now known."""
        return replace(self, start=start, synced=1, payload=render.restamp(self.payload, start)).sealed()

    def _checksum(self) -> int:
        head = f"{self.boot_id}\0{self.seq}\0{self.kind}\0{self.topic}\0{self.window}"
        return zlib.crc32(self.payload, zlib.crc32(head.encode()))


COLUMNS = len(fields(Record))


def load(columns: Sequence[Any]) -> Record | None:
    """The record in a row of the table; None when its content is damaged."""
    if len(columns) != COLUMNS:
        return None
    record = Record(*columns)
    sound = (
        isinstance(record.payload, bytes)
        and isinstance(record.start, float)
        and isinstance(record.seconds, float)
        and record._checksum() == record.crc
    )
    return record if sound else None


def from_draft(draft: Draft, origin: Origin, id_: int, seq: int, waiting: int) -> Record:
    """A new record. Raises ValueError when the draft holds numbers that no payload can carry."""
    window = None
    if isinstance(draft.content, Summary):
        document = render.summary_document(draft.content, origin.device, origin.boot_id, seq)
        window = _dump(draft.content.window)
    else:
        document = render.event_document(draft.content, draft.start, draft.clock, origin.device, origin.boot_id, seq)
    return Record(
        id=id_,
        boot_id=origin.boot_id,
        seq=seq,
        kind=draft.kind,
        topic=draft.topic,
        start=float(draft.start),
        synced=int(draft.clock == "synced"),
        begin=float(draft.begin),
        seconds=float(draft.seconds),
        tier=0,
        merged=1,
        waiting=waiting,
        dead=0,
        window=window,
        payload=render.encode(document),
    ).sealed()


def merge(records: Sequence[Record], origin: Origin, seq: int) -> Record:
    """One record for all of ``records`` (in order, of one boot), one tier up, in the place of the first.

    It has a number of its own: with the key of a part that was already sent, a subscriber that drops duplicates would
    drop the other parts with it. Raises ValueError when they do not merge.
    """
    first = records[0]
    whole = reduce(origin.merge, (record.summary() for record in records))
    merged = sum(record.merged for record in records)
    document = render.summary_document(whole, origin.device, first.boot_id, seq, merged)
    return replace(
        first,
        seq=seq,
        start=whole.start,
        begin=whole.window.begin,
        seconds=whole.seconds,
        tier=first.tier + 1,
        merged=merged,
        window=_dump(whole.window),
        payload=render.encode(document),
    ).sealed()


def _clock(synced: int) -> ClockState:
    return "synced" if synced else "unsynced"


def _dump(window: Window) -> str:
    return _WINDOW.dump_json(window, exclude_defaults=True).decode()
