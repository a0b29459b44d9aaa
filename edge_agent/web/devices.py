"""List of the devices that publish to the same broker, from their retained messages.

Asked for by the dashboard: a connection of a few moments with a client id of its own, at most once in
:data:`KEPT_S`. Nothing is published. What others may know of a device is what it publishes itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, Field

from edge_agent.delivery import topics
from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.mqtt import listening
from edge_agent.domain.clock import Clock
from edge_agent.domain.text import printable
from edge_agent.settings import MqttSettings

KEPT_S = 30.0
"""Seconds for which an answer is good."""
WAIT_S, QUIET_S = 4.0, 0.5
"""Longest wait for retained messages, and the silence after which all have come."""
MOST = 500
"""Devices listed at most."""
_KINDS = (topics.STATUS, topics.INFO, topics.HEALTH, topics.PRESENCE)


class DeviceEntry(BaseModel):
    """One device of the broker."""

    device: str = Field(description="device.id of its config.")
    name: str = Field(description="Its name, else the id.")
    online: bool = Field(description="Whether it is connected to the broker.")
    people: int | None = Field(ge=0, description="People in view now; null when unknown or offline.")
    problems: int = Field(ge=0, description="Problems in its latest health message.")
    version: str | None = Field(description="Version of edge-agent; null when it has not said.")


class DeviceList(BaseModel):
    """Devices by name, and why others are not known; null when all that publish are."""

    devices: list[DeviceEntry]
    unknown: str | None


class Devices:
    """Ask the broker of ``mqtt`` about every device; thread-safe."""

    def __init__(self, mqtt: MqttSettings, clock: Clock) -> None:
        self._mqtt = mqtt
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[float, DeviceList] | None = None

    def listed(self) -> DeviceList:
        """Return the devices; blocks for up to :data:`WAIT_S` when the last answer is too old."""
        with self._lock:
            now = self._clock.monotonic()
            if self._known is None or now - self._known[0] > KEPT_S:
                self._known = now, self._ask()
            return self._known[1]

    def _ask(self) -> DeviceList:
        if not self._mqtt.enabled:
            return DeviceList(devices=[], unknown=None)
        found: dict[str, dict[str, Any]] = {}
        news, trouble = threading.Event(), [""]

        def heard(message: InboundMessage) -> None:
            if message.retain:
                _note(found, topics.split(self._mqtt.prefix, message.topic), message.payload)
                news.set()

        def lost(reason: str) -> None:
            trouble[0] = reason

        with listening(self._mqtt, topics.of_device(self._mqtt.prefix, "+"), heard, lost):
            _settle(news, self._clock.monotonic)
        unknown = None if found else trouble[0] or "the broker told of no device; its access rules may forbid it"
        entries = sorted((_entry(device, told) for device, told in found.items()), key=lambda e: (e.name, e.device))
        return DeviceList(devices=entries[:MOST], unknown=unknown)


def _settle(news: threading.Event, now: Callable[[], float]) -> None:
    """Wait for the first message, and then until none has come for :data:`QUIET_S`."""
    end = now() + WAIT_S
    wait = WAIT_S
    while now() < end and news.wait(min(wait, end - now())):
        news.clear()
        wait = QUIET_S


def _note(found: dict[str, dict[str, Any]], where: tuple[str, str] | None, payload: bytes) -> None:
    """Keep what a message says, if it is one that a device publishes about itself."""
    if where is None or where[1] not in _KINDS:
        return
    device, kind = where
    try:
        told = payload.decode() if kind == topics.STATUS else json.loads(payload)
    except (ValueError, RecursionError):
        return
    if isinstance(told, str if kind == topics.STATUS else dict):
        found.setdefault(device, {})[kind] = told


def _entry(device: str, told: Mapping[str, Any]) -> DeviceEntry:
    info, health, presence = (told.get(kind, {}) for kind in (topics.INFO, topics.HEALTH, topics.PRESENCE))
    online = told.get(topics.STATUS, "").encode() == topics.ONLINE
    name, version, count, problems = (
        info.get("name"),
        info.get("version"),
        presence.get("count"),
        health.get("problems"),
    )
    return DeviceEntry(
        device=device,
        name=printable(name, lines=False) if isinstance(name, str) and name else device,
        online=online,
        people=count if online and type(count) is int and count >= 0 else None,
        problems=len(problems) if online and isinstance(problems, list) else 0,
        version=version if isinstance(version, str) else None,
    )
