"""The daemon: capture, analysis, summary and delivery as supervised threads around bounded hand-offs.

Started downstream first and stopped upstream first. ``run`` returns when a stop is requested or when every source was a
recording that is over; the open window is flushed on the way out.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from edge_agent.app import health
from edge_agent.app.assembly import Assembly
from edge_agent.capture import Reopening, ReplayGroup, make_audio, make_video
from edge_agent.delivery import topics
from edge_agent.delivery.service import DeliveryService
from edge_agent.domain.clock import Clock, SystemClock
from edge_agent.domain.event import Event
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.observation import AudioReport, VisionReport
from edge_agent.domain.summary import ClockState, Summary
from edge_agent.runtime.mailbox import Closed, Mailbox
from edge_agent.runtime.process import process_use
from edge_agent.runtime.stop import Stop
from edge_agent.runtime.supervisor import Beat, Component, Supervisor
from edge_agent.runtime.systemd import Notifier
from edge_agent.runtime.timesync import clock_is_synced
from edge_agent.settings import Settings
from edge_agent.summary.rollup import merge_summaries
from edge_agent.summary.summariser import Summariser

T = TypeVar("T")

log = logging.getLogger(__name__)

TICK_S = 0.5
HEALTH_S = 30.0
REPORT_BACKLOG = 512
SOUND_BACKLOG = 100


class Agent:
    """One camera, one microphone, one outbox. ``assembly`` must already be activated."""

    def __init__(self, settings: Settings, assembly: Assembly, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock(clock_is_synced)
        self.boot_id = secrets.token_hex(4)
        self._assembly = assembly
        self._vision, self._audio = assembly.lanes()
        self._replays = ReplayGroup(self.clock)
        self._video_source = self._make_video()
        self._audio_source = self._make_audio()
        self._frames: Mailbox[Frame] = Mailbox(1)
        self._sound: Mailbox[AudioBlock] = Mailbox(SOUND_BACKLOG)
        self._reports: Mailbox[VisionReport | AudioReport] = Mailbox(REPORT_BACKLOG)
        self.delivery = DeliveryService(settings, self.clock, self.boot_id, assembly.info(), merge_summaries)
        self._sources: dict[str, Reopening[Any]] = {
            name: source
            for name, source in (("camera", self._video_source), ("microphone", self._audio_source))
            if source
        }
        self._summariser: Summariser | None = None
        self._started = self.clock.monotonic()
        self._last_problems: list[str] = []
        self.config_problem = ""
        """Why the last reload was refused; shown on the health topic."""

    def _make_video(self) -> Reopening[Frame] | None:
        if not self._vision.wanted:
            return None
        return make_video(self.settings.camera, self.clock, self._assembly.video_plugins(), self._replays)

    def _make_audio(self) -> Reopening[AudioBlock] | None:
        if not self._audio.wanted:
            return None
        return make_audio(self.settings.microphone, self.clock, self._assembly.audio_plugins(), self._replays)

    # ------------------------------------------------------------------ life

    def run(self, stop: Stop, notifier: Notifier | None = None, tick: Callable[[], None] = lambda: None) -> None:
        """Work until ``stop`` is requested or the recordings are over; ``tick`` is called about twice a second.

        Raises:
            EdgeAgentError: something without which the agent cannot start.
        """
        notifier = notifier or Notifier()
        self.delivery.start()
        supervisor = Supervisor(self.clock, stop)
        try:
            supervisor.start(self._components())
            notifier.ready(f"watching as {self.settings.device.id}")
            self._watch(supervisor, stop, notifier, tick)
        finally:
            notifier.stopping()
            supervisor.stop()
            self.delivery.stop(deadline_s=2.0)
            self._assembly.close()

    def _watch(self, supervisor: Supervisor, stop: Stop, notifier: Notifier, tick: Callable[[], None]) -> None:
        """The supervisor's own loop: watchdog pings while every heartbeat is fresh, health, the end of recordings."""
        due = 0.0
        while not stop.wait(TICK_S):
            tick()
            stale = supervisor.stale()
            if not stale:
                notifier.watchdog()
            now = self.clock.monotonic()
            if now >= due:
                due = now + HEALTH_S
                self._publish_health(supervisor, stale, notifier)
            if self._sources and supervisor.finished([*self._sources, "vision", "audio"]):
                stop.request("end of the recording")

    def _publish_health(self, supervisor: Supervisor, stale: list[str], notifier: Notifier) -> None:
        vitals = health.Vitals(
            uptime_s=self.clock.monotonic() - self._started,
            components=supervisor.health(),
            stale=stale,
            sources={name: source.status for name, source in self._sources.items()},
            plugins=self._assembly.plugins.reports(),
            process=process_use(),
            delivery=asdict(self.delivery.stats()),
            config_problem=self.config_problem,
        )
        document = health.document(vitals)
        self.delivery.publish_state(topics.HEALTH, document)
        wrong = document["problems"]
        notifier.status(wrong[0] if wrong else f"watching as {self.settings.device.id}")
        for line in wrong:
            if line not in self._last_problems and not line.startswith(health.PLUGIN):  # those log their own failures
                log.warning("%s", line)
        self._last_problems = wrong

    def _components(self) -> list[Component]:
        parts = [Component("summariser", self._summarise, self._reports.close)]
        if self._audio_source is not None:
            parts.append(Component("audio", self._listen, self._sound.close, stale_after=30.0))
            parts.append(_capturing("microphone", self._audio_source, self._sound))
        if self._video_source is not None:
            parts.append(Component("vision", self._look, self._frames.close, stale_after=30.0))
            parts.append(_capturing("camera", self._video_source, self._frames))
        return parts

    # ------------------------------------------------------------------ stages

    def _look(self, beat: Beat, stop: Stop) -> None:
        lost = 0
        while not stop.requested:
            beat()
            try:
                frame = self._frames.get(1.0)
            except Closed:
                return
            if frame is None:
                continue
            now_lost = self._frames.lost
            report = self._vision.offer(frame, now_lost - lost)
            lost = now_lost
            if report is not None:
                self._reports.put(report)

    def _listen(self, beat: Beat, stop: Stop) -> None:
        while not stop.requested:
            beat()
            try:
                block = self._sound.get(1.0)
            except Closed:
                break
            if block is not None:
                self._reports.put(self._audio.offer(block))
        self._reports.put(self._audio.finish())

    def _summarise(self, beat: Beat, _stop: Stop) -> None:
        if self._summariser is None:  # kept over a restart of this component: its open window is not lost
            self._summariser = Summariser(self.clock, self.settings.summary.window_s, self._on_summary, self._on_event)
        summariser = self._summariser
        closed = False
        while not closed:
            beat()
            wait = min(1.0, max(0.0, summariser.due - self.clock.monotonic()))
            try:
                report = self._reports.get(wait)
            except Closed:
                closed = True
            else:
                if report is not None:
                    summariser.accept(report)
                summariser.tick()
        summariser.flush()

    def _on_summary(self, summary: Summary) -> None:
        self.delivery.submit_summary(summary)
        self._assembly.plugins.on_summary(summary)

    def _on_event(self, event: Event, start: float, clock: ClockState) -> None:
        self.delivery.submit_event(event, start, clock)
        self._assembly.plugins.on_event(event)


def _capturing(name: str, source: Reopening[T], into: Mailbox[T]) -> Component:
    """A component that opens ``source`` and moves what it reads until the end of it; then the mailbox closes."""

    def run(beat: Beat, stop: Stop) -> None:
        source.on_wait = beat  # waiting for an absent device is not hanging
        source.open()
        try:
            while not stop.requested:
                beat()
                item = source.read()
                if item is None:
                    break
                into.put(item)
        finally:
            source.close()
        into.close()

    return Component(name, run, source.close, stale_after=60.0)
