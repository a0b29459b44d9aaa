"""Read the gaze of near faces at a limited rate for each track, and repeat the last reading between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import Box, Face, TrackedFace
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.domain.observation import FACEMESH, GAZE, Observation
from edge_agent.models.tflite import TfliteModel
from edge_agent.plugin import AnalyzerContext, FaceAnalyzer
from edge_agent_gaze import GazeSettings
from edge_agent_gaze.geometry import Geometry, HeadPose, Look
from edge_agent_gaze.mesh import IRIS_MODEL, MESH_MODEL, FaceMesh, FloatArray

FACE = 0.5
"""Least score of the mesh network for a face to be read at all."""
FORGET_S = 2.0
"""Seconds after which a reading is no longer repeated, as of a person who was out of view or too small."""
_EARLY_S = 0.01
"""Tolerance of the rate: pictures do not come in exact time."""


@dataclass(frozen=True, slots=True)
class Sureness:
    """Where the direction of the eyes can be relied on; degrees, except ``open``, the least openness of the eyes, and
    ``misfit``, the largest error of the pose in distances of the eyes."""

    yaw: float = 40.0
    pitch: float = 30.0
    apart: float = 30.0
    open: float = 0.4
    misfit: float = 0.06

    def sure(self, pose: HeadPose, look: Look) -> bool:
        """Whether gaze can be relied on."""
        nose = pose.nose
        return (
            abs(nose.yaw) <= self.yaw
            and abs(nose.pitch) <= self.pitch
            and look.apart <= self.apart
            and look.eyes_open >= self.open
            and pose.error <= self.misfit
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    time: float
    values: Mapping[str, float]


class GazeAnalyzer(FaceAnalyzer):
    """Analyzer ``gaze``; see the package.

    Raises:
        ModelError: a model is not installed or not usable.
    """

    def __init__(self, settings: GazeSettings, context: AnalyzerContext) -> None:
        self._settings = settings
        self._mesh = FaceMesh(
            *(TfliteModel(context.models.locate(name), context.threads) for name in (MESH_MODEL, IRIS_MODEL))
        )
        self._geometry = Geometry.bundled()
        self._limits = Sureness()
        self._readings: dict[str, _Reading] = {}

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        """One observation ``gaze`` for each near face, and ``facemesh`` where it is asked for and was read just now."""
        now = frame.time
        self._readings = {t: r for t, r in self._readings.items() if 0 <= now - r.time <= FORGET_S}
        found: list[Observation] = []
        for tracked in faces:
            if tracked.face.box.w * frame.width < self._settings.min_face_px:
                continue
            if self._due(tracked.track, now):
                found += self._read(frame, tracked)
            if (reading := self._readings.get(tracked.track)) is not None:
                found.append(Observation(GAZE, reading.values, now, tracked.track))
        return found

    def self_check(self) -> None:
        """Check that the networks run and take a grey picture for no face.

        Raises:
            ModelError: they do not.
        """
        blank = Frame(np.full((256, 256), 128, np.uint8), PixelFormat.GRAY, 256, 256, 0.0, 0)
        if self._mesh(blank, Face(Box(0.2, 0.2, 0.6, 0.6), 1.0)).score > FACE:
            raise ModelError("the mesh network sees a face in an empty picture: it does not work on this machine")

    def close(self) -> None:
        """Do nothing: the interpreters are freed with the object."""

    def _due(self, track: str, now: float) -> bool:
        last = self._readings.get(track)
        return last is None or now - last.time >= 1 / self._settings.per_second - _EARLY_S

    def _read(self, frame: Frame, tracked: TrackedFace) -> list[Observation]:
        """Read a face into ``_readings``; forget it where there is none. Return its points if they are asked for."""
        self._readings.pop(tracked.track, None)
        mesh = self._mesh(frame, tracked.face)
        pose = self._geometry.pose(mesh.points) if mesh.score >= FACE else None
        if pose is None:
            return []
        look = self._geometry.look(mesh.points, pose)
        values = {
            "yaw": look.gaze.yaw,
            "pitch": look.gaze.pitch,
            "head_yaw": pose.nose.yaw,
            "head_pitch": pose.nose.pitch,
            "head_roll": pose.roll,
            "eyes_open": look.eyes_open,
            "mouth_open": look.mouth_open,
            "sure": float(self._limits.sure(pose, look)),
        }
        self._readings[tracked.track] = _Reading(frame.time, values)
        return [Observation(FACEMESH, _named(mesh.points), frame.time, tracked.track)] if self._settings.mesh else []


def _named(points: FloatArray) -> dict[str, float]:
    return {
        f"{axis}{n}": value for n, point in enumerate(points.tolist()) for axis, value in zip("xyz", point, strict=True)
    }
