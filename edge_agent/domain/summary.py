"""Windows as mergeable sums, summaries with wall time, and the estimates that are derived from them.

Every figure a summary publishes is derived from sums, counts, maxima and sets, so merging two neighbouring windows is
exact and associative (:func:`edge_agent.summary.window.merge`). Independent of how summaries are sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from edge_agent.domain.observation import EMOTIONS, LANGUAGE_EMOTIONS, NetworkSums
from edge_agent.domain.recognition import IdentitySums

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
"""Least number of readings in force during a window for an emotion estimate."""


@dataclass(frozen=True, slots=True)
class FaceSums:
    """Sums of people. ``seconds``: time searched for faces; ``person_seconds``: integral of the head count over it.

    Without any time searched the counts are meaningless: see :attr:`known`.

    Distinct tracks stay exact under merging without keeping identities: of those seen in this window, ``carried`` were
    also seen in the one before, ``arrived`` were not. (No track survives being missing for a whole window.)
    """

    most: int = 0
    person_seconds: float = 0.0
    seconds: float = 0.0
    carried: int = 0
    arrived: int = 0
    together: int = 0
    """Most faces detected in one picture; ``most`` also counts faces that were predicted but not detected."""

    @property
    def known(self) -> bool:
        """Whether faces were searched for at any time; only then 0 means nobody."""
        return self.seconds > 0 or self.most > 0

    @property
    def mean(self) -> float | None:
        """Average number of people over the time searched; for a still picture, which has no duration, their number;
        None when not :attr:`known`."""
        if self.seconds > 0:
            return self.person_seconds / self.seconds
        return float(self.most) if self.most else None


@dataclass(frozen=True, slots=True)
class EmotionSums:
    """Sums of emotion readings. ``weight``: person-seconds that the readings stand for; ``p`` and ``square``: weighted
    sums per class.

    ``readings`` were taken during the window; ``carried`` were taken before and still held when it began.
    """

    weight: float = 0.0
    p: tuple[float, ...] = (0.0,) * len(EMOTIONS)
    square: tuple[float, ...] = (0.0,) * len(EMOTIONS)
    readings: int = 0
    carried: int = 0

    @property
    def evidence(self) -> int:
        """Number of readings behind the sums."""
        return self.carried + self.readings


@dataclass(frozen=True, slots=True)
class BurstSums:
    """Sums of the bursts of one label."""

    count: int = 0
    peak: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AttentionSums:
    """Sums of attention in person-seconds: ``weight`` with known attention; ``score`` weighted by how much of it the
    camera got; ``looking`` counted as looking; ``by_eyes``: judged by the direction of the eyes, not of the head."""

    weight: float = 0.0
    score: float = 0.0
    looking: float = 0.0
    by_eyes: float = 0.0

    def __add__(self, other: AttentionSums) -> AttentionSums:
        return AttentionSums(
            self.weight + other.weight,
            self.score + other.score,
            self.looking + other.looking,
            self.by_eyes + other.by_eyes,
        )

    @property
    def ratio(self) -> float | None:
        """Share of the known time in which people looked, 0 to 1; None without any."""
        return self.looking / self.weight if self.weight > 0 else None

    @property
    def share_by_eyes(self) -> float | None:
        """Share of the known time in which the eyes decided, 0 to 1; None without any."""
        return self.by_eyes / self.weight if self.weight > 0 else None


@dataclass(frozen=True, slots=True)
class StaySums:
    """Sums of completed stays: number of people who left, total and longest stay in seconds."""

    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0


@dataclass(frozen=True, slots=True)
class UsualSums:
    """Baseline distribution in force, times the ``weight`` of the readings."""

    weight: float = 0.0
    p: tuple[float, ...] = (0.0,) * len(EMOTIONS)


@dataclass(frozen=True, slots=True)
class MeasureSums:
    """Count, sum, minimum and maximum of any other observed number."""

    count: int
    total: float
    low: float
    high: float

    @property
    def mean(self) -> float:
        """Average over the observations."""
        return self.total / self.count


@dataclass(frozen=True, slots=True)
class LanguageSums:
    """Sums of what was said. ``p``: probabilities per class of :data:`LANGUAGE_EMOTIONS`, added up over the ``judged``
    utterances; the others are in a foreign language or too short. ``lost``: seconds of sound that no recognizer heard,
    because it could not keep up."""

    utterances: int = 0
    words: int = 0
    judged: int = 0
    p: tuple[float, ...] = (0.0,) * len(LANGUAGE_EMOTIONS)
    lost: float = 0.0

    def __add__(self, other: LanguageSums) -> LanguageSums:
        return LanguageSums(
            self.utterances + other.utterances,
            self.words + other.words,
            self.judged + other.judged,
            tuple(x + y for x, y in zip(self.p, other.p, strict=True)),
            self.lost + other.lost,
        )

    def mean(self) -> dict[str, float]:
        """Mean probability of each class, most probable first; empty when nothing was judged."""
        if self.judged == 0:
            return {}
        means = ((name, value / self.judged) for name, value in zip(LANGUAGE_EMOTIONS, self.p, strict=True))
        return dict(sorted(means, key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True)
class VoiceSums:
    """Sums of how people spoke: ``seconds`` of speech in ``turns``; of these, ``weight`` seconds with known arousal,
    and ``arousal`` times those seconds."""

    seconds: float = 0.0
    turns: int = 0
    arousal: float = 0.0
    weight: float = 0.0

    @classmethod
    def of_turn(cls, seconds: float, arousal: float | None) -> VoiceSums:
        """Return the sums of one turn; ``arousal`` is None when unknown."""
        return cls(seconds, 1) if arousal is None else cls(seconds, 1, arousal * seconds, seconds)

    def __add__(self, other: VoiceSums) -> VoiceSums:
        return VoiceSums(
            self.seconds + other.seconds,
            self.turns + other.turns,
            self.arousal + other.arousal,
            self.weight + other.weight,
        )

    @property
    def mean(self) -> float | None:
        """Mean arousal, from calm (-1) to excited (1) for these voices; None when unknown."""
        return self.arousal / self.weight if self.weight > 0 else None


@dataclass(frozen=True, slots=True)
class StreamSums:
    """Coverage and quality of the streams. Times in seconds; ``captured`` and ``dropped`` in frames.

    ``latency``: sum over the ``analysed`` frames of the time from capture to report, ``slowest`` its maximum;
    ``resized``: how often the pictures' size changed.
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


