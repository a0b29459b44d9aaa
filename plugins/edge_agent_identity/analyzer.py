"""Analyzer ``identity``: looks at each face at most once a second until it is settled, then once a minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import Face, TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import IDENTITY, REAPPEARED, UNKNOWN_PERSON, Observation
from edge_agent.plugin import JUDGED_WITHIN_S, AnalyzerContext, Embedding, FaceRecognizer, UnfitFaceError
from edge_agent_identity import Network, RecognitionSettings
from edge_agent_identity.deciding import (
    LookRules,
    Standing,
    Vector,
    look,
    reappearance,
    similarities,
    without_doubles,
)
from edge_agent_identity.embedding import SIDE, align, fitness, make_embedder

THRESHOLDS: dict[Network, float] = {"mobilefacenet": 0.75, "sface": 0.50}
"""Default of ``threshold``: for three looks about .1 % of false accepts in the worst group; see MODEL_CARD.md."""

RELAXED = 0.10
"""How far below that a face counts as one that was just lost: there are few of them, and it is the same camera."""

LOST_S = 0.3
"""Seconds without a sight after which a track counts as lost."""


class IdentityAnalyzer(FaceRecognizer):
    """Analyzer ``identity``; see the package."""

    def __init__(self, settings: RecognitionSettings, context: AnalyzerContext) -> None:
        self._settings = settings
        self._people = context.people
        self._embed = make_embedder(settings.network, context)
        self.alike = settings.threshold or THRESHOLDS[settings.network]
        self.recollects_s = settings.remember_s if settings.reidentify else 0.0
        self._rules = LookRules(self.alike, settings.looks)
        self._standings: dict[str, Standing] = {}
        self._memory: dict[str, Vector] = {}
        self._seen: dict[str, float] = {}
        self._version = -1

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        """Who each settled face is, and which new face is one that was just lost."""
        now = frame.time
        self._drop_old(now)
        self._notice_changes()
        due = [f for f in faces if self._standing(f.track).due <= now and self._fit(f.face, frame)]
        vectors = self._embed([align(face.face, frame) for face in due]) if due else []
        returned: dict[str, Observation] = {}
        for face, vector in zip(due, vectors, strict=True):
            back = self._came_back(face, vector, {f.track for f in faces}, now)
            if back is not None:
                returned[face.track] = back
            self._look(self._name(face.track, returned), vector, now)
        self._standings = without_doubles(self._standings, now)
        names = [self._name(face.track, returned) for face in faces]
        self._seen |= dict.fromkeys(names, now)
        return [*returned.values(), *(o for name in names for o in self._told(name, now))]

    def embed(self, frame: Frame, face: Face) -> Embedding:
        """Embed one face, for enrolment. Raises UnfitFaceError."""
        judged = fitness(face, frame, self._settings.min_face_px)
        if not judged.fit:
            raise UnfitFaceError(judged.why)
        return Embedding(self._settings.network, self._embed([align(face, frame)])[0])

    def self_check(self) -> None:
        """Check that a flat grey picture gives a vector of length 1.

        Raises:
            ModelError: it does not.
        """
        (vector,) = self._embed([np.full((SIDE, SIDE, 3), 128, np.uint8)])
        if vector.ndim != 1 or not abs(float(np.linalg.norm(vector)) - 1) < 1e-3:
            raise ModelError(f"the network {self._settings.network} gives no embedding")

    def forget(self) -> None:
        """Drop every embedding and every name."""
        for track in list(self._memory):
            self._erase(track)
        self._standings.clear()
        self._seen.clear()

    def close(self) -> None:
        """Drop every embedding."""
        self.forget()

    def _fit(self, face: Face, frame: Frame) -> bool:
        return fitness(face, frame, self._settings.min_face_px).fit

    def _standing(self, track: str) -> Standing:
        return self._standings.get(track, Standing())

    def _told(self, track: str, now: float) -> list[Observation]:
        standing = self._standing(track)
        if standing.who is None or self._people is None:
            return []
        return [Observation(IDENTITY, {standing.who or UNKNOWN_PERSON: standing.score}, now, track)]

    def _came_back(self, face: TrackedFace, vector: Vector, in_view: set[str], now: float) -> Observation | None:
        """Which lost track this new one is; told only while the lane still waits for the answer."""
        track = face.track
        if not self.recollects_s or track in self._standings or now - face.since > JUDGED_WITHIN_S:
            return None
        lost = {t: v for t, v in self._memory.items() if t not in in_view and now - self._seen[t] >= LOST_S}
        found = reappearance(vector, lost, self.alike - RELAXED)
        return found and Observation(REAPPEARED, {"similarity": min(1.0, found[1])}, now, track, before=found[0])

    @staticmethod
    def _name(track: str, returned: Mapping[str, Observation]) -> str:
        """The track's name before it was lost, or its own."""
        return (track in returned and returned[track].before) or track

    def _look(self, track: str, vector: Vector, now: float) -> None:
        known = self._people.templates(self._settings.network) if self._people is not None else {}
        self._standings[track] = look(self._standing(track), similarities(vector, known), self._rules, now)
        if self.recollects_s:
            self._erase(track)
            self._memory[track] = vector

    def _drop_old(self, now: float) -> None:
        keep = max(self.recollects_s, LOST_S)
        for track, seen in list(self._seen.items()):
            if not 0 <= now - seen <= keep:
                self._erase(track)
                self._standings.pop(track, None)
                del self._seen[track]

    def _erase(self, track: str) -> None:
        vector = self._memory.pop(track, None)
        if vector is not None:
            vector.fill(0)

    def _notice_changes(self) -> None:
        """Look at everybody anew after an enrolment or a removal."""
        version = self._people.version if self._people is not None else 0
        if version != self._version:
            self._version = version
            self._standings.clear()
