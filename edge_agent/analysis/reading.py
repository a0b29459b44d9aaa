"""Which faces are read now: keeps, for each track, what was read and how it looked then. Decides by pacing's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_agent.analysis.appearance import Look, difference, look_of
from edge_agent.analysis.evidence import History, Reading
from edge_agent.analysis.pacing import Bounds, Decision, plan_reading
from edge_agent.domain.face import TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import EMOTION, EMOTIONS, Observation


class ReadingPlan:
    """The memory of one camera's readings; forgets a track as soon as it is out of view."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._histories: dict[str, History] = {}
        self._read_as: dict[str, Look] = {}
        self._looks: dict[str, Look] = {}

    def decide(self, frame: Frame, faces: Sequence[TrackedFace], seen: frozenset[str]) -> Mapping[str, Decision]:
        """A decision for every face in ``faces``, which is everyone in view; those not in ``seen`` cannot be read."""
        present = {face.track for face in faces}
        self._histories = {track: h for track, h in self._histories.items() if track in present}
        self._read_as = {track: look for track, look in self._read_as.items() if track in present}
        self._looks = {}
        return {face.track: self._decide(frame, face, face.track in seen, len(faces)) for face in faces}

    def learn(self, observations: Sequence[Observation]) -> None:
        """Account for what was read of the frame last decided on."""
        for observation in observations:
            track = observation.track
            if observation.name == EMOTION and track is not None:
                reading = Reading(observation.time, tuple(observation.values[name] for name in EMOTIONS))
                self._histories[track] = self._histories.get(track, History()).add(reading)
                if track in self._looks:
                    self._read_as[track] = self._looks[track]

    def reset(self) -> None:
        """Forget everyone."""
        self._histories, self._read_as, self._looks = {}, {}, {}

    def _decide(self, frame: Frame, face: TrackedFace, seen: bool, people: int) -> Decision:
        if not seen:
            return Decision(False, "not detected now")
        change = 0.0
        if not self._bounds.fixed:
            look = self._looks[face.track] = look_of(frame, face.face)
            if face.track in self._read_as:
                change = difference(self._read_as[face.track], look)
        history = self._histories.get(face.track, History())
        return plan_reading(history, face.since, frame.time, change, people, self._bounds)
