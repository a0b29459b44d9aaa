"""Event bus and preview: what the agent publishes, and its latest frame, for readers on the same machine; in memory.

Documents have the shape they have on MQTT, and only what may be published there is published here: what was withheld
for privacy is not. ``seq`` of summaries and events counts from the agent's start; it is no key of a delivered message.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.domain.clock import Clock
from edge_agent.domain.media import Frame

log = logging.getLogger(__name__)

SUMMARIES = 720
EVENTS = 500

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BusMessage:
    """A published document. ``kind``: ``summary``, ``event``, or the name of a state such as ``health``."""

    kind: str
    document: Document


Subscriber = Callable[[BusMessage], None]
"""Called on the publisher's thread; must be quick and must not fail."""


class EventBus:
    """Publish and subscribe, thread-safe. Keeps the latest document of each state and a bounded past of the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, Document] = {}
        self._summaries: deque[Document] = deque(maxlen=SUMMARIES)
        self._events: deque[Document] = deque(maxlen=EVENTS)
        self._subscribers: list[Subscriber] = []
        self._numbered = 0

    def next_seq(self) -> int:
        """The ``seq`` of the next summary or event."""
        with self._lock:
            self._numbered += 1
            return self._numbered

    def publish(self, kind: str, document: Document) -> None:
        """Keep ``document`` and hand it to every subscriber."""
        with self._lock:
            if kind == "summary":
                self._summaries.append(document)
            elif kind == "event":
                self._events.append(document)
            else:
                self._states[kind] = document
            subscribers = list(self._subscribers)
        for subscriber in subscribers:
            try:
                subscriber(BusMessage(kind, document))
            except Exception:  # a failing subscriber must not stop the publisher
                log.exception("event bus: a subscriber failed")

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Hand everything published from now on to ``subscriber``; returns a function that ends it."""
        with self._lock:
            self._subscribers.append(subscriber)

        def leave() -> None:
            with self._lock:
                if subscriber in self._subscribers:
                    self._subscribers.remove(subscriber)

        return leave

    def state(self, kind: str) -> Document | None:
        """The latest document of that kind; None before the first."""
        with self._lock:
            return self._states.get(kind)

    def summaries(self, after: int = 0) -> list[Document]:
        """Summaries with a ``seq`` above ``after``, oldest first."""
        with self._lock:
            return [document for document in self._summaries if document["seq"] > after]

    def events(self, after: int = 0) -> list[Document]:
        """Events with a ``seq`` above ``after``, oldest first."""
        with self._lock:
            return [document for document in self._events if document["seq"] > after]


FRESH_S = 5.0
"""Seconds after which a frame is too old to be shown."""


class Preview:
    """Hold the latest frame; thread-safe. While ``allowed`` returns False, no frame is kept or returned."""

    def __init__(self, clock: Clock, allowed: Callable[[], bool]) -> None:
        self._clock = clock
        self._allowed = allowed
        self._lock = threading.Lock()
        self._latest: tuple[float, Frame] | None = None
        self._asked = float("-inf")

    @property
    def watched(self) -> bool:
        """Whether somebody looked at it in the last :data:`FRESH_S` seconds, so that every frame is of use."""
        return self._clock.monotonic() - self._asked < FRESH_S

    def show(self, frame: Frame) -> None:
        """Replace the kept frame by ``frame``."""
        with self._lock:
            self._latest = (self._clock.monotonic(), frame) if self._allowed() else None

    def forget(self) -> None:
        """Drop the frame: the camera was switched off."""
        with self._lock:
            self._latest = None

    def latest(self) -> Frame | None:
        """The current frame; None without a recent one."""
        with self._lock:
            self._asked = self._clock.monotonic()
            if self._latest is None or not self._allowed():
                return None
            since, frame = self._latest
            return frame if self._clock.monotonic() - since <= FRESH_S else None
