"""The models of this device at work on one recording, and their findings in Hume's shapes.

Each finder is fed the pictures, the sound or the text that it has use for, and keeps to its own analysis session.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from edge_agent.api import (
    EVERY_FRAME,
    MIN_SIDE,
    AudioReport,
    ConfigError,
    Event,
    ModelError,
    Observation,
    PluginError,
    Session,
    UtteranceRow,
    VisionReport,
)
from edge_agent.batch.artifacts import BURST_NAMES, emotions
from edge_agent.batch.jobs import BatchRequest, FaceOptions, SpeechOptions, TranscriptionOptions
from edge_agent.batch.wording import Reading, probabilities, undecided, word_emotions
from edge_agent.domain.event import BURST
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame
from edge_agent.domain.observation import FACEMESH, GAZE, VOICE
from edge_agent.domain.speech import Granularity

FPS = 3.0
"""Pictures per second of a film when ``fps_pred`` is not given, as Hume's."""

OpenSession = Callable[..., Session]
Medium = Literal["picture", "sound", "text"]


class Finder(ABC):
    """One model at work on one recording. ``media``: what it is given; ``needs``: analyzers without which it is not."""

    name: ClassVar[str]
    media: ClassVar[frozenset[Medium]]
    unasked: ClassVar[frozenset[Medium] | None] = None
    """What it is given when no model is asked for by name; None: ``media``."""
    needs: ClassVar[tuple[str, ...]]
    nothing: ClassVar[str]

    @abstractmethod
    def __init__(self, setting: Setting) -> None:
        """Load the models. Raises EdgeAgentError."""

    @abstractmethod
    def take(self, item: Frame | AudioBlock | str) -> None:
        """Look at the next picture, listen to the next block of sound or read a text."""

    def warnings(self) -> list[str]:
        """What could not be found, though it was looked for."""
        return []

    @abstractmethod
    def finish(self) -> dict[str, Any]:
        """What was found, as Hume's ``{"metadata", "grouped_predictions"}``."""

    @abstractmethod
    def close(self) -> None:
        """Free the models."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a finder is made with. ``withheld``: analyzers that the config switches off, which no job switches on."""

    open_session: OpenSession
    request: BatchRequest
    still: bool
    withheld: frozenset[str]
    there: frozenset[Medium] = frozenset()

    def open(self, *analyzers: str, **options: Any) -> Session:
        """A session with those of ``analyzers`` that may be used."""
        return self.open_session([name for name in analyzers if name not in self.withheld], **options)


class FaceFinder(Finder):
    """Faces and their expressions."""

    name = "face"
    media = frozenset[Medium]({"picture"})
    needs = ("face",)
    nothing = "there is no picture in this file"

    def __init__(self, setting: Setting) -> None:
        asked = setting.request.models
        self._options = (asked.face if asked else None) or FaceOptions()
        fps = FPS if self._options.fps_pred is None else self._options.fps_pred or EVERY_FRAME
        self._session = setting.open("face", "emotion", fps=fps, stills=setting.still)
        self._found: dict[str, list[dict[str, Any]]] = {}
        self._last = -1.0

    def take(self, item: Frame | AudioBlock | str) -> None:
        """Look at a picture, if it is due."""
        if isinstance(item, Frame):
            self._look(item)

    def _look(self, frame: Frame) -> None:
        if min(frame.width, frame.height) < MIN_SIDE or frame.time <= self._last:
            return
        self._last = frame.time
        report = self._session.frame(frame.data, frame.time)
        self._session.take()
        if report is not None:
            self._collect(report, frame)

    def _collect(self, report: VisionReport, frame: Frame) -> None:
        readings = {o.track: o.values for o in report.observations if o.name == "emotion"}
        options = self._options
        for tracked in report.faces:
            box, score = tracked.face.box, tracked.face.score
            pixels = {"x": box.x * frame.width, "y": box.y * frame.height, "w": box.w * frame.width,
                      "h": box.h * frame.height}  # fmt: skip
            small = min(pixels["w"], pixels["h"]) < (options.min_face_size or 0.0)
            if tracked.coasting or small or score < (options.prob_threshold or 0.0):
                continue
            prediction = {
                "frame": frame.index,
                "time": round(frame.time, 3),
                "prob": round(score, 6),
                "box": {side: round(value, 3) for side, value in pixels.items()},
                "emotions": emotions(readings[tracked.track]) if tracked.track in readings else [],
                "facs": None,
                "descriptions": None,
            }
            who = tracked.track if options.identify_faces else "unknown"
            self._found.setdefault(who, []).append(prediction)

    def finish(self) -> dict[str, Any]:
        """The faces of each person."""
        numbers = count()
        named = {who: "unknown" if who == "unknown" else f"face_{next(numbers)}" for who in self._found}
        return _grouped({named[who]: found for who, found in self._found.items()})

    def close(self) -> None:
        """Free the models."""
        self._session.close()


