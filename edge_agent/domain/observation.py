"""Observations of analyzers, and the reports of the vision and audio lanes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from edge_agent.domain.event import Event
from edge_agent.domain.face import TrackedFace
from edge_agent.domain.speech import Utterance

EMOTION = "emotion"
"""Observation name of a facial-emotion reading; its values are a distribution over :data:`EMOTIONS`."""

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The FER+ classes, in the order every distribution in the product uses."""

ATTENTION = "attention"
"""Observation name of attention: ``score`` is how much a face attends to the camera, ``looking`` is 0 or 1; ``eyes`` is
1 where the direction of the eyes decided, and 0 or missing where that of the head did."""

GAZE = "gaze"
"""Observation name of where the eyes of a face point, in degrees: ``yaw`` to the viewer's right and ``pitch`` up from
the line to the camera; the head's direction likewise, ``head_yaw`` and ``head_pitch``, and its tilt ``head_roll``;
``eyes_open`` and ``mouth_open`` 0 to 1; ``sure`` is 1 where ``yaw`` and ``pitch`` can be relied on, else 0."""

FACEMESH = "facemesh"
"""Observation name of the points of a face: ``x0``, ``y0``, ``z0`` and so on, in pixels. For the client who asked for
them: no summary holds them."""

LANGUAGE = "language"
"""Observation name of what an utterance expresses: an independent probability for each of :data:`LANGUAGE_EMOTIONS`."""

LANGUAGE_EMOTIONS = (
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire",
    "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy",
    "love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral",
)  # fmt: skip
"""The GoEmotions classes in their published order."""

LANGUAGE_UNKNOWN = "language_unknown"
"""Observation name of an utterance that cannot be judged; its term is the reason (``empty``, ``not_english``,
``too_short``), its value 1."""

VOICE = "voice"
"""Observation name of how a turn was spoken: ``seconds`` of speech and, once the voice's usual range is known,
``arousal`` in -1..1. Further terms are for local readers; no summary holds them."""

IDENTITY = "identity"
"""Observation name of who a face is: one term, the key of an enrolled person or :data:`UNKNOWN_PERSON`, with the
similarity 0 to 1 on which that rests."""

UNKNOWN_PERSON = "unknown"
"""Term of :data:`IDENTITY` for somebody who is not enrolled."""

REAPPEARED = "reappeared"
"""Observation name: the face of a new track is that of the track ``before``, which was lost shortly before; its term
``similarity`` says how alike they are."""

FLAG = "flag"
"""Observation name of quality flags: a value of 1 raises the flag of that name until the analyzer's next answer."""

UNSEARCHED = "no_detector"
"""Flag of a picture that no detector searched: none is configured or loaded, it has crashed, or its process is being
replaced."""

BLINDING = frozenset({"dark", "covered", "frozen", UNSEARCHED})
"""Flags of pictures that cannot show people: no search takes place, and the time does not count as watched."""


QUALITY_FLAGS = BLINDING | {"overexposed", "blurred", "dead", "clipping", "offset", "gap"}
"""Flags about the streams alone. Any other flag may be about a person and is withheld as such."""


Statistic = Literal["mean", "min", "max", "sum"]
"""What a window keeps of the numbers of a measure."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Number that an analyzer adds to the summaries, as others show it.

    ``key`` is ``<observation>.<term>``, ``title`` a few English words, ``unit`` as Home Assistant writes it (``dB``,
    ``%``, ``°C``; empty: none), ``icon`` one of Material Design's (``mdi:…``). ``statistic`` of the window is shown.
    """

    key: str
    title: str
    unit: str = ""
    icon: str = "mdi:gauge"
    statistic: Statistic = "mean"


@dataclass(frozen=True, slots=True)
class Observation:
    """Named numbers at one moment, as an analyzer reports them.

    ``values`` maps a term to a finite number. ``track`` is set when the observation is about one face. ``recalled`` is
    set on an emotion that was predicted from earlier readings of similar appearance: it is no new evidence. ``before``
    is the earlier track in :data:`REAPPEARED`.
    Observations named :data:`EMOTION` feed the window's distribution and :data:`ATTENTION` its attention; a
    :data:`FLAG` becomes a flag of the report; all others are averaged under their name.
    """

    name: str
    values: Mapping[str, float]
    time: float
    track: str | None = None
    recalled: bool = False
    before: str | None = None


def split_flags(observations: Iterable[Observation]) -> tuple[list[Observation], frozenset[str]]:
    """Separate observations named ``flag`` from the others: the others, and the names of raised flags (above 0.5)."""
    others: list[Observation] = []
    flags: set[str] = set()
    for observation in observations:
        if observation.name == FLAG:
            flags.update(name for name, value in observation.values.items() if value > 0.5)
        else:
            others.append(observation)
    return others, frozenset(flags)


@dataclass(frozen=True, slots=True)
class NetworkSums:
    """Sums over the stream of a network camera: ``received`` bytes in ``seconds``, in which it was late ``stalls``
    times, for ``stalled`` seconds in all. Without ``seconds`` there was no such stream.
    """

    received: int = 0
    seconds: float = 0.0
    stalls: int = 0
    stalled: float = 0.0


@dataclass(frozen=True, slots=True)
class VisionReport:
    """Result of one analysed frame. ``faces`` is everyone in view now.

    ``captured`` and ``dropped`` count frames since the last report: those that arrived (this one included), and those
    the source lost; ``resized`` how often one had another size than the one before. ``latency``: seconds from the
    capture of this frame to this report, 0 for recordings. ``network``: what a network camera sent since
    the last report.
    """

    time: float
    index: int
    faces: tuple[TrackedFace, ...]
    observations: tuple[Observation, ...] = ()
    events: tuple[Event, ...] = ()
    flags: frozenset[str] = frozenset()
    captured: int = 1
    dropped: int = 0
    resized: int = 0
    latency: float = 0.0
    network: NetworkSums = NetworkSums()


@dataclass(frozen=True, slots=True)
class Said:
    """An utterance and what the text analyzers observed about it."""

    utterance: Utterance
    observations: tuple[Observation, ...] = ()


@dataclass(frozen=True, slots=True)
class SpeechReport:
    """Result of one block of sound that began at ``time``, for what was said: number of ``utterances`` and ``words``,
    and the text analyzers' observations. ``lost``: seconds before it that were not heard, as the queue was full.
    ``rejected``: utterances besides in which no words were understood.

    ``said`` is empty unless the words themselves are asked for.
    """

    time: float
    seconds: float = 0.0
    utterances: int = 0
    words: int = 0
    observations: tuple[Observation, ...] = ()
    lost: float = 0.0
    said: tuple[Said, ...] = ()
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class AudioReport:
    """Result of one block of sound that began at ``time``. ``gap``: seconds lost just before it."""

    time: float
    seconds: float
    gap: float
    observations: tuple[Observation, ...] = ()
    events: tuple[Event, ...] = ()
    flags: frozenset[str] = frozenset()
