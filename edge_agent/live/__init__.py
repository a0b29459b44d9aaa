"""Read-only view of a running agent for readers on the same machine: event bus, history, people in view, preview."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.domain.clock import Clock
from edge_agent.live.bus import BusMessage, Document, EventBus, Preview
from edge_agent.live.history import History
from edge_agent.live.people import People
from edge_agent.settings import Settings


@dataclass(frozen=True, slots=True)
class Live:
    """Facade over a running agent. With :mod:`edge_agent.control` it is all that the web side reads.

    ``people`` is None where ``privacy.min_people`` forbids statements about one person, ``preview`` where the config
    forbids it or there is no camera. ``info`` returns the document of the ``info`` topic.
    """

    settings: Settings
    clock: Clock
    boot_id: str
    info: Callable[[], Mapping[str, Any]]
    bus: EventBus
    history: History
    people: People | None = None
    preview: Preview | None = None


__all__ = ["BusMessage", "Document", "EventBus", "History", "Live", "People", "Preview"]