def add_network(a: NetworkSums, b: NetworkSums) -> NetworkSums:
    """Return the sums over both."""
    return NetworkSums(a.received + b.received, a.seconds + b.seconds, a.stalls + b.stalls, a.stalled + b.stalled)


@dataclass(frozen=True, slots=True)
class Window:
    """Mergeable sums of what happened between ``begin`` and ``end`` (monotonic seconds of one boot)."""

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
    """Fused bursts and expressions, as ``laughter+happiness``."""
    withheld: float = 0.0
    """Seconds whose sums about people were withheld, see :mod:`edge_agent.summary.summariser`."""
    unseen: Mapping[str, float] = field(default_factory=dict)
    """Seconds in which nobody could be seen, by reason; with ``faces.seconds`` they make up the window."""
    unheard: Mapping[str, float] = field(default_factory=dict)
    """Seconds in which nothing could be heard, by reason."""
    language: LanguageSums = LanguageSums()
    voice: VoiceSums = VoiceSums()
    identity: IdentitySums = field(default_factory=IdentitySums)
    network: NetworkSums = field(default_factory=NetworkSums)
    """Of network cameras. Withheld with the people: movement takes bytes."""

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.end - self.begin


ALLOWED = frozenset({"begin", "end", "faces", "bursts", "stream", "withheld", "unseen", "unheard"})
"""Fields of :class:`Window` that are published for any number of people; ``min_people`` withholds the others."""

