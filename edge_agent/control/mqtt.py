"""MQTT side of runtime control: the ``state`` topic, commands and Home Assistant discovery, put together.

The topics of discovery messages are kept in the state directory, so that the next start removes the entities that a
changed config no longer has (another discovery style, another device id, ``enabled = false``).

It owns no policy: overrides are :class:`~edge_agent.control.state.Control`'s, checks of senders
:class:`~edge_agent.delivery.commands.CommandServer`'s. Nothing is subscribed unless the config enables it.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from edge_agent import __version__
from edge_agent.control.commands import Actions, CommandHandlers
from edge_agent.control.sources import SourceController
from edge_agent.control.state import Control
from edge_agent.delivery import home_assistant, topics
from edge_agent.delivery.commands import CommandServer
from edge_agent.delivery.home_assistant_sensors import Described
from edge_agent.delivery.link import Handler, InboundMessage
from edge_agent.delivery.service import DeliveryService
from edge_agent.domain.clock import Clock
from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, RECOGNISED, UTTERANCE
from edge_agent.domain.files import replace_durably
from edge_agent.domain.summary import MISSING, NONE
from edge_agent.plugin.spec import AnalyzerSpec
from edge_agent.runtime.machine import process_use
from edge_agent.runtime.updates import UpdateCheck
from edge_agent.settings import Settings
from edge_agent.settings.secrets import chosen_options, config_digest

log = logging.getLogger(__name__)

DeviceState = Literal["on", "off", "pending", "missing", "none"]

SENSES = {"camera": "people", "microphone": "sounds"}
"""Field of ``unknown`` in the ``state`` document, by device."""

OWN_KINDS = frozenset({ARRIVAL, BURST, DEPARTURE, RECOGNISED, UTTERANCE})
"""Kinds of events that have entities of their own, or none."""

FILE = "home-assistant.json"
CONFIG_PUBLISHED = "config-published"
"""File that marks that the options were published once."""

BIRTH = b"online"

SPREAD_S = 5.0
"""After a birth message devices publish at a random moment within this time, so that not all publish at once."""

SETTLED_S = 60.0
"""After this long on one connection the broker has deleted the withdrawn topics."""


class RemoteControl:
    """Connect ``control`` and the ``sources`` to MQTT through ``delivery``. ``analyzers``: specs of those that run.

    ``report`` has health published now, ``resets`` restart things besides the streams, ``reload`` reads the config;
    ``enrolled`` are the names of the enrolled people, where they may be published; ``updates`` looks for newer packages
    where the agent comes from one.
    :attr:`handlers` performs commands that arrive in other ways.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        control: Control,
        sources: Mapping[str, SourceController[Any]],
        delivery: DeliveryService,
        analyzers: Sequence[AnalyzerSpec],
        report: Callable[[], None],
        resets: Mapping[str, Callable[[], None]],
        reload: Callable[[], None] | None,
        enrolled: Sequence[str] = (),
        updates: UpdateCheck | None = None,
    ) -> None:
        self._enrolled = enrolled
        self._updates = updates
        self._settings = settings
        self._control = control
        self._sources = sources
        self._delivery = delivery
        self._shown: Mapping[str, Any] = {}
        self.handlers = CommandHandlers(
            control, Actions(self.document, report, self._settle, {"stream": self._reset_stream} | dict(resets), reload)
        )
        self._commands = CommandServer(
            settings.commands, delivery.topics, self.handlers.names, self.handlers.perform, delivery, clock
        )
        self._announcer = Announcer(
            self._announcement(analyzers) if settings.home_assistant.enabled else {},
            topics.birth(settings.home_assistant.prefix),
            delivery,
            settings.device.state_dir,
            clock,
        )

    def start(self) -> None:
        """Publish the state, subscribe to commands and publish discovery, as far as the config enables them."""
        self.tick()
        if self._settings.commands.enabled:
            self._delivery.subscribe(self._commands.filter, self._commands.handle)
        if self._settings.mqtt.enabled:
            self._publish_config()
            self._announcer.start()

    def _publish_config(self) -> None:
        """Publish the chosen options if the config says so; else remove what an earlier run published."""
        device = self._settings.device
        marker = device.state_dir / CONFIG_PUBLISHED
        if device.publish_config:
            options = chosen_options(self._settings)
            digest = config_digest(options)["hash"]
            try:  # first the mark: what is published without it would stay when the option is switched off
                replace_durably(marker, b"", 0o644)
            except OSError as error:
                log.warning("device.publish_config: nothing is published: %s: %s", marker, error.strerror)
                return
            document = {"v": 1, "device": device.id, "hash": digest, "options": options}
            self._delivery.publish_state(topics.CONFIG, document)
        elif marker.exists():
            self._delivery.publish_state(topics.CONFIG, b"")

    def tick(self) -> None:
        """Publish the state if it changed, and discovery when it is due; to be called about once a second."""
        document = self.document()
        if document != self._shown:
            self._shown = document
            self._delivery.publish_state(topics.STATE, document)
        if self._settings.mqtt.enabled:
            self._announcer.tick(connected=self._delivery.connected)
        self._look_for_updates()

    def close(self) -> None:
        """End what still runs beside the agent."""
        if self._updates is not None:
            self._updates.close()

    def counts(self) -> dict[str, int]:
        """Number of commands by outcome."""
        return self._commands.counts()

    def why_unknown(self, device: str) -> str:
        """Why ``device`` (camera or microphone) yields nothing now: a reason of :mod:`edge_agent.domain.summary`, or
        empty when it does."""
        source = self._sources.get(device)
        if source is None:
            return NONE
        return self._control.state.why_off("camera" if device == "camera" else "microphone") or source.why_not

    def unknown(self) -> dict[str, str]:
        """By device, the reason of :meth:`why_unknown`."""
        return {name: self.why_unknown(name) for name in SENSES}

    def document(self) -> dict[str, Any]:
        """The document of the ``state`` topic: what is chosen, and what is in force."""
        state = self._control.state
        devices = {name: self._device(name) for name in SENSES}
        released = all(value in ("off", "none") for value in devices.values())
        return {
            "v": 1,
            "device": self._settings.device.id,
            "privacy": ("on" if released else "pending") if state.private else "off",
            "scheduled": state.scheduled,
            **devices,
            **self._control.document(),
            "unknown": {sense: self.why_unknown(name) or None for name, sense in SENSES.items()},
            "last_command": self._commands.last,
        }

    def _look_for_updates(self) -> None:
        if self._updates is None or (versions := self._updates.tick()) is None:
            return
        latest = {"latest_version": versions.latest} if versions.latest is not None else {}
        document = {"v": 1, "device": self._settings.device.id, "installed_version": versions.installed, **latest}
        self._delivery.publish_state(topics.UPDATE, document)

    def _device(self, name: str) -> DeviceState:
        source = self._sources.get(name)
        if source is None:
            return "none"
        if source.on:
            return "missing" if source.why_not == MISSING else "on"
        return "off" if source.released else "pending"

    def _settle(self, seconds: float) -> bool:
        """Whether every device that is switched off was released, each within ``seconds``."""
        return all(source.wait_released(seconds) for source in self._sources.values() if not source.on)

    def _reset_stream(self) -> None:
        for source in self._sources.values():
            source.cycle()

    def _announcement(self, analyzers: Sequence[AnalyzerSpec]) -> dict[str, bytes]:
        settings, limits = self._settings, self._control.limits
        names = {spec.name for spec in analyzers}
        described = Described(
            id=settings.device.id,
            name=settings.device.name or settings.device.id,
            version=__version__,
            topics=self._delivery.topics,
            window_s=settings.summary.window_s,
            camera="camera" in self._sources,
            microphone="microphone" in self._sources,
            attention="attention" in names,
            words={"speech", "language"} <= names,
            voice="voice" in names,
            commands=settings.commands.allow if settings.commands.enabled else (),
            ranges={"max_fps": (limits.least_fps, limits.most_fps)},
            temperature=process_use().temperature_c is not None,
            url=_dashboard(settings),
            area=settings.home_assistant.area or settings.device.site,
            measures=[measure for spec in analyzers for measure in spec.measures],
            events={
                kind: labels for spec in analyzers for kind, labels in spec.events.items() if kind not in OWN_KINDS
            },
            enrolled=self._enrolled,
            language=settings.home_assistant.language,
            identity=any(spec.identifies for spec in analyzers),
            packaged=self._updates is not None,
        )
        return home_assistant.messages(described, settings.home_assistant.discovery, settings.home_assistant.prefix)


