"""Events (a vocal burst, an arrival), and the messages in which events and summaries are delivered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

BURST = "burst"
"""Event kind of vocal bursts."""

ARRIVAL = "arrival"
"""Event kind: a person came into view at ``start``."""

RECOGNISED = "recognised"
"""Event kind: an enrolled person came into view; ``name`` says who, where names may be published."""

DEPARTURE = "departure"
"""Event kind: a person was in view from ``start`` for ``seconds`` and has left."""

FUSION = "fusion"
"""Event kind: a burst and a matching expression at the same time; the label names both, as ``laughter+happiness``."""

UTTERANCE = "utterance"
"""Event kind: somebody said ``text``. Only with ``privacy.publish_text``."""

SPEECH = "speech"
"""Label of utterances."""

PERSON = "person"
"""Label of arrivals, departures and recognitions."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a moment. ``kind`` is the topic it is published under, ``label`` says what it was.

    ``start`` is monotonic seconds, ``seconds`` its duration, ``score`` a probability. ``text`` is what was said, in an
    :data:`UTTERANCE` only, ``name`` who came, in a :data:`RECOGNISED` only; ``repr`` shows neither.
    """

    kind: str
    label: str
    score: float
    start: float
    seconds: float
    text: str = field(default="", repr=False)
    name: str = field(default="", repr=False)


MessageKind = Literal["summary", "event"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message to deliver. ``boot_id`` and ``seq`` identify it on this device; ``topic`` is relative to its prefix.

    ``payload`` is UTF-8 JSON valid against the schema of its kind. ``replayed`` is set on late data.
    """

    boot_id: str
    seq: int
    kind: MessageKind
    topic: str
    payload: bytes
    replayed: bool = False