class FacemeshFinder(Finder):
    """The points of near faces, their gaze, and the expression that the picture shows beside them.

    Runs only for who asks for it: 478 points of each face at each look are more than most readers want.
    """

    name = "facemesh"
    media = frozenset[Medium]({"picture"})
    unasked = frozenset[Medium]()
    needs = ("face", "gaze")
    nothing = FaceFinder.nothing

    def __init__(self, setting: Setting) -> None:
        analyzers = {"face": {}, "gaze": POINTS} | ({} if "emotion" in setting.withheld else {"emotion": {}})
        try:
            self._session = setting.open_session(analyzers, fps=FPS, stills=setting.still)
        except ModelError as error:
            raise ConfigError(f"{error}; edge-agent models pull face-mesh face-iris") from error
        self._found: list[dict[str, Any]] = []
        self._last = -1.0

    def take(self, item: Frame | AudioBlock | str) -> None:
        """Look at a picture, if it is due."""
        if not isinstance(item, Frame) or min(item.width, item.height) < MIN_SIDE or item.time <= self._last:
            return
        self._last = item.time
        report = self._session.frame(item.data, item.time)
        self._session.take()
        if report is not None:
            self._found += facemeshes(report, (item.index, item.time))

    def finish(self) -> dict[str, Any]:
        """The faces in the order of their pictures."""
        return _grouped({"unknown": self._found} if self._found else {})

    def close(self) -> None:
        """Free the models."""
        self._session.close()


class BurstFinder(Finder):
    """Vocal bursts: the kind of sound, of which no model here says which emotion it carries."""

    name = "burst"
    media = frozenset[Medium]({"sound"})
    needs = ("burst",)
    nothing = "there is no sound in this file"

    def __init__(self, setting: Setting) -> None:
        self._session = setting.open("burst")
        self._events: list[Event] = []

    def take(self, item: Frame | AudioBlock | str) -> None:
        """Listen to a block; times may leave gaps but never go back."""
        if not isinstance(item, AudioBlock):
            return
        with suppress(ValueError):  # a block that overlaps what was heard already
            self._session.sound(item.samples, AUDIO_RATE, item.time)
        self._events += self._session.take()[1]

    def finish(self) -> dict[str, Any]:
        """The bursts in the order of their beginning."""
        events = [*self._events, *self._session.finish().events]
        predictions = [
            {
                "time": {"begin": round(e.start, 3), "end": round(e.start + e.seconds, 3)},
                "emotions": [],
                "descriptions": [{"name": BURST_NAMES.get(e.label, e.label), "score": round(e.score, 6)}],
            }
            for e in sorted(events, key=lambda e: e.start)
            if e.kind == BURST
        ]
        return _grouped({"unknown": predictions} if predictions else {})

    def close(self) -> None:
        """Free the models."""
        self._session.close()


class LanguageFinder(Finder):
    """What the words of a text express, sentence by sentence or as the request cuts it."""

    name = "language"
    media = frozenset[Medium]({"text", "sound"})
    unasked = frozenset[Medium]({"text"})  # what people say is recognised only for who asks for it
    needs = ("language",)
    nothing = "there is no text and no sound in this file"

    def __init__(self, setting: Setting) -> None:
        models = setting.request.models
        self._options = (models.language if models else None) or SpeechOptions()
        self._sure = (setting.request.transcription or TranscriptionOptions()).confidence_threshold or 0.0
        self._spoken = "sound" in setting.there
        if self._spoken and "speech" in setting.withheld:
            raise PluginError("this device's config switches speech off")
        self._session = setting.open("language", **({"speech": True} if self._spoken else {}))
        self._readings: list[Reading] = []
        self._said: list[UtteranceRow] = []

    def take(self, item: Frame | AudioBlock | str) -> None:
        """Read a text."""
        if isinstance(item, str):
            self._readings += self._session.passages(item, _GRANULARITY.get(self._options.granularity, "sentence"))
        elif isinstance(item, AudioBlock):
            with suppress(ValueError):  # a block that overlaps what was heard already
                self._session.sound(item.samples, AUDIO_RATE, item.time)
            self._said += self._session.utterances
            self._session.take()

    def warnings(self) -> list[str]:
        """Parts that could not be judged, and what is asked for and not done here."""
        options = [name for name in ("sentiment", "toxicity") if getattr(self._options, name) is not None]
        missing = "" if self._spoken else undecided(self._readings)
        return [*filter(None, [missing]), *(f"{name}: not on this device" for name in options)]

    def finish(self) -> dict[str, Any]:
        """The parts of the text, or of what was said, that could be judged."""
        if self._spoken:
            return self._heard()
        predictions = []
        for part, observations in self._readings:
            values = probabilities(observations)
            if values is not None:
                named, others = word_emotions(values)
                position = {"begin": part.begin, "end": part.end}
                predictions.append(_words(part.text, position, named, others))
        return _grouped({"unknown": predictions} if predictions else {})

    def _heard(self) -> dict[str, Any]:
        said = [*self._said, *self._session.finish().utterances]
        predictions, begin, sure = [], 0, 1.0
        for row in said:
            position = {"begin": begin, "end": begin + len(row.text)}
            begin += len(row.text) + 1
            if row.emotions is None or (row.confidence is not None and row.confidence < self._sure):
                continue
            sure = min(sure, 1.0 if row.confidence is None else row.confidence)
            named, others = word_emotions(row.emotions)
            time = {"begin": round(row.start, 3), "end": round(row.end, 3)}
            predictions.append(_words(row.text, position, named, others) | {"time": time, "confidence": row.confidence})
        metadata = {"confidence": round(sure, 3), "detected_language": "en"} if predictions else None
        return _grouped({"unknown": predictions} if predictions else {}, metadata)

    def close(self) -> None:
        """Free the models."""
        self._session.close()


