"""Decide which faces to read for emotion, and answer for the others from readings of similar appearance.

An emotion reading is a function of the picture of the face, so a face that looks as it did at an earlier reading would
read the same. Each reading is remembered with a 16 x 16 thumbnail of the face for as long as its track lives. A new
thumbnail is answered by kernel regression (Nadaraya-Watson) over the remembered ones, and the model runs only where
they give too little evidence: the sequential test of Savchenko (ICML 2023), with evidence counted per appearance. Old
readings count less, so slow changes are read again. The evidence required is learned per face: the further its readings
lie from their predictions, the more of them are taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.analysis.pacing import Bounds, Decision, Past, plan_reading
from edge_agent.domain.face import Face, TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import EMOTION, EMOTIONS, Observation
from edge_agent.plugin import imaging

# ---------------------------------------------------------------------- a face's appearance


SIDE = 16

Look = npt.NDArray[np.float32]
"""Normalised thumbnail of a face: float32 [SIDE, SIDE], mean 0, standard deviation 1 where there is contrast."""


def look_of(frame: Frame, face: Face) -> Look:
    """Crop the face as the emotion models see it, shrink it to a thumbnail and normalise brightness and contrast."""
    angle = imaging.roll(face, frame)
    crop = imaging.crop_gray(frame, imaging.expression_box(face.box, frame, angle), SIDE, angle).astype(np.float32)
    return np.asarray((crop - crop.mean()) / (crop.std() + np.float32(4.0)), np.float32)


def difference(a: Look, b: Look) -> float:
    """Return the mean absolute difference: 0.05 for noise, 0.1 to 0.2 for a small movement, 0.5 for another pose."""
    return float(np.abs(a - b).mean())


# ---------------------------------------------------------------------- readings remembered by appearance


MEMORY = 32
"""Most readings remembered for a face."""

USUAL_SURPRISE = 0.2
"""Expected distance between a reading and its prediction, for a face without history."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Kernel of the regression: a Gaussian of the difference in appearance with standard deviation ``alike``, zero
    beyond ``apart``, and decaying to 1/e in ``fade`` seconds."""

    alike: float = 0.15
    apart: float = 0.7
    fade: float = 30.0

    def weight(self, distance: float, age: float) -> float:
        """Return the weight of a reading, 0 to 1."""
        if distance > self.apart:
            return 0.0
        return math.exp(-((distance / self.alike) ** 2) / 2 - max(0.0, age) / self.fade)


@dataclass(frozen=True, slots=True, eq=False)
class EmotionReading:
    """Distribution over the emotions, read at ``time`` from a face with the thumbnail ``look``."""

    time: float
    p: tuple[float, ...]
    look: Look


@dataclass(frozen=True, slots=True)
class Answer:
    """Prediction from past readings: a distribution (None: unknown) and its evidence in full readings."""

    p: tuple[float, ...] | None
    evidence: float


@dataclass(frozen=True, slots=True)
class Surprise:
    """Prediction error of one face's readings: squared Euclidean distances of ``weight`` readings that add up to
    ``total``. Starts with two readings of the usual error; about the last ten count."""

    weight: float = 2.0
    total: float = 2.0 * USUAL_SURPRISE**2

    def after(self, read: Sequence[float], recalled: Sequence[float]) -> Surprise:
        """Add a reading for which ``recalled`` was predicted."""
        return Surprise(0.9 * self.weight + 1, 0.9 * self.total + math.dist(read, recalled) ** 2)

    @property
    def relative(self) -> float:
        """Error relative to a usual face: 0.4 (a face that hardly changes) to 2.5 (one whose readings scatter)."""
        return min(max(math.sqrt(self.total / self.weight) / USUAL_SURPRISE, 0.4), 2.5)


def recall(readings: Sequence[EmotionReading], look: Look, now: float, likeness: Likeness) -> Answer:
    """Predict the reading of ``look`` from ``readings``, by kernel regression."""
    weights = [likeness.weight(difference(r.look, look), now - r.time) for r in readings]
    total = sum(weights)
    if total <= 1e-6:
        return Answer(None, 0.0)
    p = [sum(w * r.p[k] for w, r in zip(weights, readings, strict=True)) / total for k in range(len(EMOTIONS))]
    scale = sum(p)
    return Answer(tuple(value / scale for value in p), total)


def remember(readings: Sequence[EmotionReading], reading: EmotionReading) -> tuple[EmotionReading, ...]:
    """Append a reading, dropping the oldest beyond :data:`MEMORY`."""
    return (*readings, reading)[-MEMORY:]


class ReadingPlan:
    """Reading memory of one camera: decides which faces to read, then learns the readings; forgets ended tracks."""

    def __init__(self, bounds: Bounds, likeness: Likeness | None = None) -> None:
        self._bounds = bounds
        self._likeness = likeness or Likeness()
        self._readings: dict[str, tuple[EmotionReading, ...]] = {}
        self._surprise: dict[str, Surprise] = {}
        self._looks: dict[str, Look] = {}
        self._answers: dict[str, Answer] = {}

    def decide(self, frame: Frame, faces: Sequence[TrackedFace], seen: frozenset[str]) -> Mapping[str, Decision]:
        """Decide about every face in view; those not in ``seen`` were not detected in this frame and cannot be read."""
        present = {face.track for face in faces}
        self._readings = {track: r for track, r in self._readings.items() if track in present}
        self._surprise = {track: s for track, s in self._surprise.items() if track in present}
        self._looks, self._answers = {}, {}
        return {face.track: self._decide(frame, face, face.track in seen, len(faces)) for face in faces}

    def learn(self, observations: Sequence[Observation], now: float) -> list[Observation]:
        """Learn the readings of the frame last decided on; return predictions for the faces that were not read."""
        for observation in observations:
            track = observation.track
            if observation.name == EMOTION and track is not None:
                self._learn(track, tuple(observation.values[name] for name in EMOTIONS), now)
        return [
            Observation(EMOTION, dict(zip(EMOTIONS, answer.p, strict=True)), now, track, recalled=True)
            for track, answer in self._answers.items()
            if answer.p is not None
        ]

    def _learn(self, track: str, p: tuple[float, ...], now: float) -> None:
        answer, look = self._answers.pop(track, None), self._looks.get(track)
        if answer is not None and answer.p is not None:
            self._surprise[track] = self._surprise.get(track, Surprise()).after(p, answer.p)
        if look is not None:
            self._readings[track] = remember(self._readings.get(track, ()), EmotionReading(now, p, look))

    def _decide(self, frame: Frame, face: TrackedFace, seen: bool, people: int) -> Decision:
        if not seen:
            return Decision(False, "not detected now")
        if self._bounds.fixed:
            return plan_reading(Past(), self._bounds)
        look = self._looks[face.track] = look_of(frame, face.face)
        readings = self._readings.get(face.track, ())
        answer = self._answers[face.track] = recall(readings, look, frame.time, self._likeness)
        age = frame.time - readings[-1].time if readings else math.inf
        surprise = self._surprise.get(face.track, Surprise()).relative
        return plan_reading(Past(len(readings), age, answer.evidence, people, surprise), self._bounds)
