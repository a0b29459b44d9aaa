"""Make summaries and events for delivery tests."""

from __future__ import annotations

import random
import time
from dataclasses import replace

from edge_agent.delivery import topics
from edge_agent.delivery.outbox.records import Draft
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.event import BURST, Event
from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.summary import BurstSums, ClockState, EmotionSums, FaceSums, StreamSums, Summary, Window

SECONDS = 10.0


class EarlyClock(SystemClock):
    """The machine's clocks, the monotonic one set back: windows that begin at 0 lie ahead of it, so none is late."""

    def __init__(self) -> None:
        super().__init__(lambda: True)
        self._start = time.monotonic() + 1e6

    def monotonic(self) -> float:
        return time.monotonic() - self._start


def a_window(begin: float, seconds: float = SECONDS, seed: int = 0) -> Window:
    """A window with two people, some emotion and at times a laugh; the same for the same arguments."""
    rng = random.Random(f"{begin}-{seed}")
    raw = [rng.random() ** 3 for _ in EMOTIONS]
    weight = 1.6 * seconds
    p = tuple(weight * value / sum(raw) for value in raw)
    return Window(
        begin,
        begin + seconds,
        FaceSums(2, weight, seconds, 1, rng.randrange(2)),
        EmotionSums(weight, p, tuple(value * value / weight for value in p), round(3.1 * seconds)),
        {"laughter": BurstSums(2, 0.93, 1.8)} if rng.random() < 0.3 else {},
        {},
        StreamSums(round(14.9 * seconds), round(3 * seconds), 0, seconds, seconds),
    )


def a_summary(begin: float, wall: float = 1_780_000_000.0, clock: ClockState = "synced", seed: int = 0) -> Summary:
    """A 10 s summary that begins at monotonic ``begin`` and ``wall + begin``."""
    return Summary(wall + begin, clock, a_window(begin, seed=seed))


def summary_draft(begin: float, wall: float = 1_780_000_000.0, clock: ClockState = "synced") -> Draft:
    """:func:`a_summary` as the outbox takes it."""
    summary = a_summary(begin, wall, clock)
    return Draft("summary", topics.SUMMARY, summary, summary.start, begin, summary.seconds, clock)


def event_draft(begin: float, wall: float = 1_780_000_000.0, clock: ClockState = "synced") -> Draft:
    """A cough as the outbox takes it."""
    event = Event(BURST, "cough", 0.97, begin, 0.8)
    return Draft("event", topics.event(BURST), event, wall + begin, begin, event.seconds, clock)


def empty(summary: Summary) -> Summary:
    """The same time with nothing seen or heard."""
    return replace(summary, window=Window(summary.window.begin, summary.window.end))
