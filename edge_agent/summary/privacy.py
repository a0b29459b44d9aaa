"""k-people rule: reduce a window of too few people to an allow-list of fields before anything else uses it.

Applied once, to the window as it closes, so that nothing withheld reaches a baseline, a trend, an outbox, a sink or a
roll-up: merging what is left can reveal nothing that a part withheld. People are counted as faces found in one and the
same picture. Distinct tracks would count a person who comes back twice, and so reveal data about one person.

Allowed: how many faces there were and when, sounds, of which nobody knows who made them, and how well the streams were
watched. Every other field of a window, also one that is added later, is withheld until it is named here.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from edge_agent.domain.event import ARRIVAL, BURST, Event
from edge_agent.domain.observation import QUALITY_FLAGS
from edge_agent.domain.summary import FaceSums, StreamSums, Window

ALLOWED = frozenset({"begin", "end", "faces", "bursts", "stream", "withheld", "unseen", "unheard"})
"""Fields of a window that are published for any number of people."""

ALLOWED_FACES = frozenset({"most", "person_seconds", "seconds", "carried", "arrived", "together"})
"""Fields of :class:`FaceSums` that are published for any number of people."""

ALLOWED_STREAM = frozenset(
    {
        "captured",
        "analysed",
        "dropped",
        "video_seconds",
        "audio_seconds",
        "flags",
        "latency",
        "slowest",
        "resized",
    }
)
"""Fields of :class:`StreamSums` that are published for any number of people."""

ALLOWED_EVENTS = frozenset({ARRIVAL, BURST})
"""Kinds of events that reveal no more than the allowed fields of a window."""


def withhold(window: Window, min_people: int) -> Window:
    """Withhold the data about people from a window with fewer than ``min_people`` (0 and 1: never) at a time.

    A window without people counts as withheld only if something was removed: readings of somebody who was there just
    before, or measures, which may be about anybody.
    """
    if min_people < 2 or window.faces.together >= min_people:
        return window
    return strip(window)


def strip(window: Window) -> Window:
    """Keep only the allowed fields of ``window``, and mark it as withheld unless nothing was removed."""
    stream = StreamSums(**_only(window.stream, ALLOWED_STREAM))
    told = _only(window, ALLOWED) | {
        "faces": FaceSums(**_only(window.faces, ALLOWED_FACES)),
        "stream": replace(stream, flags=stream.flags & QUALITY_FLAGS),
    }
    if window.faces.most == 0 and Window(**told) == window:
        return window
    return Window(**(told | {"withheld": window.seconds}))


def _only(sums: Any, allowed: frozenset[str]) -> dict[str, Any]:
    return {field.name: getattr(sums, field.name) for field in fields(sums) if field.name in allowed}


def may_tell(event: Event, people: int, min_people: int) -> bool:
    """Return whether ``event`` may be published while ``people`` were seen at a time in the open window so far."""
    return min_people < 2 or people >= min_people or event.kind in ALLOWED_EVENTS
