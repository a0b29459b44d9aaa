"""The k-people rule: a window of too few people is reduced to an allow-list before anything else sees it.

Applied once, to the window as it closes, so that nothing withheld reaches a baseline, a trend, an outbox, a sink or a
roll-up: merging what is left can reveal nothing that a part withheld. People are counted as faces found in one and the
same picture. Distinct tracks would count somebody who comes back twice, and so tell about one person as if of two.

Allowed: how many faces there were and when, sounds, of which nobody knows who made them, and how well the streams were
watched. Every other field of a window, also one that is added later, is withheld until it is named here. Pure.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from edge_agent.domain.event import ARRIVAL, BURST, Event
from edge_agent.domain.observation import QUALITY_FLAGS
from edge_agent.domain.summary import FaceSums, StreamSums, Window

ALLOWED = frozenset({"begin", "end", "faces", "bursts", "stream", "withheld", "unseen", "unheard"})
"""Fields of a window that are told of however few people."""

ALLOWED_FACES = frozenset({"most", "person_seconds", "seconds", "carried", "arrived", "together"})
"""Fields of :class:`FaceSums` that are told of however few people."""

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
"""Fields of :class:`StreamSums` that are told of however few people."""

ALLOWED_EVENTS = frozenset({ARRIVAL, BURST})
"""Kinds of events that say no more than the allowed parts of a window."""


def withhold(window: Window, min_people: int) -> Window:
    """``window`` without what it says about people if it saw fewer than ``min_people`` (0 and 1: never) together.

    A window in which nobody was seen counts as withheld only if something had to be taken out of it: readings of
    somebody who was there just before, or measures, which may be about anybody.
    """
    if min_people < 2 or window.faces.together >= min_people:
        return window
    return strip(window)


def strip(window: Window) -> Window:
    """The allowed fields of ``window``, marked as withheld unless there was nobody and nothing to take out."""
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
    """Whether ``event`` may be told while ``people`` were seen together in the open window so far."""
    return min_people < 2 or people >= min_people or event.kind in ALLOWED_EVENTS
