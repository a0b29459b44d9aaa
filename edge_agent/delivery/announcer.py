"""Publish and remove Home Assistant discovery: after every reconnect, and again on Home Assistant's birth message.

The topics of discovery messages are kept in the state directory, so that the next start removes the entities that a
changed config no longer has (another discovery style, another device id, ``enabled = false``).
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from edge_agent.delivery.link import Handler, InboundMessage
from edge_agent.domain.clock import Clock
from edge_agent.domain.files import replace_durably

log = logging.getLogger(__name__)

FILE = "home-assistant.json"
BIRTH = b"online"

SPREAD_S = 5.0
"""After a birth message devices publish at a random moment within this time, so that not all publish at once."""

SETTLED_S = 60.0
"""After this long on one connection the broker has deleted the withdrawn topics."""


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
