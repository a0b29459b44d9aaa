"""Turn reports into summaries and events with wall time: privacy threshold, windows, roll-ups; on the injected clock.

Wall time is read once, when a window closes or an event is detected, and the start is computed back on the monotonic
clock: a wall clock that jumps in between moves the timestamp, never the length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from edge_agent.domain.clock import Clock
from edge_agent.domain.event import ARRIVAL, BURST, SPEECH, UTTERANCE, Event
from edge_agent.domain.observation import (
    QUALITY_FLAGS,
    AudioReport,
    SpeechReport,
    VisionReport,
)
from edge_agent.domain.recognition import Naming
from edge_agent.domain.speech import Utterance
from edge_agent.domain.summary import (
    ALLOWED,
    ALLOWED_FACES,
    ALLOWED_STREAM,
    ClockState,
    FaceSums,
    Presence,
    StreamSums,
    Summary,
    Window,
)
from edge_agent.summary.context import Baseline, Fusion, TrendKeeper
from edge_agent.summary.merging import merge
from edge_agent.summary.recognition import Recognitions
from edge_agent.summary.window import WindowBuilder

ALLOWED_EVENTS = frozenset({ARRIVAL, BURST})
"""Kinds of events that reveal no more than the allowed fields of a window."""


def withhold(window: Window, min_people: int) -> Window:
    """Withhold the data about people from a window with fewer than ``min_people`` (0 and 1: never) at a time.

    A window without people counts as withheld only if something was removed: readings of somebody who was there just
    before, or measures, which may be about anybody.
    """
    if min_people < 2 or window.faces.together >= min_people:
        return window
    return strip(window)


def strip(window: Window) -> Window:
    """Keep only the allowed fields of ``window``, and mark it as withheld unless nothing was removed."""
    stream = StreamSums(**_only(window.stream, ALLOWED_STREAM))
    told = _only(window, ALLOWED) | {
        "faces": FaceSums(**_only(window.faces, ALLOWED_FACES)),
        "stream": replace(stream, flags=stream.flags & QUALITY_FLAGS),
    }
    if window.faces.most == 0 and Window(**told) == window:
        return window
    return Window(**(told | {"withheld": window.seconds}))


def _only(sums: Any, allowed: frozenset[str]) -> dict[str, Any]:
    return {field.name: getattr(sums, field.name) for field in fields(sums) if field.name in allowed}


def may_tell(event: Event, people: int, min_people: int) -> bool:
    """Return whether ``event`` may be published while ``people`` were seen at a time in the open window so far."""
    return min_people < 2 or people >= min_people or event.kind in ALLOWED_EVENTS


LONGEST_TEXT = 2_000
"""Characters of an utterance that are published; the rest is cut off."""

OnEvent = Callable[[Event, float, ClockState], None]
"""Receives an event with its wall-clock start (Unix seconds) and whether that clock is synchronised."""


def utterance_event(utterance: Utterance) -> Event:
    """Return the event that publishes an utterance; half surrogate pairs, which JSON cannot carry, are replaced."""
    text = utterance.text.encode("utf-8", "replace").decode()
    text = text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
    score = 1.0 if utterance.confidence is None else utterance.confidence
    return Event(UTTERANCE, SPEECH, score, utterance.start, utterance.seconds, text)


class Summariser:
    """Summariser: takes reports and ticks, calls back with summaries, events and presence. One thread only.

    Data about fewer than ``min_people`` is withheld. ``on_presence`` is called whenever the number of people in view
    changes; with ``min_people`` it gets only what summaries and arrivals reveal anyway: the most people of the open
    window and of the one before, so a departure shows only after a window without that person.
    """

    def __init__(
        self,
        clock: Clock,
        window_s: float,
        on_summary: Callable[[Summary], None],
        on_event: OnEvent,
        baseline: Baseline | None = None,
        min_people: int = 0,
        on_presence: Callable[[Presence], None] = lambda _presence: None,
        naming: Naming | None = None,
    ) -> None:
        self._clock = clock
        self._on_presence = on_presence
        self._presence: Presence | None = None
        self._most_before = 0
        self._min_people = min_people
        self.baseline = baseline or Baseline()
        """Emotion baseline of the place, learned from every window; assign a new one to start over."""
        self._fusion = Fusion()
        self._trend = TrendKeeper()
        self._builder = WindowBuilder(clock.monotonic(), window_s, naming)
        self._recognitions = Recognitions(naming) if naming is not None else None
        self._on_summary = on_summary
        self._on_event = on_event

    @property
    def due(self) -> float:
        """Monotonic time at which the open window ends."""
        return self._builder.end

    def suspend(self, camera: str, microphone: str) -> None:
        """Set the reasons why camera and microphone deliver nothing now; empty when they deliver."""
        if (camera, microphone) != self._builder.suspended:
            now = self._clock.monotonic()
            self._emit(self._builder.advance(now))
            self._builder.suspend(now, camera, microphone)
            self._tell_presence()

    def accept(self, report: VisionReport | AudioReport | SpeechReport) -> None:
        """Add a report and pass on its events at once. Times in the future are set to now."""
        report = replace(report, time=min(report.time, self._clock.monotonic()))
        if isinstance(report, SpeechReport):
            self._emit(self._builder.advance(report.time))
            self._builder.speech(report)
            self._tell([utterance_event(said.utterance) for said in report.said])
            return
        report = replace(report, events=(*report.events, *self._fusion.accept(report)))
        if isinstance(report, VisionReport) and self._recognitions is not None:
            report = replace(report, events=(*report.events, *self._recognitions.accept(report)))
        self._emit(self._builder.advance(report.time))
        if isinstance(report, VisionReport):
            self._builder.vision(report)
        else:
            self._builder.audio(report)
        self._tell(report.events)
        self._tell_presence()

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            if may_tell(event, self._builder.together, self._min_people):
                self._on_event(event, self._wall(event.start), self._state())

    def tick(self) -> None:
        """Close windows that have ended by now."""
        self._emit(self._builder.advance(self._clock.monotonic()))
        self._tell_presence()

    def flush(self) -> None:
        """Close the open window early: the agent stops."""
        self.tick()
        window = self._builder.flush(self._clock.monotonic())
        if window is not None:
            self._emit([window])

    def _tell_presence(self) -> None:
        now = self._builder.presence(self._clock.monotonic())
        if self._min_people > 1 and now.count is not None:
            now = Presence(max(self._builder.most, self._most_before))
        if now != self._presence:
            self._presence = now
            self._on_presence(now)

    def _emit(self, windows: list[Window]) -> None:
        for whole in windows:
            self._most_before = whole.faces.most
            window = withhold(whole, self._min_people)
            trend = self._trend.next(window)
            told, self.baseline = self.baseline.apply(window), self.baseline.learn(window.emotion)
            self._on_summary(Summary(self._wall(window.begin), self._state(), told, trend))

    def _wall(self, monotonic: float) -> float:
        return self._clock.wall() - (self._clock.monotonic() - monotonic)

    def _state(self) -> ClockState:
        return "synced" if self._clock.synced() else "unsynced"


LEVELS = (60.0, 600.0, 3600.0)
"""Lengths of the roll-ups in seconds."""


def merge_summaries(a: Summary, b: Summary) -> Summary:
    """Merge a summary ``a`` and its successor ``b`` of the same boot.

    The result starts with ``a``; its clock is synchronised only if both were. Raises ValueError when the windows
    overlap.
    """
    clock: ClockState = "synced" if a.clock == b.clock == "synced" else "unsynced"
    return Summary(a.start, clock, merge(a.window, b.window))


@dataclass(frozen=True, slots=True)
class Rolled:
    """Completed longer summary of at least ``level`` seconds, the ``number``-th since the start, from 1."""

    level: float
    number: int
    summary: Summary


class RollUp:
    """Roll-up of consecutive summaries into those of a minute, ten minutes and an hour.

    Each of ``levels`` (seconds) is a multiple of the one before. Incomplete ones are dropped when the agent stops.
    """

    def __init__(self, levels: Sequence[float] = LEVELS) -> None:
        self._levels = levels
        self._open: list[Summary | None] = [None] * len(levels)
        self._done = [0] * len(levels)

    def add(self, summary: Summary) -> list[Rolled]:
        """Add a summary; return the longer ones it completes, shortest first. One longer than a level skips it."""
        found: list[Rolled] = []
        part: Summary | None = summary
        for k, length in enumerate(self._levels):
            if part is None:
                break
            before = self._open[k]
            whole = part if before is None else merge_summaries(before, part)
            full = whole.seconds >= length - 1e-3
            self._open[k] = None if full else whole
            part = whole if full else None
            if full and whole is not summary:
                self._done[k] += 1
                found.append(Rolled(length, self._done[k], whole))
        return found
