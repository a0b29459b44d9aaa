"""The k-people rule: what a window of too few people says about them is left out before anything else sees it.

Applied once, to the window as it closes, so that nothing withheld reaches a baseline, a trend, an outbox, a sink or a
roll-up: merging what is left can reveal nothing that a part withheld. People are counted as faces found in one and the
same picture. Distinct tracks would count somebody who comes back twice, and so tell about one person as if of two.

Not withheld: how many faces there were and when, and sounds, of which nobody knows who made them. Pure.
"""

from __future__ import annotations

from dataclasses import replace

from edge_agent.domain.event import ARRIVAL, BURST, Event
from edge_agent.domain.summary import AttentionSums, EmotionSums, StaySums, UsualSums, Window

_HARMLESS = frozenset({ARRIVAL, BURST})
"""Kinds of events that say no more than the parts of a window which are never withheld."""


def withhold(window: Window, min_people: int) -> Window:
    """``window`` without what it says about people if it saw fewer than ``min_people`` (0 and 1: never) together."""
    if min_people < 2 or window.faces.together >= min_people:
        return window
    if window.faces.most == 0 and not _about_people(window):
        return window
    return replace(
        window,
        emotion=EmotionSums(),
        usual=UsualSums(),
        attention=AttentionSums(),
        stays=StaySums(),
        measures={},  # whatever else analyzers measured may be about a person
        fused={},
        withheld=window.seconds,
    )


def may_tell(event: Event, people: int, min_people: int) -> bool:
    """Whether ``event`` may be told while ``people`` were seen together in the open window so far."""
    return min_people < 2 or people >= min_people or event.kind in _HARMLESS


def _about_people(window: Window) -> bool:
    """Whether a window in which nobody was seen still tells of somebody who was there just before."""
    return window.emotion.evidence > 0 or window.attention.weight > 0 or window.stays.count > 0 or bool(window.fused)
