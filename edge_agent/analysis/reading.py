"""Which faces are read now, and what is said about the others: one camera's memory of readings and looks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edge_agent.analysis.appearance import Look, look_of
from edge_agent.analysis.evidence import Answer, Likeness, Reading, Surprise, recall, remember
from edge_agent.analysis.pacing import Bounds, Decision, Past, plan_reading
from edge_agent.domain.face import TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import EMOTION, EMOTIONS, Observation


class ReadingPlan:
    """Decides about the faces of a frame, then learns what was read. Forgets a track as soon as it is out of view."""

    def __init__(self, bounds: Bounds, likeness: Likeness | None = None) -> None:
        self._bounds = bounds
        self._likeness = likeness or Likeness()
        self._readings: dict[str, tuple[Reading, ...]] = {}
        self._surprise: dict[str, Surprise] = {}
        self._looks: dict[str, Look] = {}
        self._answers: dict[str, Answer] = {}

    def decide(self, frame: Frame, faces: Sequence[TrackedFace], seen: frozenset[str]) -> Mapping[str, Decision]:
        """A decision for every face in ``faces``, which is everyone in view; those not in ``seen`` cannot be read."""
        present = {face.track for face in faces}
        self._readings = {track: r for track, r in self._readings.items() if track in present}
        self._surprise = {track: s for track, s in self._surprise.items() if track in present}
        self._looks, self._answers = {}, {}
        return {face.track: self._decide(frame, face, face.track in seen, len(faces)) for face in faces}

    def learn(self, observations: Sequence[Observation], now: float) -> list[Observation]:
        """Account for what was read of the frame last decided on; returns what is recalled about the other faces."""
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
            self._readings[track] = remember(self._readings.get(track, ()), Reading(now, p, look))

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
