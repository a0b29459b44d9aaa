"""The latest of everything the agent has to say, for those who look at it on this machine; bounded, nothing durable.

Documents have the shape they have on MQTT, and only what may be published there is posted here: what was withheld for
privacy is not. ``seq`` of summaries and events counts from the agent's start; it is no key of a delivered message.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

SUMMARIES = 720
EVENTS = 500

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BusMessage:
    """``kind``: ``summary``, ``event``, or the name of a state such as ``health``."""

    kind: str
    document: Document


Watcher = Callable[[BusMessage], None]
"""Called on the poster's thread; must be quick and must not fail."""


class EventBus:
    """Thread-safe. States are kept as their latest value, summaries and events as a bounded past."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, Document] = {}
        self._summaries: deque[Document] = deque(maxlen=SUMMARIES)
        self._events: deque[Document] = deque(maxlen=EVENTS)
        self._watchers: list[Watcher] = []
        self._posted = 0

    def next_seq(self) -> int:
        """A number for the next summary or event."""
        with self._lock:
            self._posted += 1
            return self._posted

    def post(self, kind: str, document: Document) -> None:
        """Make ``document`` known."""
        with self._lock:
            if kind == "summary":
                self._summaries.append(document)
            elif kind == "event":
                self._events.append(document)
            else:
                self._states[kind] = document
            watchers = list(self._watchers)
        for watcher in watchers:
            try:
                watcher(BusMessage(kind, document))
            except Exception:  # who watches must not stop who posts
                log.exception("board: a watcher failed")

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Tell ``watcher`` of everything posted from now on; returns how to end that."""
        with self._lock:
            self._watchers.append(watcher)

        def leave() -> None:
            with self._lock:
                if watcher in self._watchers:
                    self._watchers.remove(watcher)

        return leave

    def state(self, kind: str) -> Document | None:
        """The latest document of that kind of state."""
        with self._lock:
            return self._states.get(kind)

    def summaries(self, after: int = 0) -> list[Document]:
        """Those with a ``seq`` above ``after``, oldest first."""
        with self._lock:
            return [document for document in self._summaries if document["seq"] > after]

    def events(self, after: int = 0) -> list[Document]:
        """Likewise."""
        with self._lock:
            return [document for document in self._events if document["seq"] > after]
