"""What goes into the outbox, what comes out of it, and how it is counted. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_agent.domain.event import Event
from edge_agent.domain.message import Message, MessageKind
from edge_agent.domain.summary import ClockState, Summary


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
