"""One attention reading for every face with key points: a score, and whether that counts as looking."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_agent.domain.errors import PluginError
from edge_agent.domain.face import KeyPoints, Point, TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import ATTENTION, Observation
from edge_agent.plugin import FaceAnalyzer
from edge_agent_attention import AttentionSettings
from edge_agent_attention.pose import head_pose

_SOFTNESS = 5.0
"""Degrees over which the score falls from .73 to .27 around the edge of the cone: about the error of the pose."""


class AttentionAnalyzer(FaceAnalyzer):
    """See the package's docstring."""

    def __init__(self, settings: AttentionSettings) -> None:
        self._settings = settings

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        """``score`` (0 to 1) and ``looking`` (0 or 1) for every face whose key points make sense."""
        found = []
        for tracked in faces:
            score = self._score(tracked.face.keypoints, frame.width / frame.height)
            if score is not None:
                values = {"score": score, "looking": 1.0 if score >= 0.5 else 0.0}
                found.append(Observation(ATTENTION, values, frame.time, tracked.track))
        return found

    def self_check(self) -> None:
        """A symmetric face looks at the camera.

        Raises:
            PluginError: it does not.
        """
        frontal = KeyPoints(
            Point(0.4, 0.4), Point(0.6, 0.4), Point(0.5, 0.51), Point(0.5, 0.63), Point(0.3, 0.45), Point(0.7, 0.45)
        )
        pose = head_pose(frontal, 1.0)
        if pose is None or pose.off(0.0, 0.0) > 10:
            raise PluginError(f"a face seen from the front gets the pose {pose}: this build of the plugin is broken")

    def close(self) -> None:
        """Nothing is held."""

    def _score(self, points: KeyPoints | None, aspect: float) -> float | None:
        pose = head_pose(points, aspect) if points is not None else None
        if pose is None:
            return None
        off = pose.off(self._settings.yaw_deg, self._settings.pitch_deg)
        return 1 / (1 + math.exp((off - self._settings.cone_deg) / _SOFTNESS))
