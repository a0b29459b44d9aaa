"""Rows of the table ``items`` as values: rendering drafts, merging summaries, and telling sound rows from damaged ones.

No SQL here. A row's checksum covers everything that is sent or merged, because SQLite notices a broken page structure
but not a flipped bit in a value.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import reduce
from typing import Any

from pydantic import TypeAdapter

from edge_agent.delivery import payload as render
from edge_agent.delivery.rows import Draft, Row
from edge_agent.domain.message import MessageKind
from edge_agent.domain.summary import ClockState, Summary, Window

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
