"""A window of time as mergeable sums, and the summary that stamps it with wall time.

Every figure a summary publishes is derived from sums, counts, maxima and sets, so merging two neighbouring windows is
exact and associative (:func:`edge_agent.summary.window.merge`). Nothing here knows how it is sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from edge_agent.domain.observation import EMOTIONS

ClockState = Literal["synced", "unsynced"]

VALENCE: Mapping[str, float] = {
    "neutral": 0.0,
    "happiness": 0.9,
    "surprise": 0.2,
    "sadness": -0.8,
    "anger": -0.7,
    "disgust": -0.7,
    "fear": -0.7,
    "contempt": -0.5,
}
"""Valence of each class on -1..1, rounded from the circumplex of Russell (1980); contempt by its neighbours."""

NONE, OFF, PAUSED, PRIVACY, SCHEDULE = "none", "off", "paused", "privacy", "schedule"
STARTING, MISSING, ENDED, STOPPED, NO_LOOK = "starting", "missing", "ended", "stopped", "no_look"
"""Why nobody could be seen or heard, besides the flags of :data:`~edge_agent.domain.observation.BLINDING`.

``none``: the config uses no such device; ``off``: switched off; ``paused``; ``privacy`` by choice, or by ``schedule``;
``starting``: the device is being opened, or its first picture has yet to be looked at; ``missing``: it cannot be
opened; ``ended``: the recording is over; ``stopped``: so is the agent; ``no_look``: the last look is too long ago.
"""

MIN_READINGS = 2
"""Fewer emotion readings than this in force during a window are not evidence."""


@dataclass(frozen=True, slots=True)
class FaceSums:
    """``seconds`` is the time searched for faces, ``person_seconds`` the integral of the head count over it.

    Without any time searched the counts say nothing: see :attr:`known`.

    Distinct tracks stay exact under merging without keeping identities: of those seen in this window, ``carried`` were
    also seen in the one before, ``arrived`` were not. (Nobody is missing for a whole window and keeps the identity.)
    """

    most: int = 0
    person_seconds: float = 0.0
    seconds: float = 0.0
    carried: int = 0
    arrived: int = 0
    together: int = 0
    """Most faces found in one picture: people for certain, while ``most`` also counts those only expected there."""

    @property
    def known(self) -> bool:
        """Whether faces were searched for at some time: only then 0 means nobody."""
        return self.seconds > 0 or self.most > 0

    @property
    def mean(self) -> float | None:
        """Average number of people over the time searched; of a look that stands for no time, as of a still picture,
        those it showed; None when not :attr:`known`."""
        if self.seconds > 0:
            return self.person_seconds / self.seconds
        return float(self.most) if self.most else None


@dataclass(frozen=True, slots=True)
class EmotionSums:
    """``weight``: person-seconds that the readings stand for; ``p`` and ``square``: weighted sums per class.

    ``readings`` were taken during the window; ``carried`` were taken before and still held when it began.
    """

    weight: float = 0.0
    p: tuple[float, ...] = (0.0,) * len(EMOTIONS)
    square: tuple[float, ...] = (0.0,) * len(EMOTIONS)
    readings: int = 0
    carried: int = 0

    @property
    def evidence(self) -> int:
        """Readings that the sums rest on."""
        return self.carried + self.readings


@dataclass(frozen=True, slots=True)
class BurstSums:
    """Events of one label."""

    count: int = 0
    peak: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AttentionSums:
    """Person-seconds: ``weight`` of which it is known where the head was turned; ``score`` weighted by how much to the
    camera; ``looking`` of those who counted as looking."""

    weight: float = 0.0
    score: float = 0.0
    looking: float = 0.0

    @property
    def ratio(self) -> float | None:
        """Share of the known time in which people looked, 0 to 1; None when nothing is known."""
        return self.looking / self.weight if self.weight > 0 else None


@dataclass(frozen=True, slots=True)
class StaySums:
    """People who left: how many, how long they had stayed together and the longest of them, in seconds."""

    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0


@dataclass(frozen=True, slots=True)
class UsualSums:
    """What this place usually shows: the baseline distribution in force, times the ``weight`` of the readings."""

    weight: float = 0.0
    p: tuple[float, ...] = (0.0,) * len(EMOTIONS)


@dataclass(frozen=True, slots=True)
class MeasureSums:
    """Any other named number: how often it was observed, its sum and its extremes."""

    count: int
    total: float
    low: float
    high: float

    @property
    def mean(self) -> float:
        """Average over the observations."""
        return self.total / self.count


@dataclass(frozen=True, slots=True)
class StreamSums:
    """How much of the window was seen and heard. Times in seconds; ``captured`` and ``dropped`` in frames.

    ``latency`` is the sum over the ``analysed`` frames of what passed from capture to report, ``slowest`` the longest
    of them; ``resized`` how often the pictures' size changed.
    """

    captured: int = 0
    analysed: int = 0
    dropped: int = 0
    video_seconds: float = 0.0
    audio_seconds: float = 0.0
    flags: frozenset[str] = frozenset()
    latency: float = 0.0
    slowest: float = 0.0
    resized: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """What happened between ``begin`` and ``end`` (monotonic seconds of one boot)."""

    begin: float
    end: float
    faces: FaceSums = FaceSums()
    emotion: EmotionSums = EmotionSums()
    bursts: Mapping[str, BurstSums] = field(default_factory=dict)
    measures: Mapping[str, MeasureSums] = field(default_factory=dict)
    stream: StreamSums = StreamSums()
    attention: AttentionSums = AttentionSums()
    stays: StaySums = StaySums()
    usual: UsualSums = UsualSums()
    fused: Mapping[str, BurstSums] = field(default_factory=dict)
    """What was seen and heard together, as ``laughter+happiness``."""
    withheld: float = 0.0
    """Seconds of it whose sums about people were left out, see :mod:`edge_agent.summary.privacy`."""
    unseen: Mapping[str, float] = field(default_factory=dict)
    """Seconds in which nobody could be seen, by reason; with ``faces.seconds`` they make up the window."""
    unheard: Mapping[str, float] = field(default_factory=dict)
    """Seconds in which nothing could be heard, by reason."""

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Presence:
    """How many people are in view now; ``count`` is None when that is ``unknown``, which then says why."""

    count: int | None
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class EmotionEstimate:
    """The window's answer. ``p`` follows :data:`EMOTIONS` and sums to 1; ``valence`` is in -1..1.

    ``confidence`` is how likely the dominant class would stay dominant if the same people were watched again.
    """

    dominant: str
    p: tuple[float, ...]
    valence: float
    confidence: float
    readings: int


@dataclass(frozen=True, slots=True)
class Trend:
    """A window against the mean of the ``seconds`` before it: differences of valence (-2 to 2), mean head count and
    attention ratio (-1 to 1). None where either side has too little to compare."""

    seconds: float
    valence: float | None
    people: float | None
    attention: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A window with its wall-clock start (Unix seconds) and whether that clock could be trusted; merged ones have no
    trend."""

    start: float
    clock: ClockState
    window: Window
    trend: Trend | None = None

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.window.seconds


