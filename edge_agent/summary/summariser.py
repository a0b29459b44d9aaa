"""Turn reports into summaries and events with wall time, on the injected clock.

Wall time is read once, when a window closes or an event is detected, and the start is computed back on the monotonic
clock: a wall clock that jumps in between moves the timestamp, never the length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edge_agent.domain.clock import Clock
from edge_agent.domain.event import Event
from edge_agent.domain.observation import AudioReport, VisionReport
from edge_agent.domain.summary import ClockState, Presence, Summary, Window
from edge_agent.summary.context import Baseline, Fusion, TrendKeeper
from edge_agent.summary.privacy import may_tell, withhold
from edge_agent.summary.window import WindowBuilder

OnEvent = Callable[[Event, float, ClockState], None]
"""Receives an event with its wall-clock start (Unix seconds) and whether that clock is synchronised."""


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
        self._builder = WindowBuilder(clock.monotonic(), window_s)
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

    def accept(self, report: VisionReport | AudioReport) -> None:
        """Add a report and pass on its events at once. Times in the future are set to now."""
        report = replace(report, time=min(report.time, self._clock.monotonic()))
        report = replace(report, events=(*report.events, *self._fusion.accept(report)))
        self._emit(self._builder.advance(report.time))
        if isinstance(report, VisionReport):
            self._builder.vision(report)
        else:
            self._builder.audio(report)
        for event in report.events:
            if may_tell(event, self._builder.together, self._min_people):
                self._on_event(event, self._wall(event.start), self._state())
        self._tell_presence()

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
