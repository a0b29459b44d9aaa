"""The daemon: capture, analysis, summary and delivery as supervised threads around bounded hand-offs.

Started downstream first and stopped upstream first. ``run`` returns when a stop is requested or when every source was a
recording that is over; the open window is flushed on the way out.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from edge_agent.analysis.pacing import Bounds
from edge_agent.app import health
from edge_agent.app.builder import PipelineBuilder
from edge_agent.capture import Reopening, ReplayGroup, make_audio, make_video
from edge_agent.control import state as overrides
from edge_agent.control.mqtt import SENSES, RemoteControl
from edge_agent.control.sources import SourceController
from edge_agent.control.state import Control, ControlState, OverridesFile
from edge_agent.delivery import topics
from edge_agent.delivery.payload import event_document, presence_document, summary_document
from edge_agent.delivery.service import DeliveryService
from edge_agent.domain.clock import Clock, SystemClock
from edge_agent.domain.event import Event
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.observation import AudioReport, VisionReport
from edge_agent.domain.summary import NONE, STOPPED, ClockState, Presence, Summary
from edge_agent.domain.text import Redactor
from edge_agent.live import history
from edge_agent.live.bus import EventBus
from edge_agent.live.history import HistoryFile
from edge_agent.live.people import People
from edge_agent.live.preview import Preview
from edge_agent.runtime.mailbox import Closed, Mailbox
from edge_agent.runtime.process import process_use
from edge_agent.runtime.stop import Stop
from edge_agent.runtime.supervisor import Beat, Component, Supervisor
from edge_agent.runtime.systemd import Notifier
from edge_agent.runtime.timesync import sync_probe
from edge_agent.settings import Settings
from edge_agent.settings.secrets import known_secrets
from edge_agent.summary.context import BASELINE_FILE, Baseline, BaselineFile
from edge_agent.summary.rollup import RollUp, merge_summaries
from edge_agent.summary.summariser import Summariser

log = logging.getLogger(__name__)

TICK_S = 0.5
HEALTH_S = 30.0
REPORT_BACKLOG = 512
SOUND_BACKLOG = 100
STALE_S = 30.0
"""Seconds without progress after which a lane counts as hung, at least; more on a machine that is slow."""


class Agent:
    """One camera, one microphone, one outbox. ``assembly`` must already be activated.

    ``reload`` asks for the config to be read again; without it that command is refused. What is published is posted on
    ``board``, too, where ``companions`` of this agent (started first, stopped last) find it.
    """

    def __init__(
        self,
        settings: Settings,
        assembly: PipelineBuilder,
        clock: Clock | None = None,
        reload: Callable[[], None] | None = None,
        board: EventBus | None = None,
        companions: Callable[[Agent], Sequence[Component]] = lambda _agent: (),
    ) -> None:
        self.settings = settings
        self.board = board
        self._companions = companions
        self.clock = clock or SystemClock(sync_probe(settings.device.trust_clock))
        self.boot_id = secrets.token_hex(4)
        self._assembly = assembly
        self._vision, self._audio = assembly.lanes(governor=assembly.governor(self.clock))
        self._replays = ReplayGroup(self.clock)
        self._frames: Mailbox[Frame] = Mailbox(1)
        self._sound: Mailbox[AudioBlock] = Mailbox(SOUND_BACKLOG)
        self._reports: Mailbox[VisionReport | AudioReport] = Mailbox(REPORT_BACKLOG)
        self._new_stream = threading.Event()
        self._report_now = threading.Event()
        self._forget_usual = threading.Event()
        self._usual = BaselineFile(settings.device.state_dir / BASELINE_FILE, self.clock)
        self._past = HistoryFile(settings.device.state_dir / history.FILE, self.clock, settings.privacy.min_people)
        self.history = self._past.read() if board is not None else None
        """What the device remembers for its board's readers; None without one."""
        self.people = People() if board is not None and settings.privacy.min_people < 2 else None
        """Likewise, of each who is in view or was lately; None, too, where nobody may be told of alone."""
        self._new_bounds: Bounds | None = None
        self._log_level = settings.log.level
        self._camera = self._make_camera()
        self._microphone = self._make_microphone()
        self.preview = self._make_preview()
        """The latest picture; None unless the config allows to look at it."""
        self._taps: dict[str, SourceController[Any]] = {
            name: tap for name, tap in (("camera", self._camera), ("microphone", self._microphone)) if tap
        }
        self.delivery = DeliveryService(
            settings, self.clock, self.boot_id, assembly.info(), merge_summaries, assembly.sinks()
        )
        self.control = Control(settings, self.clock, OverridesFile(settings.device.state_dir / overrides.FILE))
        self.panel = RemoteControl(
            settings,
            self.clock,
            self.control,
            self._taps,
            self.delivery,
            assembly.running(),
            self._report_now.set,
            {"baseline": self._forget_usual.set},
            reload,
        )
        self._summariser: Summariser | None = None
        self._rollup = RollUp(settings.summary.rollups)
        self._started = self.clock.monotonic()
        self._last_problems: list[str] = []
        self._redactor = Redactor(known_secrets("", settings))
        self._explained = float("-inf")
        self._told_statuses = [(report.name, report.status) for report in assembly.plugins.reports()]
        self._config_problem = ""
        self.notices: Sequence[str] = ()
        """What whoever reads the health topic must know though nothing is wrong."""

    @property
    def config_problem(self) -> str:
        """Why the last reload was refused; empty when it was not. A change is told on the health topic at once."""
        return self._config_problem

    @config_problem.setter
    def config_problem(self, text: str) -> None:
        if text != self._config_problem:
            self._config_problem = text
            self._report_now.set()

    def _make_camera(self) -> SourceController[Frame] | None:
        if not self._vision.wanted:
            return None
        plugins = self._assembly.video_plugins()
        source: Reopening[Frame] | None = make_video(self.settings.camera, self.clock, plugins, self._replays)
        return SourceController("camera", source, self._frames, self._new_stream.set) if source else None

    def _make_preview(self) -> Preview | None:
        camera, web = self._camera, self.settings.web
        if camera is None or not (web.enabled and web.preview):
            return None
        log.warning("web.preview is on: whoever knows the token of the web side can see what the camera sees")
        return Preview(self.clock, lambda: camera.on)

    def _make_microphone(self) -> SourceController[AudioBlock] | None:
        if not self._audio.wanted:
            return None
        plugins = self._assembly.audio_plugins()
        source: Reopening[AudioBlock] | None = make_audio(self.settings.microphone, self.clock, plugins, self._replays)
        return SourceController("microphone", source, self._sound) if source else None

    def _obey(self, state: ControlState) -> None:
        """Make ``state`` so; called by the control, quickly."""
        if self._camera is not None:
            self._camera.turn(state.watching)
        if self.preview is not None and not state.watching:
            self.preview.forget()
        if self._microphone is not None:
            self._microphone.turn(state.listening)
        self._new_bounds = self.control.bounds()
        if state.log_level != self._log_level:  # as configured, whoever started us has seen to it
            self._log_level = state.log_level
            logging.getLogger().setLevel(state.log_level.upper())

    def info(self) -> Mapping[str, Any]:
        """What the ``info`` topic tells about this installation."""
        return self._assembly.info()

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
            self.control.listen(self._obey)
            self.panel.start()
            supervisor.start([*self._companions(self), *self._components()])
            notifier.ready(f"watching as {self.settings.device.id}")
            self._watch(supervisor, stop, notifier, tick)
        finally:
            supervisor.stop()
            self.delivery.stop(deadline_s=2.0)
            self._assembly.close()

    def _watch(self, supervisor: Supervisor, stop: Stop, notifier: Notifier, tick: Callable[[], None]) -> None:
        """The supervisor's own loop: watchdog pings while every heartbeat is fresh, health, the end of recordings."""
        due, before = 0.0, (self._why_unknown(), self.delivery.connected)
        while not stop.wait(TICK_S):
            tick()
            self.control.tick()
            self.panel.tick()
            self._post_state()
            self._keep_info()
            stale = supervisor.stale()
            if not stale:
                notifier.watchdog()
            now = self.clock.monotonic()
            # At once what changes, and on connecting: what was published then was true while there was no connection.
            known = (self._why_unknown(), self.delivery.connected)
            asked = now >= due or self._report_now.is_set() or known != before
            before = known
            if asked or self.board is not None:
                document = self._health(supervisor, stale)
                self._post(topics.HEALTH, document)
            if asked:
                self._report_now.clear()
                due = now + HEALTH_S
                self._publish_health(document, notifier)
            if self._taps and supervisor.finished([*self._taps, "vision", "audio"]):
                stop.request("end of the recording")

    def _why_unknown(self) -> dict[str, str]:
        """By device, why it tells nothing now; empty when it does."""
        return {name: self.panel.why_unknown(name) for name in SENSES}

    def _health(self, supervisor: Supervisor, stale: list[str]) -> dict[str, Any]:
        vitals = health.Vitals(
            uptime_s=self.clock.monotonic() - self._started,
            components=supervisor.health(),
            stale=stale,
            sources={name: tap.status for name, tap in self._taps.items()},
            plugins=self._assembly.plugins.reports(),
            process=process_use(),
            delivery=asdict(self.delivery.stats()),
            config_problem=self.config_problem,
            notices=[*self.notices, *([] if self.clock.synced() else [health.NO_CLOCK])],
            choice_problem=self.control.problem,
            schedule_problem=self.control.schedule_problem,
            unknown=self._why_unknown(),
            commands=self.panel.counts(),
            analyzers=self._assembly.timings(),
        )
        told: dict[str, Any] = self._redactor.texts(health.document(vitals))  # plugins and brokers say what they like
        return told

    def _publish_health(self, document: Mapping[str, Any], notifier: Notifier) -> None:
        self.delivery.publish_state(topics.HEALTH, document)
        wrong = document["problems"]
        why = self.panel.why_unknown("camera")
        doing = "watching" if why in ("", NONE) else f"not watching ({why})"
        notifier.status(wrong[0] if wrong else f"{doing} as {self.settings.device.id}")
        for line in wrong:
            if line not in self._last_problems and not line.startswith(health.LOGGED):  # those log their own failures
                log.warning("%s", line)
        self._last_problems = wrong

    def _post(self, kind: str, document: Mapping[str, Any]) -> None:
        if self.board is not None:
            self.board.post(kind, document)

    def _post_state(self) -> None:
        """The panel's state, when it is another one than before."""
        if self.board is not None:
            document = self.panel.document()
            if document != self.board.state(topics.STATE):
                self.board.post(topics.STATE, document)

    def _keep_info(self) -> None:
        """Publish ``info`` anew when an analyzer's status is another one than before: it crashed, for instance."""
        statuses = [(report.name, report.status) for report in self._assembly.plugins.reports()]
        if statuses != self._told_statuses:
            self._told_statuses = statuses
            self.delivery.update_info(self._assembly.info())

    def _components(self) -> list[Component]:
        parts = [Component("summariser", self._summarise, self._reports.close)]
        if self._microphone is not None:
            parts.append(Component("audio", self._listen, self._sound.close, STALE_S, expected=self._expected_s()))
            parts.append(self._microphone.component())
        if self._camera is not None:
            parts.append(Component("vision", self._look, self._frames.close, STALE_S, expected=self._expected_s()))
            parts.append(self._camera.component())
        return parts

    def _expected_s(self) -> float:
        """Seconds that one analyzer may usually take: it may ask its model several times, the self-check asks once."""
        return 4 * self._assembly.slowest_check_s

    # ------------------------------------------------------------------ stages

    def _look(self, beat: Beat, stop: Stop) -> None:
        self._vision.on_step = beat
        while not stop.requested:
            beat()
            try:
                frame = self._frames.get(1.0)
            except Closed:
                return
            if frame is None:
                continue
            self._adjust_vision()
            if self.preview is not None:
                self.preview.show(frame)
            report = self._vision.offer(frame, self._frames.take_lost())
            if report is not None:
                self._reports.put(replace(report, latency=max(0.0, self.clock.monotonic() - frame.time)))
                self._explain(report.time)

    def _explain(self, now: float) -> None:
        """Publish why the lane did what it did, at most once a second, when the config asks for it."""
        why, explain = self._vision.why, self.settings.pacing.explain
        if why is None or now - self._explained < 1.0 or not (explain or self.board):
            return
        self._explained = now
        document = why.document()
        self._post(topics.PACING, document)
        if explain:
            self.delivery.publish_state(topics.PACING, document, retain=False)

    def _adjust_vision(self) -> None:
        """What others asked of the lane, done on its own thread."""
        if self._new_stream.is_set():
            self._new_stream.clear()
            self._vision.reset()
        bounds, self._new_bounds = self._new_bounds, None
        if bounds is not None:
            self._vision.repace(bounds)

    def _listen(self, beat: Beat, stop: Stop) -> None:
        self._audio.on_step = beat
        while not stop.requested:
            beat()
            try:
                block = self._sound.get(1.0)
            except Closed:
                break
            if block is not None:
                lost = self._sound.take_lost() > 0  # sound that nobody had time for is a gap like any other
                self._reports.put(self._audio.offer(block, after_loss=lost))
        self._reports.put(self._audio.finish())

    def _summarise(self, beat: Beat, _stop: Stop) -> None:
        if self._summariser is None:  # kept over a restart of this component: its open window is not lost
            self._summariser = Summariser(
                self.clock,
                self.settings.summary.window_s,
                self._on_summary,
                self._on_event,
                self._usual.read(),
                self.settings.privacy.min_people,
                self._on_presence,
            )
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
                summariser.suspend(**self._why_unknown())
                if report is not None:
                    summariser.accept(report)
                    if self.people is not None and isinstance(report, VisionReport):
                        self.people.accept(report, self.clock.monotonic())
                summariser.tick()
                if self.people is not None:
                    self.people.tick(self.clock.monotonic())
                self._remember_usual(summariser)
        summariser.flush()
        self._on_presence(Presence(None, STOPPED))
        self._usual.keep(summariser.baseline, now=True)
        if self.history is not None:
            self._past.keep(self.history, now=True)

    def _remember_usual(self, summariser: Summariser) -> None:
        if self._forget_usual.is_set():
            self._forget_usual.clear()
            summariser.baseline = Baseline()
            self._usual.keep(summariser.baseline, now=True)
        else:
            self._usual.keep(summariser.baseline)

    def _on_summary(self, summary: Summary) -> None:
        self.delivery.submit_summary(summary)
        if self.board is not None:
            number, device = self.board.next_seq(), self.settings.device.id
            self.board.post("summary", summary_document(summary, device, self.boot_id, number))
        if self.history is not None:
            self.history.add(summary)
            self._past.keep(self.history)
        for rolled in self._rollup.add(summary):
            self.delivery.publish_rollup(rolled.summary, rolled.level, rolled.number)
        self._assembly.plugins.on_summary(summary)

    def _on_presence(self, presence: Presence) -> None:
        document = presence_document(presence, self.settings.device.id)
        self.delivery.publish_state(topics.PRESENCE, document)
        self._post(topics.PRESENCE, document)

    def _on_event(self, event: Event, start: float, clock: ClockState) -> None:
        self.delivery.submit_event(event, start, clock)
        if self.board is not None:
            number, device = self.board.next_seq(), self.settings.device.id
            self.board.post("event", event_document(event, start, clock, device, self.boot_id, number))
        self._assembly.plugins.on_event(event)
