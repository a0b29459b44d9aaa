"""Head pose from the six key points of one face: plain geometry of an average head seen by a far camera.

The nose tip stands about 27 mm before the line of the eyes, which are 62 mm apart, and the mouth lies about 65 mm below
them. Turning the head moves the nose sideways against the eyes and towards one ear; nodding moves it up or down between
eyes and mouth. Heads differ and key points jitter, so expect errors of about ten degrees, and nothing beyond sixty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_agent.domain.face import KeyPoints

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