def _dashboard(settings: Settings) -> str | None:
    """Address of the dashboard for other machines; None when it is local only or its address is not known."""
    web, told = settings.web, settings.home_assistant.dashboard_url
    if told or not web.enabled or web.loopback or web.host in ("0.0.0.0", "::"):
        return told
    host = f"[{web.host}]" if ":" in web.host else web.host
    return f"http://{host}:{web.port}/"


class Publisher(Protocol):
    """Delivery as the announcer uses it; topics are full topics."""

    def publish_state(self, topic: str, payload: bytes, *, retain: bool = True, absolute: bool = False) -> None:
        """Publish now, and again after every reconnect."""
        ...

    def refresh_state(self, topic: str) -> None:
        """Publish the present value again."""
        ...

    def forget_state(self, topic: str) -> None:
        """Stop publishing ``topic`` after reconnects."""
        ...

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        """Subscribe to ``topic_filter``."""
        ...


class Announcer:
    """Publisher of the discovery ``messages``, payloads by full topic; without any it only removes earlier ones."""

    def __init__(
        self, messages: Mapping[str, bytes], birth_topic: str, publisher: Publisher, folder: Path, clock: Clock
    ) -> None:
        self._messages = messages
        self._birth_topic = birth_topic
        self._publisher = publisher
        self._path = folder / FILE
        self._clock = clock
        self._again_at: float | None = None
        self._withdrawn: list[str] = []
        self._connected_since: float | None = None

    def start(self) -> None:
        """Publish the discovery messages, and remove those of an earlier run that are no longer among them."""
        earlier = self._remembered()
        self._withdrawn = [topic for topic in earlier if topic not in self._messages]
        for topic in self._withdrawn:
            self._publisher.publish_state(topic, b"", absolute=True)
        for topic, payload in self._messages.items():
            self._publisher.publish_state(topic, payload, absolute=True)
        if self._messages:
            self._publisher.subscribe(self._birth_topic, self._on_birth)
        self._remember([*self._messages, *self._withdrawn], earlier)

    def tick(self, *, connected: bool) -> None:
        """Publish again after a birth message, and forget removed topics; to be called about once a second."""
        now = self._clock.monotonic()
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            for topic in self._messages:
                self._publisher.refresh_state(topic)
        self._settle(now, connected)

    def _on_birth(self, message: InboundMessage) -> None:
        # A retained birth message arrives after our own connect, when everything is published anyway.
        if message.payload == BIRTH and not message.retain:
            self._again_at = self._clock.monotonic() + random.uniform(0.0, SPREAD_S)

    def _settle(self, now: float, connected: bool) -> None:
        """Forget removed topics once the broker has deleted them: another device may use them later."""
        if not self._withdrawn:
            return
        if not connected:
            self._connected_since = None
        elif self._connected_since is None:
            self._connected_since = now
        elif now - self._connected_since >= SETTLED_S:
            for topic in self._withdrawn:
                self._publisher.forget_state(topic)
            self._remember(list(self._messages), [*self._messages, *self._withdrawn])
            self._withdrawn = []

    def _remembered(self) -> list[str]:
        try:
            topics = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return []
        return [str(topic) for topic in topics] if isinstance(topics, list) else []

    def _remember(self, topics: Collection[str], before: Collection[str]) -> None:
        if set(topics) == set(before):
            return
        try:
            replace_durably(self._path, json.dumps(sorted(topics)).encode())
        except OSError as error:
            log.warning("%s: cannot be written (%s): old entities may stay in Home Assistant", self._path, error)
