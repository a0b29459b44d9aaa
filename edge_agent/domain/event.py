"""Something that happened at a moment and is worth telling at once: a cough, an arrival."""

from __future__ import annotations

from dataclasses import dataclass

BURST = "burst"
"""Event kind of vocal bursts."""

ARRIVAL = "arrival"
"""Event kind: a person came into view at ``start``."""

DEPARTURE = "departure"
"""Event kind: a person was in view from ``start`` for ``seconds`` and has left."""

FUSION = "fusion"
"""Event kind: something was heard and seen together; the label tells both, as ``laughter+happiness``."""

PERSON = "person"
"""Label of arrivals and departures."""


@dataclass(frozen=True, slots=True)
class Event:
    """``kind`` names the topic it is published under, ``label`` what it was.

    ``start`` is monotonic seconds, ``seconds`` its duration, ``score`` a probability.
    """

    kind: str
    label: str
    score: float
    start: float
    seconds: float