ALLOWED_FACES = frozenset({"most", "person_seconds", "seconds", "carried", "arrived", "together"})
"""Fields of :class:`FaceSums` that are published for any number of people."""

ALLOWED_STREAM = frozenset(
    {"captured", "analysed", "dropped", "video_seconds", "audio_seconds", "flags", "latency", "slowest", "resized"}
)
"""Fields of :class:`StreamSums` that are published for any number of people."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Number of people in view now; None with the reason in ``unknown`` when it cannot be known."""

    count: int | None
    unknown: str = ""
    names: tuple[str, ...] | None = None
    """Names of the recognised people in view, where names may be published."""


@dataclass(frozen=True, slots=True)
class EmotionEstimate:
    """Emotion estimate of a window. ``p`` follows :data:`EMOTIONS` and sums to 1; ``valence`` is in -1..1.

    ``confidence`` is how likely the dominant class would stay dominant if the same people were watched again.
    """

    dominant: str
    p: tuple[float, ...]
    valence: float
    confidence: float
    readings: int


@dataclass(frozen=True, slots=True)
class Trend:
    """Change of a window against the mean of the ``seconds`` before it: differences of valence (-2 to 2), mean head
    count and attention ratio (-1 to 1). None where either side has too little to compare."""

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
    """Estimate the distribution of the sums; None when there is too little evidence."""
    if sums.evidence < min_readings or sums.weight <= 0:
        return None
    total = sum(sums.p)
    p = tuple(value / total for value in sums.p)
    order = sorted(range(len(p)), key=p.__getitem__, reverse=True)
    first, second = order[0], order[1]
    variance = sum(max(0.0, sums.square[k] / sums.weight - (sums.p[k] / sums.weight) ** 2) for k in (first, second))
    # The floor is the model's own error, which repeated readings of one face do not average out.
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
    """Estimate the emotion of a window; a matching burst makes the dominant emotion more certain."""
    estimate = estimate_emotion(window.emotion, min_readings)
    if estimate is None:
        return None
    heard = [sums.peak for label, sums in window.fused.items() if label.rpartition("+")[2] == estimate.dominant]
    doubt = (1 - estimate.confidence) * (1 - 0.5 * max(heard, default=0.0))
    return replace(estimate, confidence=1 - doubt)


def engagement(window: Window) -> float | None:
    """Return the mean seconds of looking at the camera per person; None when unknown.

    It grows with attention and length of stay, but not with the number of people. Time with unknown attention counts
    like the rest.
    """
    people, ratio = window.faces.carried + window.faces.arrived, window.attention.ratio
    if not people or ratio is None:
        return None
    return ratio * window.faces.person_seconds / people


FEW = 3
"""Most classes of what was said that are named."""

NAMED = 0.1
"""Least mean probability of a named class besides the dominant one: less is as good as not there."""


def dominant_language(sums: LanguageSums) -> dict[str, float]:
    """Return the few dominant classes of what was said with their mean probabilities, most probable first.

    ``neutral`` is named only where it dominates: it says that nothing else stands out.
    """
    means = sums.mean()
    first = next(iter(means), None)
    named = [name for name, p in means.items() if name == first or (p >= NAMED and name != "neutral")]
    return {name: means[name] for name in named[:FEW]}


def lift(window: Window) -> tuple[float, ...] | None:
    """Return by how much each class exceeds the place's baseline; adds up to 0. None without a baseline."""
    emotion, usual = window.emotion, window.usual
    if emotion.weight <= 0 or usual.weight <= 0:
        return None
    total, usual_total = sum(emotion.p), sum(usual.p)
    return tuple(p / total - q / usual_total for p, q in zip(emotion.p, usual.p, strict=True))
