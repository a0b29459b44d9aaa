"""Values of the outbox: drafts, rows, counters, gaps and stored records; rendering, merging and checksums of records.

No SQL here. A record's checksum covers everything that is sent or merged, because SQLite detects a broken page
structure but not a flipped bit in a value.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from functools import reduce
from typing import Any

from pydantic import TypeAdapter

from edge_agent.domain.event import Event, Message, MessageKind
from edge_agent.domain.summary import ClockState, Summary, Window
from edge_agent.payloads import rendering as render


@dataclass(frozen=True, slots=True)
class Draft:
    """A summary or event to store. ``topic`` is relative; ``start`` is wall time, ``begin`` monotonic, in seconds."""

    kind: MessageKind
    topic: str
    content: Summary | Event
    start: float
    begin: float
    seconds: float
    clock: ClockState


@dataclass(frozen=True, slots=True)
class Row:
    """A stored message as consumers see it.

    ``live``: recent enough for the live topics; ``merged``: number of windows merged into it.
    """

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
        """The message that sinks get."""
        return Message(self.boot_id, self.seq, self.kind, self.topic, self.payload, not self.live)


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of messages: ``produced = acked + pending + merged_away + dropped + dead_lettered``."""

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
        """Number of messages that are no longer stored."""
        return self.acked + self.merged_away + self.dropped + self.dead_lettered


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of lost messages and the reason. ``start`` and ``end`` are wall time, 0 when unknown."""

    boot_id: str
    first_seq: int
    last_seq: int
    start: float
    end: float
    count: int
    reason: str

    def document(self) -> dict[str, object]:
        """The run as published on ``gaps``; what is unknown is left out."""
        document: dict[str, object] = {"boot_id": self.boot_id, "count": self.count, "reason": self.reason}
        if self.first_seq:
            document |= {"first_seq": self.first_seq, "last_seq": self.last_seq}
        if self.end:
            document |= {"start": render.timestamp(self.start), "end": render.timestamp(self.end)}
        return document


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """State of the outbox. ``degraded``: why rows are only in memory, or None. ``size`` and ``limit`` are bytes."""

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
    """A stored window that may be merged; ``begin`` and ``seconds`` on its boot's monotonic clock."""

    id: int
    boot_id: str
    clock: int
    waiting: int
    begin: float
    seconds: float


Merge = Callable[[Summary, Summary], Summary]
"""Merges two neighbouring summaries exactly; raises ValueError when they are not neighbours."""

_WINDOW: TypeAdapter[Window] = TypeAdapter(Window)


@dataclass(frozen=True, slots=True)
class Origin:
    """The sender's device id, boot id and place, part of every payload, and the function that merges summaries."""

    device: str
    boot_id: str
    merge: Merge
    place: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the table ``items``, fields in the order of its columns; see the schema for their meaning."""

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
        """A copy with the right checksum."""
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
        """The summary it was rendered from. Raises ValueError for an event."""
        if self.window is None:
            raise ValueError("an event has no window")
        return Summary(self.start, _clock(self.synced), _WINDOW.validate_json(self.window))

    def restamped(self, start: float) -> Record:
        """A copy with the right ``start`` and a synced clock."""
        return replace(self, start=start, synced=1, payload=render.restamp(self.payload, start)).sealed()

    def _checksum(self) -> int:
        head = f"{self.boot_id}\0{self.seq}\0{self.kind}\0{self.topic}\0{self.window}"
        return zlib.crc32(self.payload, zlib.crc32(head.encode()))


COLUMNS = len(fields(Record))


def load(columns: Sequence[Any]) -> Record | None:
    """The record of a row of the table; None when its checksum or types are wrong."""
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
    """Render ``draft`` into a record. Raises ValueError for numbers that JSON cannot carry."""
    window = None
    if isinstance(draft.content, Summary):
        document = render.summary_document(draft.content, origin.device, origin.boot_id, seq, place=origin.place)
        window = _dump(draft.content.window)
    else:
        document = render.event_document(
            draft.content, draft.start, draft.clock, origin.device, origin.boot_id, seq, origin.place
        )
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
    """Merge ``records`` (in order, of one boot) into one of the next tier, with the id of the first.

    It gets a sequence number of its own: with that of a part that was already sent, subscribers that drop duplicates
    would drop the other parts too. Raises ValueError when they are not neighbours.
    """
    first = records[0]
    whole = reduce(origin.merge, (record.summary() for record in records))
    merged = sum(record.merged for record in records)
    place = render.place_of(first.payload)  # the device may have moved since
    document = render.summary_document(whole, origin.device, first.boot_id, seq, merged, place)
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
