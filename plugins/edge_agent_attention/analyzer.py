"""Score how much each face attends to the camera: by its eyes where analyzer ``gaze`` is sure of them, else by the head
pose that its six key points give.

Pose is plain geometry of an average head seen by a distant camera. The nose tip stands about 27 mm before the line of
the eyes, which are 62 mm apart, and the mouth lies about 65 mm below them. Yaw moves the nose sideways against the eyes
and towards one ear; pitch moves it up or down between eyes and mouth. Heads differ and key points jitter: errors are
about ten degrees, and nothing is measured beyond sixty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.domain.errors import PluginError
from edge_agent.domain.face import KeyPoints, Point, TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import ATTENTION, GAZE, Observation
from edge_agent.plugin import FaceAnalyzer
from edge_agent_attention import AttentionSettings

# ---------------------------------------------------------------------- head pose


_DEPTH = 27 / 62
"""How far the nose tip is before the eyes, in distances of the eyes."""
_NOSE_AT = 0.48
"""Where between eyes and mouth the nose tip is seen from the front: BlazeFace's, the middle of its two ranges."""
_NOD = 27 / 65
_EAR = 0.9
"""Sine of the yaw for each unit of the difference of the nose's distances to the ears over their sum."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Degrees. ``yaw`` is positive when the nose points to the viewer's right, ``pitch`` when it points up, ``roll``
    when the head is tilted clockwise as seen."""

    yaw: float
    pitch: float
    roll: float

    def off(self, yaw: float, pitch: float) -> float:
        """Degrees between this direction and another."""
        return math.hypot(self.yaw - yaw, self.pitch - pitch)


def head_pose(points: KeyPoints, aspect: float) -> Pose | None:
    """The pose, or None when the points cannot be a face's. ``aspect`` is the frame's width over its height."""
    right, left, nose, mouth, right_ear, left_ear = (
        (p.x * aspect, p.y)
        for p in (points.right_eye, points.left_eye, points.nose, points.mouth, points.right_ear, points.left_ear)
    )
    if not all(math.isfinite(v) and abs(v) < 1e6 for p in (right, left, nose, mouth, right_ear, left_ear) for v in p):
        return None
    across = (left[0] - right[0], left[1] - right[1])
    distance = math.hypot(*across)
    if distance < 1e-6:
        return None
    u = (across[0] / distance, across[1] / distance)
    v = (-u[1], u[0])
    middle = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)
    nose_x, nose_y = _along(nose, middle, u), _along(nose, middle, v)
    mouth_y = _along(mouth, middle, v)
    if mouth_y < 0.2 * distance:
        return None
    by_eyes = math.degrees(math.atan(nose_x / distance / _DEPTH))
    pitch = math.degrees(math.atan((_NOSE_AT - nose_y / mouth_y) / _NOD))
    yaw = _with_ears(by_eyes, math.dist(nose, right_ear), math.dist(nose, left_ear))
    return Pose(yaw, pitch, math.degrees(math.atan2(u[1], u[0])))


def _with_ears(by_eyes: float, to_right: float, to_left: float) -> float:
    """The yaw by the eyes, averaged with that by the ears as long as the nose is well between them."""
    lean = _EAR * (to_right - to_left) / max(to_right + to_left, 1e-9)
    by_ears = math.degrees(math.asin(min(max(lean, -1.0), 1.0)))
    share = 0.5 * min(max((40 - abs(by_eyes)) / 20, 0.0), 1.0)
    return (1 - share) * by_eyes + share * by_ears


def _along(point: tuple[float, float], origin: tuple[float, float], axis: tuple[float, float]) -> float:
    return (point[0] - origin[0]) * axis[0] + (point[1] - origin[1]) * axis[1]


_SOFTNESS = 5.0
"""Degrees over which the score falls from .73 to .27 around the edge of the cone: about the error of the pose."""


class AttentionAnalyzer(FaceAnalyzer):
    """Analyzer ``attention``; see the package."""

    def __init__(self, settings: AttentionSettings) -> None:
        self._settings = settings

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        """``score`` (0 to 1) and ``looking`` (0 or 1) for every face whose eyes are known or key points make sense;
        ``eyes`` is 1 where the eyes decided and 0 where the head did."""
        found = []
        for tracked in faces:
            score, eyes = self._by_eyes(tracked.observed.get(GAZE)), 1.0
            if score is None:
                score, eyes = self._by_head(tracked.face.keypoints, frame.width / frame.height), 0.0
            if score is not None:
                values = {"score": score, "looking": 1.0 if score >= 0.5 else 0.0, "eyes": eyes}
                found.append(Observation(ATTENTION, values, frame.time, tracked.track))
        return found

    def self_check(self) -> None:
        """Check that a symmetric face counts as looking at the camera.

        Raises:
            PluginError: it does not count as looking.
        """
        frontal = KeyPoints(
            Point(0.4, 0.4), Point(0.6, 0.4), Point(0.5, 0.51), Point(0.5, 0.63), Point(0.3, 0.45), Point(0.7, 0.45)
        )
        pose = head_pose(frontal, 1.0)
        if pose is None or pose.off(0.0, 0.0) > 10:
            raise PluginError(f"a face seen from the front gets the pose {pose}: this build of the plugin is broken")

    def close(self) -> None:
        """Do nothing: no resource is held."""

    def _by_eyes(self, gaze: Mapping[str, float] | None) -> float | None:
        if gaze is None or gaze["sure"] < 0.5:
            return None
        off = math.hypot(gaze["yaw"] - self._settings.yaw_deg, gaze["pitch"] - self._settings.pitch_deg)
        return _score(off, self._settings.eyes_cone_deg)

    def _by_head(self, points: KeyPoints | None, aspect: float) -> float | None:
        pose = head_pose(points, aspect) if points is not None else None
        if pose is None:
            return None
        return _score(pose.off(self._settings.yaw_deg, self._settings.pitch_deg), self._settings.cone_deg)


def _score(off: float, cone: float) -> float:
    return 1 / (1 + math.exp((off - cone) / _SOFTNESS))
