"""Pipeline of the daemon: vision, audio and summary stages, each with its thread and its bounded hand-off.

Frames pass through a latest-only mailbox, sound through a bounded queue whose losses are counted; both lanes put their
reports into the queue of the summary stage.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from edge_agent.analysis.lanes import VisionLane
from edge_agent.analysis.pacing import Bounds
from edge_agent.app.builder import PipelineBuilder
from edge_agent.app.sound import AudioStage, Reports, SpeechStage
from edge_agent.capture import Demand, ReplayGroup, make_video
from edge_agent.control.sources import SourceController
from edge_agent.control.state import ControlState
from edge_agent.delivery import topics
from edge_agent.delivery.service import DeliveryService
from edge_agent.domain.clock import Clock
from edge_agent.domain.event import Event
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import AudioReport, SpeechReport, VisionReport
from edge_agent.domain.recognition import Naming
from edge_agent.domain.summary import STOPPED, ClockState, Presence, Summary
from edge_agent.live import EventBus, Live, People, Preview, history
from edge_agent.live.history import HistoryFile
from edge_agent.payloads.rendering import event_document, presence_document, summary_document
from edge_agent.plugin.manager import PluginManager
from edge_agent.runtime.lifecycle import Stop
from edge_agent.runtime.supervisor import Beat, Closed, Component, Mailbox
from edge_agent.settings import Settings
from edge_agent.summary.context import BASELINE_FILE, Baseline, BaselineFile
from edge_agent.summary.summariser import RollUp, Summariser

log = logging.getLogger(__name__)

REPORT_BACKLOG = 512
STALE_S = 30.0
"""Seconds without progress after which a lane counts as hung, at least; more on a machine that is slow."""
FLUSH_S = 8.0
"""Seconds that the open window may take to close when stopping: a starved machine needs them, others a moment."""
EXPLAIN_EVERY_S = 1.0
FRAME_EVERY_S = 1.0
"""Longest time for which the camera's thread may keep pictures to itself: a camera that stalls is noticed in time."""
REFRESH_S = 1.0
"""Seconds between two looks whether somebody was enrolled or forgotten."""

Unknown = Callable[[], Mapping[str, str]]
"""Returns, by device (``camera``, ``microphone``), why it tells nothing now; an empty reason when it does."""


class VisionStage:
    """Run the vision lane on frames of the camera. ``source`` is None without a camera or a picture analyzer.

    ``publish_pacing`` receives the document of the ``pacing`` topic, at most once a second; None: nobody reads it.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        builder: PipelineBuilder,
        lane: VisionLane,
        replays: ReplayGroup,
        reports: Reports,
        publish_pacing: Callable[[Mapping[str, Any]], None] | None,
    ) -> None:
        self._clock = clock
        self._lane = lane
        self._reports = reports
        self._publish_pacing = publish_pacing
        self._explained = float("-inf")
        self._frames: Mailbox[Frame] = Mailbox(1)
        self._new_stream = threading.Event()
        self._switched_off = threading.Event()
        self._people = builder.people
        self._refreshed = float("-inf")
        self._new_bounds: Bounds | None = None
        self._expected_s = builder.expected_s
        self._demand = Demand()
        self.preview: Preview | None = None
        plugins = builder.video_plugins()
        video = make_video(settings.camera, clock, plugins, replays, self._wants) if lane.wanted else None
        self.source = SourceController("camera", video, self._frames, self._begin_stream) if video else None
        self.preview = self._make_preview(settings)

    def _wants(self, moment: float) -> bool:
        """Whether a picture captured at ``moment`` is to be looked at, by the lane or by somebody at the preview."""
        return self._demand.wants(moment) or (self.preview is not None and self.preview.watched)

    def _begin_stream(self) -> None:
        self._new_stream.set()
        self._demand.at_once()

    def _make_preview(self, settings: Settings) -> Preview | None:
        source = self.source
        if source is None or not (settings.web.enabled and settings.web.preview):
            return None
        log.warning("web.preview is on: whoever knows the token of the web side can see what the camera sees")
        return Preview(self._clock, lambda: source.on)

    def apply(self, *, on: bool, bounds: Bounds) -> None:
        """Open or release the camera, and work at ``bounds`` from the next frame on.

        When it is released, the analyzers forget the faces they know.
        """
        if self.source is not None:
            if self.source.on and not on:
                self._switched_off.set()
            self.source.turn(on)
        if self.preview is not None and not on:
            self.preview.forget()
        self._new_bounds = bounds
        self._demand.at_once()

    def components(self) -> list[Component]:
        """The lane's thread and the camera's, downstream first."""
        if self.source is None:
            return []
        lane = Component("vision", self._run, self._frames.close, STALE_S, expected=self._expected_s)
        return [lane, self.source.component()]

    def _run(self, beat: Beat, stop: Stop) -> None:
        self._lane.on_step = beat
        while not stop.requested:
            beat()
            try:
                frame = self._frames.get(1.0)
            except Closed:
                return
            self._forget()
            if frame is None:
                continue
            self._adjust()
            if self.preview is not None:
                self.preview.show(frame)
            report = self._lane.offer(frame, self._frames.take_lost())
            self._demand.not_before(min(self._lane.due, frame.time + FRAME_EVERY_S))
            if report is not None:
                self._reports.put(replace(report, latency=max(0.0, self._clock.monotonic() - frame.time)))
                self._explain(report.time)

    def _forget(self) -> None:
        """Forget faces when the camera was switched off, and people who are no longer enrolled, within a second."""
        if self._switched_off.is_set():
            self._switched_off.clear()
            self._lane.forget()
        now = self._clock.monotonic()
        if self._people is not None and now - self._refreshed >= REFRESH_S:
            self._refreshed = now
            if self._people.refresh() and self._people.problem:
                log.warning("nobody is recognised: %s", self._people.problem)

    def _adjust(self) -> None:
        """Apply what other threads asked of the lane, on the lane's own thread."""
        if self._new_stream.is_set():
            self._new_stream.clear()
            self._lane.reset()
        bounds, self._new_bounds = self._new_bounds, None
        if bounds is not None:
            self._lane.repace(bounds)

    def _explain(self, now: float) -> None:
        """Publish the lane's decisions and their reasons."""
        why = self._lane.why
        if why is not None and self._publish_pacing is not None and now - self._explained >= EXPLAIN_EVERY_S:
            self._explained = now
            self._publish_pacing(why.document())