def estimate_emotion(sums: EmotionSums, min_readings: int = MIN_READINGS) -> EmotionEstimate | None:
    """The window's distribution, or None when there is too little evidence to give one."""
    if sums.evidence < min_readings or sums.weight <= 0:
        return None
    total = sum(sums.p)
    p = tuple(value / total for value in sums.p)
    order = sorted(range(len(p)), key=p.__getitem__, reverse=True)
    first, second = order[0], order[1]
    variance = sum(max(0.0, sums.square[k] / sums.weight - (sums.p[k] / sums.weight) ** 2) for k in (first, second))
    # The floor stands for what repeated readings of one face cannot average away: the model's own error.
    spread = math.sqrt(variance / sums.evidence + 0.15**2)
    confidence = 0.5 * (1 + math.erf((p[first] - p[second]) / spread / math.sqrt(2)))
    return EmotionEstimate(
        dominant=EMOTIONS[first],
        p=p,
        valence=sum(value * VALENCE[name] for value, name in zip(p, EMOTIONS, strict=True)),
        confidence=confidence,
        readings=sums.evidence,
    )


def estimate_window(window: Window, min_readings: int = MIN_READINGS) -> EmotionEstimate | None:
    """As :func:`estimate_emotion`; what was also heard makes a dominant emotion more certain."""
    estimate = estimate_emotion(window.emotion, min_readings)
    if estimate is None:
        return None
    heard = [sums.peak for label, sums in window.fused.items() if label.rpartition("+")[2] == estimate.dominant]
    doubt = (1 - estimate.confidence) * (1 - 0.5 * max(heard, default=0.0))
    return replace(estimate, confidence=1 - doubt)


def engagement(window: Window) -> float | None:
    """Seconds of looking at the camera that each person who was there gave on average; None when nothing is known.

    It grows with attention and with how long people stay, and not with how many they are. Attention that is unknown
    for a part of the time is taken to be as in the rest.
    """
    people, ratio = window.faces.carried + window.faces.arrived, window.attention.ratio
    if not people or ratio is None:
        return None
    return ratio * window.faces.person_seconds / people


def lift(window: Window) -> tuple[float, ...] | None:
    """By how much each class exceeds what this place usually shows; adds up to 0. None without a baseline."""
    emotion, usual = window.emotion, window.usual
    if emotion.weight <= 0 or usual.weight <= 0:
        return None
    total, usual_total = sum(emotion.p), sum(usual.p)
    return tuple(p / total - q / usual_total for p, q in zip(emotion.p, usual.p, strict=True))
