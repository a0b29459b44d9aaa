"""What the broker turned down and who else publishes on our topics, as lines for people on ``health``. Pure.

Time is given by the caller in monotonic seconds. One thread writes; lines may be read from any.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from edge_agent.delivery import topics
from edge_agent.delivery.link import InboundMessage, reason

REMEMBERED_S = 900.0
"""What happened once (a connection refused, a message turned down for good) is told for this long."""

KEPT = 32

Lines = tuple[str, ...]


class Refusals:
    """What the broker refused: until it is accepted, or for :data:`REMEMBERED_S` where nothing can end it."""

    def __init__(self) -> None:
        self._standing: dict[str, str] = {}
        self._once: dict[str, float] = {}

    def publish(self, topic: str, code: int) -> None:
        """Messages on ``topic`` are turned down at present."""
        self._standing[f"publish {topic}"] = f"the broker refuses {topic}: {reason(code)}"

    def subscription(self, topic_filter: str, code: int) -> None:
        """The subscription to ``topic_filter`` was refused, or (below 0x80) granted."""
        self._standing.pop(f"subscribe {topic_filter}", None)
        if code >= 0x80:
            line = f"the broker refuses the subscription to {topic_filter}: {reason(code)}"
            self._standing[f"subscribe {topic_filter}"] = line

    def accepted(self, topic: str) -> None:
        """A message on ``topic`` was taken."""
        self._standing.pop(f"publish {topic}", None)

    def message(self, topic: str, why: str, now: float) -> None:
        """A message on ``topic`` was turned down for good."""
        self._note(f"the broker refused a message on {topic} for good: {why}", now)

    def connection(self, why: str, now: float) -> None:
        """The broker refused or ended the connection, giving a reason."""
        self._note(f"the broker lately refused this agent: {why}", now)

    def lines(self, now: float) -> Lines:
        """One line for each."""
        once = [line for line, at in list(self._once.items()) if now - at < REMEMBERED_S]
        return (*list(self._standing.values()), *once)

    def _note(self, line: str, now: float) -> None:
        self._once.pop(line, None)
        self._once[line] = now
        while len(self._once) > KEPT:
            del self._once[next(iter(self._once))]


class Namesakes:
    """Other agents that publish as our device, known by the ``boot_id`` in what we have not sent.

    A retained message tells nothing: it may be our own, of an earlier run. ``quiet_s``: who has said nothing for this
    long is gone. ``republish`` is called when our ``status`` was overwritten, as by the last will of another.
    """

    def __init__(self, names: topics.Topics, boot_id: str, quiet_s: float, republish: Callable[[], None]) -> None:
        self._names = names
        self._boot_id = boot_id
        self._quiet_s = quiet_s
        self._republish = republish
        self._seen: dict[str, float] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """What is to be subscribed to, and handed to :meth:`heard`."""
        return tuple(self._names.full(topic) for topic in (topics.STATUS, topics.INFO, topics.SUMMARY))

    def heard(self, message: InboundMessage) -> None:
        """Look at one message on our own topics."""
        if message.retain:
            return
        if message.topic == self._names.full(topics.STATUS):
            if message.payload == topics.OFFLINE:
                self._republish()
            return
        boot_id = _boot_id(message.payload)
        if boot_id is not None and boot_id != self._boot_id:
            self._seen[boot_id] = message.received
            while len(self._seen) > KEPT:
                del self._seen[next(iter(self._seen))]

    def lines(self, now: float) -> Lines:
        """One line for each that is still there."""
        return tuple(
            f"another agent (boot_id {boot_id[:16]!r}) publishes as this device: give each its own device.id"
            for boot_id, at in list(self._seen.items())
            if now - at < self._quiet_s
        )


def _boot_id(payload: bytes) -> str | None:
    try:
        document: Any = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    found = document.get("boot_id") if isinstance(document, dict) else None
    return found if isinstance(found, str) else None