class SummaryStage:
    """Turn reports into summaries, events and presence, and pass them to delivery, plugins and local readers."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        reports: Reports,
        delivery: DeliveryService,
        hooks: PluginManager,
        unknown: Unknown,
        live: Live | None,
        boot_id: str,
        naming: Naming | None,
    ) -> None:
        self._naming = naming
        self._settings = settings
        self._clock = clock
        self._reports = reports
        self._delivery = delivery
        self._hooks = hooks
        self._unknown = unknown
        self._live = live
        self._boot_id = boot_id
        self._rollup = RollUp(settings.summary.rollups)
        self._summariser: Summariser | None = None
        self._forget_baseline = threading.Event()
        self._baseline_file = BaselineFile(settings.device.state_dir / BASELINE_FILE, clock)
        self._history_file = _history_file(settings, clock)

    def forget_baseline(self) -> None:
        """Learn anew what is usual at this place, from the next step on."""
        self._forget_baseline.set()

    def components(self) -> list[Component]:
        """The stage's thread."""
        return [Component("summariser", self._run, self._reports.close, stop_within=FLUSH_S, phase=1)]

    def _run(self, beat: Beat, _stop: Stop) -> None:
        if self._summariser is None:  # kept over a restart of this component: its open window is not lost
            self._summariser = self._make_summariser()
        summariser = self._summariser
        closed = False
        while not closed:
            beat()
            wait = min(1.0, max(0.0, summariser.due - self._clock.monotonic()))
            try:
                report = self._reports.get(wait)
            except Closed:
                closed = True
            else:
                self._step(summariser, report)
        summariser.flush()
        self._on_presence(Presence(None, STOPPED))
        self._baseline_file.keep(summariser.baseline, now=True)
        if self._live is not None:
            self._history_file.keep(self._live.history, now=True)

    def _make_summariser(self) -> Summariser:
        return Summariser(
            self._clock,
            self._settings.summary.window_s,
            self._on_summary,
            self._on_event,
            self._baseline_file.read(),
            self._settings.privacy.min_people,
            self._on_presence,
            self._naming,
        )

    def _step(self, summariser: Summariser, report: VisionReport | AudioReport | SpeechReport | None) -> None:
        people = self._live.people if self._live is not None else None
        summariser.suspend(**self._unknown())
        if report is not None:
            summariser.accept(report)
            if people is not None and isinstance(report, VisionReport):
                people.accept(report, self._clock.monotonic())
        summariser.tick()
        if people is not None:
            people.tick(self._clock.monotonic())
        self._keep_baseline(summariser)

    def _keep_baseline(self, summariser: Summariser) -> None:
        if self._forget_baseline.is_set():
            self._forget_baseline.clear()
            summariser.baseline = Baseline()
            self._baseline_file.keep(summariser.baseline, now=True)
        else:
            self._baseline_file.keep(summariser.baseline)

    def _on_summary(self, summary: Summary) -> None:
        self._delivery.submit_summary(summary)
        if self._live is not None:
            bus, device = self._live.bus, self._settings.device
            number = bus.next_seq()
            bus.publish("summary", summary_document(summary, device.id, self._boot_id, number, place=device.place))
            self._live.history.add(summary)
            self._history_file.keep(self._live.history)
        for rolled in self._rollup.add(summary):
            self._delivery.publish_rollup(rolled.summary, rolled.level, rolled.number)
        self._hooks.on_summary(summary)

    def _on_presence(self, presence: Presence) -> None:
        document = presence_document(presence, self._settings.device.id)
        self._delivery.publish_now(topics.PRESENCE, document)
        if self._live is not None:
            self._live.bus.publish(topics.PRESENCE, document)

    def _on_event(self, event: Event, start: float, clock: ClockState) -> None:
        self._delivery.submit_event(event, start, clock)
        if self._live is not None:
            bus, device = self._live.bus, self._settings.device
            number = bus.next_seq()
            bus.publish("event", event_document(event, start, clock, device.id, self._boot_id, number, device.place))
        self._hooks.on_event(event)


