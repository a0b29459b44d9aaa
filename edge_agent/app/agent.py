"""Life of the agent: start capture, analysis, summary and delivery as supervised threads, and stop them in order.

Started downstream first and stopped upstream first: sources and lanes together, then the summary with the open window,
then what runs beside the agent. ``run`` returns when a stop is requested or when every source was a
recording that is over; the open window is flushed on the way out.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence

from edge_agent.app.builder import PipelineBuilder
from edge_agent.app.health import HealthReporter
from edge_agent.app.pipeline import Pipeline
from edge_agent.control import state as overrides
from edge_agent.control.commands import CommandHandlers
from edge_agent.control.mqtt import RemoteControl
from edge_agent.control.state import Control, ControlState, OverridesFile
from edge_agent.delivery import topics
from edge_agent.delivery.service import DeliveryService
from edge_agent.domain.clock import Clock, SystemClock
from edge_agent.live import EventBus, Live
from edge_agent.runtime.lifecycle import Notifier, Stop
from edge_agent.runtime.machine import sync_probe
from edge_agent.runtime.supervisor import Component, Supervisor
from edge_agent.runtime.updates import UpdateCheck, from_package
from edge_agent.settings import Settings
from edge_agent.summary.summariser import merge_summaries

log = logging.getLogger(__name__)

TICK_S = 0.5
STOPPING_S = 20.0
"""Seconds that each step of a stop asks of systemd."""

Companions = Callable[[Live | None, CommandHandlers], Sequence[Component]]
"""Makes the components beside an agent on its own machine: the web side, the worker of batch jobs."""


class Agent:
    """Run the pipeline of one camera and one microphone, with its control. ``builder`` must already be activated.

    ``reload`` asks for the config to be read again; without it that command is refused. With a ``bus`` there is a
    :attr:`live` view, which the ``companions`` (started first, stopped last) are given.
    """

    def __init__(
        self,
        settings: Settings,
        builder: PipelineBuilder,
        clock: Clock | None = None,
        reload: Callable[[], None] | None = None,
        bus: EventBus | None = None,
        companions: Companions = lambda _live, _handlers: (),
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock(sync_probe(settings.device.trust_clock))
        self._builder = builder
        self._companions = companions
        boot_id = secrets.token_hex(4)
        self.delivery = DeliveryService(settings, self.clock, boot_id, builder.info(), merge_summaries, builder.sinks())
        self._pipeline = Pipeline(settings, self.clock, boot_id, builder, self.delivery, self._unknown, bus)
        self.live = self._pipeline.live
        self._log_level = settings.log.level
        self.control = Control(settings, self.clock, OverridesFile(settings.device.state_dir / overrides.FILE))
        self.remote = RemoteControl(
            settings,
            self.clock,
            self.control,
            self._pipeline.sources,
            self.delivery,
            builder.specs(),
            self._report,
            {"baseline": self._pipeline.summary.forget_baseline},
            reload,
            _published_names(settings, builder),
            UpdateCheck(self.clock) if settings.mqtt.enabled and from_package() else None,
        )
        self.health = HealthReporter(
            settings,
            self.clock,
            builder,
            self.control,
            self.remote,
            self._pipeline.sources,
            self.delivery,
            bus,
            self._pipeline.speech.document,
        )

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
            self.control.listen(self._apply)
            self.remote.start()
            companions = self._companions(self.live, self.remote.handlers)
            supervisor.start([*companions, *self._pipeline.components()])
            notifier.ready(f"watching as {self.settings.device.id}")
            self._watch(supervisor, stop, notifier, tick)
        finally:
            # Where a step takes seconds, TimeoutStopSec would end the agent before its open window is stored.
            supervisor.stop(lambda: notifier.extend(STOPPING_S))
            self.remote.close()
            notifier.extend(STOPPING_S)
            self.delivery.stop(deadline_s=2.0)
            notifier.extend(STOPPING_S)
            self._builder.close()

    def _watch(self, supervisor: Supervisor, stop: Stop, notifier: Notifier, tick: Callable[[], None]) -> None:
        """Ping the watchdog while every heartbeat is fresh, publish state and health, notice the end of recordings."""
        sources = self._pipeline.sources
        while not stop.wait(TICK_S):
            tick()
            self.control.tick()
            self.remote.tick()
            self._post_state()
            stale = supervisor.stale()
            if not stale:
                notifier.watchdog()
            self.health.tick(supervisor.health(), stale, notifier)
            if sources and supervisor.finished([*sources, "vision", "audio", "speech"]):
                stop.request("end of the recording")

    def _apply(self, state: ControlState) -> None:
        """Apply the runtime overrides in ``state``; called by the control on every change, returns quickly."""
        self._pipeline.apply(state, self.control.bounds())
        if state.log_level != self._log_level:  # whoever started the agent has set the configured level
            self._log_level = state.log_level
            logging.getLogger().setLevel(state.log_level.upper())

    def _unknown(self) -> Mapping[str, str]:
        return self.remote.unknown()  # the pipeline is made before the remote control

    def _report(self) -> None:
        self.health.request()  # the reporter is made after the remote control

    def _post_state(self) -> None:
        """Publish the ``state`` document on the event bus when it changed."""
        if self.live is not None:
            document = self.remote.document()
            if document != self.live.bus.state(topics.STATE):
                self.live.bus.publish(topics.STATE, document)


def _published_names(settings: Settings, builder: PipelineBuilder) -> tuple[str, ...]:
    """Names that may leave the device; others are not even decoded, so that they can be forgotten whole."""
    return builder.people.names if builder.people is not None and settings.identity.publish_names else ()