class ProsodyFinder(Finder):
    """How turns of speech sound, where the plugin ``voice`` is installed: what it measures, and no emotions."""

    name = "prosody"
    media = frozenset[Medium]({"sound"})
    needs = ("voice",)
    nothing = "there is no sound in this file"

    def __init__(self, setting: Setting) -> None:
        self._session = setting.open("voice")
        self._asked = bool(setting.request.asked)
        self._turns: list[Observation] = []
        self._end = 0.0

    def take(self, item: Frame | AudioBlock | str) -> None:
        """Listen to a block."""
        if not isinstance(item, AudioBlock):
            return
        self._end = item.time + len(item.samples) / AUDIO_RATE
        with suppress(ValueError):  # a block that overlaps what was heard already
            self._hear(self._session.sound(item.samples, AUDIO_RATE, item.time))
        self._session.take()

    def _hear(self, reports: Sequence[AudioReport]) -> None:
        self._turns += [o for report in reports for o in report.observations if o.name == VOICE]

    def warnings(self) -> list[str]:
        """What is not done here."""
        return ["this device measures how a voice sounds ('voice') and no emotions"] if self._asked else []

    def finish(self) -> dict[str, Any]:
        """The turns in order."""
        self._hear(self._session.flush())
        predictions: list[dict[str, Any]] = []
        for turn in self._turns:
            end = min(self._end, turn.time + turn.values.get("turn_seconds", turn.values.get("seconds", 0.0)))
            time = {"begin": round(turn.time, 3), "end": round(end, 3)}
            unknown = dict.fromkeys(("text", "confidence", "speaker_confidence"))
            predictions.append({"time": time, **unknown, "emotions": [], "voice": dict(turn.values)})
        return _grouped({"unknown": predictions} if predictions else {})

    def close(self) -> None:
        """Free the models."""
        self._session.close()


_GRANULARITY: Mapping[str | None, Granularity] = {"utterance": "paragraph", "conversational_turn": "paragraph"}
"""Hume's names of the parts of a text; words are not judged one by one, but in their sentence."""


def _words(text: str, position: Mapping[str, int], named: Any, others: Any) -> dict[str, Any]:
    unknown = dict.fromkeys(("time", "confidence", "speaker_confidence", "sentiment", "toxicity"))
    return {"text": text, "position": position, **unknown, "emotions": named, "others": others}


FINDERS: Mapping[str, type[Finder]] = {
    "face": FaceFinder,
    "facemesh": FacemeshFinder,
    "burst": BurstFinder,
    "language": LanguageFinder,
    "prosody": ProsodyFinder,
}
"""The models of this device, by Hume's names."""


POINTS: Mapping[str, Any] = MappingProxyType({"mesh": True, "per_second": 30.0, "min_face_px": 40})
"""Options of the analyzer ``gaze`` for who wants its points of every picture."""


def facemeshes(report: VisionReport, at: tuple[int, float]) -> list[dict[str, Any]]:
    """Return one prediction for each face with known points: Hume's ``emotions``, as the picture tells them, and what
    is ours: ``landmarks`` [478][3] in pixels, and ``gaze``, degrees and openness."""
    about: dict[str, dict[str | None, Observation]] = {name: {} for name in ("emotion", FACEMESH, GAZE)}
    for observation in report.observations:
        about.get(observation.name, {})[observation.track] = observation
    found = []
    for track, mesh in about[FACEMESH].items():
        numbers = [round(value, 2) for value in mesh.values.values()]
        judged, gaze = about["emotion"].get(track), about[GAZE].get(track)
        found.append(
            {
                "frame": at[0],
                "time": round(at[1], 3),
                "emotions": [] if judged is None else emotions(judged.values),
                "landmarks": [numbers[k : k + 3] for k in range(0, len(numbers), 3)],
                "gaze": {} if gaze is None else {name: round(value, 3) for name, value in gaze.values.items()},
            }
        )
    return found


def _grouped(found: Mapping[str, Sequence[Mapping[str, Any]]], metadata: Any = None) -> dict[str, Any]:
    groups = [{"id": who, "predictions": list(predictions)} for who, predictions in found.items()]
    return {"metadata": metadata, "grouped_predictions": groups}