class Pipeline:
    """The three stages of one agent and the sources that feed them.

    ``bus`` is None where nobody reads on this machine; otherwise :attr:`live` is what the readers get.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        boot_id: str,
        builder: PipelineBuilder,
        delivery: DeliveryService,
        unknown: Unknown,
        bus: EventBus | None,
    ) -> None:
        vision, audio = builder.lanes(governor=builder.governor(clock))
        replays = ReplayGroup(clock)
        reports: Reports = Mailbox(REPORT_BACKLOG)
        pacing = _pacing_publisher(settings, delivery, bus)
        self.vision = VisionStage(settings, clock, builder, vision, replays, reports, pacing)
        lane = builder.speech_lane(tell=settings.privacy.publish_text)
        self.speech = SpeechStage(lane, clock, reports.put, builder.expected_s)
        self.audio = AudioStage(settings, clock, builder, audio, replays, reports, self.speech)
        self.live = None if bus is None else _live(settings, clock, boot_id, builder, bus, self.vision.preview)
        naming = _naming(settings, builder)
        self.summary = SummaryStage(
            settings, clock, reports, delivery, builder.plugins, unknown, self.live, boot_id, naming
        )

    @property
    def sources(self) -> Mapping[str, SourceController[Any]]:
        """Camera and microphone by name, as far as there are any."""
        return {s.name: s for s in (self.vision.source, self.audio.source) if s is not None}

    def apply(self, state: ControlState, bounds: Bounds) -> None:
        """Open and release devices as ``state`` says, and work at ``bounds``; returns quickly."""
        self.vision.apply(on=state.watching, bounds=bounds)
        self.audio.apply(on=state.listening)

    def components(self) -> list[Component]:
        """The threads of all stages, downstream first."""
        speech = self.speech.components() if self.audio.source is not None else []
        return [*self.summary.components(), *speech, *self.audio.components(), *self.vision.components()]


def _naming(settings: Settings, builder: PipelineBuilder) -> Naming | None:
    identity = settings.identity
    return Naming(builder.people.name, identity.publish_names, identity.join_emotion) if builder.people else None


def _history_file(settings: Settings, clock: Clock) -> HistoryFile:
    return HistoryFile(settings.device.state_dir / history.FILE, clock, settings.privacy.min_people)


def _live(
    settings: Settings, clock: Clock, boot_id: str, builder: PipelineBuilder, bus: EventBus, preview: Preview | None
) -> Live:
    named = People(builder.people.name) if builder.people is not None else People()
    people = named if settings.privacy.min_people < 2 else None
    past = _history_file(settings, clock).read()
    return Live(settings, clock, boot_id, builder.info, bus, past, people, preview)


def _pacing_publisher(
    settings: Settings, delivery: DeliveryService, bus: EventBus | None
) -> Callable[[Mapping[str, Any]], None] | None:
    explain = settings.pacing.explain
    if bus is None and not explain:
        return None

    def publish(document: Mapping[str, Any]) -> None:
        if bus is not None:
            bus.publish(topics.PACING, document)
        if explain:
            delivery.publish_state(topics.PACING, document, retain=False)

    return publish
