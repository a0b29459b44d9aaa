"""Health document: what works, what does not and why, as one JSON document for the ``health`` topic.

:func:`problems` and :func:`document` are pure; :class:`HealthReporter` gathers the parts and publishes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.app.builder import PipelineBuilder
from edge_agent.capture import SourceStatus
from edge_agent.control.mqtt import RemoteControl
from edge_agent.control.sources import SourceController
from edge_agent.control.state import Control
from edge_agent.delivery import topics
from edge_agent.delivery.diagnostics import DeliveryStats
from edge_agent.delivery.service import DeliveryService
from edge_agent.domain.clock import Clock
from edge_agent.domain.summary import MISSING, NONE, OFF, PAUSED, PRIVACY, SCHEDULE, STARTING
from edge_agent.domain.text import Redactor
from edge_agent.live import EventBus
from edge_agent.payloads.rendering import timestamp
from edge_agent.plugin.manager import PluginReport, Status
from edge_agent.plugin.running import Use
from edge_agent.plugin.spec import Kind
from edge_agent.runtime.lifecycle import Notifier
from edge_agent.runtime.machine import ProcessUse, process_use
from edge_agent.runtime.supervisor import ComponentHealth
from edge_agent.settings import Settings
from edge_agent.settings.secrets import known_secrets

log = logging.getLogger(__name__)

HEALTH_S = 30.0
"""Longest time between two messages on the health topic."""

PLUGIN = "plugin "
"""Prefix of the problem of a plugin."""

NO_CONNECTION = "mqtt: no connection: "
LOGGED = (PLUGIN, NO_CONNECTION)
"""Prefixes of problems that are logged where they occur."""

NO_CLOCK = "clock: not synchronised: times are marked so, and nothing enters the history (device.trust_clock)"
"""Notice while the device does not know the time."""

CHOSEN = frozenset({OFF, PAUSED, PRIVACY, SCHEDULE})
"""Reasons for which a source is switched off."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Input of the health document. ``delivery`` are the figures of the outbox and the connection.

    ``notices`` are no problems, but must be known. ``unknown`` is, by source, the reason why there is nothing to see or
    hear, one of :mod:`edge_agent.domain.summary`: only a missing source is a problem. ``commands`` counts by outcome.
    ``at`` is wall time, None while the clock is not synchronised.
    """

    uptime_s: float
    components: Sequence[ComponentHealth]
    stale: Sequence[str]
    sources: Mapping[str, SourceStatus]
    plugins: Sequence[PluginReport]
    process: ProcessUse
    delivery: Mapping[str, Any]
    config_problem: str = ""
    notices: Sequence[str] = ()
    choice_problem: str = ""
    schedule_problem: str = ""
    unknown: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, int] = field(default_factory=dict)
    analyzers: Mapping[str, tuple[Kind, Use]] = field(default_factory=dict)
    speech: Mapping[str, float] | None = None
    at: float | None = None
    events: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


SLOW_S, SLOW_SHARE = 0.5, 0.5
"""A picture analyzer whose answers take this long and this share of the time keeps looks below two a second."""
DEAF_SHARE = 0.8
"""A sound analyzer that takes this share of the time falls behind the sound sooner or later."""


def _starving(name: str, kind: Kind, use: Use) -> list[str]:
    """The problem of an analyzer that uses the time of the others, if it does."""
    sound = kind in (Kind.AUDIO, Kind.SPEECH, Kind.TEXT)
    if use.share < (DEAF_SHARE if sound else SLOW_SHARE) or (not sound and use.mean_s < SLOW_S):
        return []
    lane = (
        "sound is lost"
        if kind is Kind.AUDIO
        else "words are lost"
        if sound
        else "pictures and the other analyzers wait for it"
    )
    remedy = "give its spec a max_fps, or switch it off" if not sound else "switch it off"
    return [f"{PLUGIN}{name}: slow: {use.mean_s:.2g} s a call, {use.share:.0%} of the time; {lane}: {remedy}"]


def problems(vitals: Vitals) -> list[str]:
    """One line for everything that is not as it should be; empty when all is well."""
    found = [f"config: {line}" for line in vitals.config_problem.splitlines()]
    if vitals.choice_problem:
        found.append(f"choices: {vitals.choice_problem}")
    if vitals.schedule_problem:
        found.append(f"schedule: {vitals.schedule_problem}")
    found += [f"{name}: no heartbeat" for name in vitals.stale]
    found += [
        f"{name}: {s.error or 'not available'}"
        for name, s in vitals.sources.items()
        if vitals.unknown.get(name) == MISSING
    ]
    found += [
        f"{PLUGIN}{r.name}: {r.status.value}: {r.told}"
        for r in vitals.plugins
        if r.status not in (Status.ENABLED, Status.DISABLED)
    ]
    found += [line for name, (kind, use) in vitals.analyzers.items() for line in _starving(name, kind, use)]
    found += _delivery_problems(vitals.delivery)
    use = vitals.process
    if use.descriptors is not None and use.descriptors > 0.8 * use.descriptor_limit:
        found.append(f"process: {use.descriptors} of {use.descriptor_limit} file descriptors in use")
    if use.rss_mb is not None and use.rss_mb > 0.8 * use.memory_limit_mb:
        found.append(f"process: {use.rss_mb:.0f} of {use.memory_limit_mb:.0f} MB of memory in use")
    return found


def _delivery_problems(figures: Mapping[str, Any]) -> list[str]:
    """Problems of outbox, connection and sinks; why there is no connection, for readers on the device."""
    outbox = figures.get("outbox") or {}
    found = [f"outbox: {outbox['degraded']}: messages are held in memory"] if outbox.get("degraded") else []
    if figures.get("client_id_in_use"):
        found.append("mqtt: another client uses our client id: give each device its own device.id or mqtt.client_id")
    if figures.get("enabled") and figures.get("trouble") and not figures.get("connected"):
        found.append(f"{NO_CONNECTION}{figures['trouble']}")
    found += [f"mqtt: {line}" for line in (*figures.get("refusals", ()), *figures.get("namesakes", ()))]
    sinks = figures.get("sinks", {})
    return found + [f"sink {name}: {sink['trouble']}" for name, sink in sinks.items() if sink["trouble"]]


def document(vitals: Vitals) -> dict[str, Any]:
    """The document as published; ``status`` is ``ok``, ``starting`` while a source is being opened, or ``degraded``."""
    wrong = problems(vitals)
    use = vitals.process
    return {
        "v": 1,
        "status": "degraded" if wrong else "starting" if STARTING in vitals.unknown.values() else "ok",
        "problems": wrong,
        **({} if vitals.at is None else {"at": timestamp(vitals.at)}),
        **({"notices": list(vitals.notices)} if vitals.notices else {}),
        "uptime_s": round(vitals.uptime_s),
        "components": {c.name: {"alive": c.alive, "restarts": c.restarts} for c in vitals.components},
        "analyzers": {
            name: {
                "calls": use.calls,
                "mean_ms": round(1000 * use.mean_s, 1),
                "slowest_ms": round(1000 * use.slowest_s, 1),
                "share": round(use.share, 3),
            }
            for name, (_, use) in vitals.analyzers.items()
        },
        **({"speech": dict(vitals.speech)} if vitals.speech is not None else {}),
        "replaced": {r.name: r.replaced for r in vitals.plugins if r.replaced},
        "sources": {
            n: {"available": s.available, "reopens": s.reopens, "off": why in CHOSEN, "unknown": why or None}
            for n, s in vitals.sources.items()
            for why in (vitals.unknown.get(n, ""),)
        },
        "delivery": dict(vitals.delivery),
        "commands": dict(vitals.commands),
        **({"events": {kind: dict(labels) for kind, labels in vitals.events.items()}} if vitals.events else {}),
        "process": {
            "rss_mb": None if use.rss_mb is None else round(use.rss_mb, 1),
            "cpu_s": round(use.cpu_s, 1),
            "descriptors": use.descriptors,
            "temperature_c": use.temperature_c,
        },
    }


def _second_choice(delivery: DeliveryStats) -> list[str]:
    """The notice that another than the first broker is in use."""
    return [f"mqtt: connected to {delivery.broker}, no. {delivery.rank + 1} of mqtt.hosts"] if delivery.rank else []


class HealthReporter:
    """Publish the ``health`` document when it is due, when it was asked for, and at once when a source or the
    connection changed; publish ``info`` when the status of an analyzer changed."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        builder: PipelineBuilder,
        control: Control,
        remote: RemoteControl,
        sources: Mapping[str, SourceController[Any]],
        delivery: DeliveryService,
        bus: EventBus | None,
        speech: Callable[[], Mapping[str, float] | None] = lambda: None,
    ) -> None:
        self._speech = speech
        self._device = settings.device.id
        self._clock = clock
        self._builder = builder
        self._control = control
        self._remote = remote
        self._sources = sources
        self._delivery = delivery
        self._bus = bus
        self._redactor = Redactor(known_secrets("", settings))
        self._started = clock.monotonic()
        self._asked = threading.Event()
        self._due = float("-inf")
        self._before: object = None
        self._last_problems: Sequence[str] = ()
        self._statuses = self._analyzer_statuses()
        self._config_problem = ""
        self.notices: Sequence[str] = ()
        """What the reader of the health topic must know though nothing is wrong."""

    @property
    def config_problem(self) -> str:
        """Why the last reload was refused; empty when it was not. A change is published at once."""
        return self._config_problem

    @config_problem.setter
    def config_problem(self, text: str) -> None:
        if text != self._config_problem:
            self._config_problem = text
            self.request()

    def request(self) -> None:
        """Publish at the next tick; any thread may call it."""
        self._asked.set()

    def tick(self, components: Sequence[ComponentHealth], stale: Sequence[str], notifier: Notifier) -> None:
        """Publish what is due; to be called about twice a second."""
        self._publish_info()
        now = self._clock.monotonic()
        # Also on connecting: what was published before was true while there was no connection.
        known = (self._remote.unknown(), self._delivery.connected)
        due = now >= self._due or self._asked.is_set() or known != self._before
        self._before = known
        if not (due or self._bus is not None):
            return
        told = self._document(components, stale)
        if self._bus is not None:
            self._bus.publish(topics.HEALTH, told)
        if due:
            self._asked.clear()
            self._due = now + HEALTH_S
            self._publish(told, notifier)

    def _document(self, components: Sequence[ComponentHealth], stale: Sequence[str]) -> dict[str, Any]:
        delivery = self._delivery.stats()
        vitals = Vitals(
            uptime_s=self._clock.monotonic() - self._started,
            components=components,
            stale=stale,
            sources={name: source.status for name, source in self._sources.items()},
            plugins=self._builder.plugins.reports(),
            process=process_use(),
            delivery=delivery.document(),
            config_problem=self._config_problem,
            notices=[*self.notices, *([] if self._clock.synced() else [NO_CLOCK]), *_second_choice(delivery)],
            choice_problem=self._control.problem,
            schedule_problem=self._control.schedule_problem,
            unknown=self._remote.unknown(),
            commands=self._remote.counts(),
            analyzers=self._builder.timings(),
            speech=self._speech(),
            events=self._delivery.events.counts(),
            at=self._clock.wall() if self._clock.synced() else None,
        )
        redacted: dict[str, Any] = self._redactor.texts(
            document(vitals)
        )  # texts of plugins and brokers may hold secrets
        return redacted

    def _publish(self, told: Mapping[str, Any], notifier: Notifier) -> None:
        self._delivery.publish_state(topics.HEALTH, told, expires=True)
        wrong = told["problems"]
        why = self._remote.why_unknown("camera")
        doing = "watching" if why in ("", NONE) else f"not watching ({why})"
        notifier.status(wrong[0] if wrong else f"{doing} as {self._device}")
        for line in wrong:
            if line not in self._last_problems and not line.startswith(LOGGED):
                log.warning("%s", line)
        self._last_problems = wrong

    def _publish_info(self) -> None:
        statuses = self._analyzer_statuses()
        if statuses != self._statuses:
            self._statuses = statuses
            self._delivery.update_info(self._builder.info())

    def _analyzer_statuses(self) -> list[tuple[str, Status]]:
        return [(report.name, report.status) for report in self._builder.plugins.reports()]
