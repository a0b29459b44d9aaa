"""What analyzers report, and what one look at a frame or at a stretch of sound amounted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.domain.event import Event
from edge_agent.domain.face import TrackedFace

EMOTION = "emotion"
"""Observation name of a facial-emotion reading; its values are a distribution over :data:`EMOTIONS`."""

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The FER+ classes, in the order every distribution in the product uses."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Named numbers at one moment.

    ``values`` maps a term to a finite number. ``track`` is set when the observation is about one face. Observations
    named :data:`EMOTION` feed the window's distribution; all others are averaged under their name.
    """

    name: str
    values: Mapping[str, float]
    time: float
    track: str | None = None


@dataclass(frozen=True, slots=True)
class VisionReport:
    """The outcome of one analysed frame. ``faces`` is everyone currently tracked."""

    time: float
    index: int
    faces: tuple[TrackedFace, ...]
    observations: tuple[Observation, ...] = ()
    events: tuple[Event, ...] = ()
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AudioReport:
    """The outcome of one stretch of sound that began at ``time``. ``gap``: seconds lost just before it."""

    time: float
    seconds: float
    gap: float
    observations: tuple[Observation, ...] = ()
    events: tuple[Event, ...] = ()
    flags: frozenset[str] = frozenset()
