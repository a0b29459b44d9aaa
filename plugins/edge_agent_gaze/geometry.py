"""Head pose, direction of the eyes, and openness of eyes and mouth, from the points of a face's mesh. Pure functions.

The head is turned until its rigid points, seen in perspective, fit the mesh (PnP). The eyes' direction follows from
where irises and lids lie on the fitted head, and from its pose: an iris moves by the sine of the angle, and the lids
follow it, so a linear function of their places serves. ``geometry.json`` holds the rigid points and the weights, fitted
to rendered heads of known pose and gaze by ``python -m training.gaze.fit``.

Angles are degrees as seen from the camera: yaw to the viewer's right, pitch up; 0, 0 is straight to the camera.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib import resources
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent_gaze.mesh import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS, FloatArray

Array = npt.NDArray[np.float64]

RIGID = (
    1, 4, 5, 6, 9, 10, 33, 50, 54, 67, 98, 117, 127, 129, 132, 133, 143, 151, 168, 195,
    197, 234, 263, 280, 284, 297, 327, 346, 356, 358, 361, 362, 372, 454,
)  # fmt: skip
"""Points of the mesh that move with the skull: forehead, temples, nose, cheekbones, corners of the eyes."""
DISTANCE = 12.0
"""Assumed distance of the camera in distances of the eyes (75 cm): it only sets how strong the perspective is."""

_UPRIGHT = np.diag([1.0, -1.0, -1.0])
"""From OpenCV's axes (y down, z away) to ours (y up, z to the camera), and back."""
_BALL = 0.19
"""From the middle of an eyeball to its iris, in distances of the eyes."""
_LIDS = 16
_EYE = 2 * (_LIDS + 1)
_IRIS = np.array([_EYE - 2, _EYE - 1])
"""Number of features of an eye, and which of them are its iris."""
_LOWER_LID, _UPPER_LID = slice(3, 6), slice(11, 14)
"""Middles of the lids among the points of an eye."""
_INNER_LIPS, _LIP_CORNERS = (13, 14), (78, 308)


@dataclass(frozen=True, slots=True)
class Direction:
    """Degrees from the line to the camera."""

    yaw: float
    pitch: float

    @classmethod
    def of(cls, vector: Array) -> Self:
        """Of a vector [3]: x to the viewer's right, y up, z to the camera."""
        x, y, z = vector.tolist()
        return cls(math.degrees(math.atan2(x, z)), math.degrees(math.atan2(y, math.hypot(x, z))))


@dataclass(frozen=True, slots=True, eq=False)
class HeadPose:
    """``rotation`` [3, 3]: from the head's axes to the camera's; ``scale``: pixels in a distance of the eyes;
    ``error``: mean distance of the rigid points from the mesh's, in distances of the eyes."""

    rotation: Array
    scale: float
    error: float

    @property
    def nose(self) -> Direction:
        """Where the nose points."""
        return Direction.of(self.rotation[:, 2])

    @property
    def roll(self) -> float:
        """Tilt of the head in degrees, clockwise as seen."""
        return math.degrees(math.atan2(-self.rotation[1, 0], self.rotation[0, 0]))


@dataclass(frozen=True, slots=True)
class Look:
    """``gaze``: of both eyes; ``apart``: degrees between them, roughly; openness 0 (shut) to 1."""

    gaze: Direction
    apart: float
    eyes_open: float
    mouth_open: float


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """``points`` [n, 3]: the rigid points on an average head in distances of the eyes; ``gaze`` [71, 2]: weights of
    :meth:`features` for the horizontal and vertical component of the eyes' direction; ``eyes``, ``mouth``: gap of the
    lids over their width, and of the lips over the eyes' distance, at 0 and at 1."""

    points: Array
    gaze: Array
    eyes: tuple[float, float]
    mouth: tuple[float, float]

    @classmethod
    def bundled(cls) -> Self:
        """The fitted constants."""
        return cls.of(json.loads(resources.files(__package__).joinpath("geometry.json").read_text("utf-8")))

    @classmethod
    def of(cls, told: dict[str, Any]) -> Self:
        """As ``geometry.json`` has them."""
        points, gaze = (np.array(told[name], np.float64) for name in ("points", "gaze"))
        return cls(points, gaze, tuple(told["eyes"]), tuple(told["mouth"]))

    def pose(self, mesh: FloatArray) -> HeadPose | None:
        """The pose of the head whose mesh [478, 3] is in pixels; None when no pose fits."""
        if not np.isfinite(mesh).all() or np.ptp(mesh[:, :2]) < 1:
            return None
        seen = mesh[list(RIGID), :2].astype(np.float64)
        middle = seen.mean(axis=0)
        spread, own = seen - middle, self.points[:, :2] - self.points[:, :2].mean(axis=0)
        focal = DISTANCE * math.sqrt(float((spread**2).sum() / (own**2).sum()))
        camera = np.diag([focal, focal, 1.0])
        shape = self.points @ _UPRIGHT
        try:
            found, turn, shift = cv2.solvePnP(shape, spread, camera, None, flags=cv2.SOLVEPNP_SQPNP)
            turn, shift = cv2.solvePnPRefineLM(shape, spread, camera, None, turn, shift)
        except cv2.error:
            return None
        depth = float(shift.ravel()[2])
        if not found or not math.isfinite(depth) or depth <= 0:
            return None
        rotation = np.asarray(_UPRIGHT @ cv2.Rodrigues(turn)[0] @ _UPRIGHT, np.float64)
        fitted, _ = cv2.projectPoints(shape, turn, shift, camera, None)
        scale = focal / depth
        error = float(np.linalg.norm(fitted.reshape(-1, 2) - spread, axis=1).mean() / scale)
        return HeadPose(rotation, scale, error)

    def look(self, mesh: FloatArray, pose: HeadPose) -> Look:
        """Eyes and mouth of a head with this pose."""
        parts = self.features(mesh, pose)
        across, along = parts @ self.gaze
        # Both irises lie alike between their lids unless one is misplaced or hidden.
        apart = math.degrees(float(np.linalg.norm(parts[_IRIS] - parts[_IRIS + _EYE])) / _BALL)
        # The farther eye of a turned head is seen at a slant: the nearer one counts more.
        widths = np.array([_width(mesh, indices) for indices in (RIGHT_EYE, LEFT_EYE)]) ** 2
        gaps = [_gap(mesh, indices) for indices in (RIGHT_EYE, LEFT_EYE)]
        lips = float(np.linalg.norm(np.subtract(*mesh[list(_INNER_LIPS), :2]))) / pose.scale
        return Look(
            Direction.of(_unrolled(float(across), float(along), pose.roll)),
            apart,
            _between(float(widths @ gaps / widths.sum()), self.eyes),
            _between(lips, self.mouth),
        )

    def features(self, mesh: FloatArray, pose: HeadPose) -> Array:
        """Features [71] of both eyes: for the right and then the left one, lids and iris [17, 2] against the middle of
        the eye's corners on the fitted head; the direction of the head; 1. Right and up along the level head, in
        distances of the eyes."""
        level = math.radians(pose.roll)
        turn = np.array([[math.cos(level), math.sin(level)], [math.sin(level), -math.cos(level)]])
        fitted = (self.points @ pose.rotation.T)[:, :2] * [1, -1] * pose.scale
        fitted += mesh[list(RIGID), :2].mean(axis=0) - fitted.mean(axis=0)
        parts = []
        for indices, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
            middle = fitted[[RIGID.index(indices[0]), RIGID.index(indices[8])]].mean(axis=0)
            eye = np.vstack([mesh[list(indices[:_LIDS]), :2], mesh[iris : iris + 5, :2].mean(axis=0)])
            parts.append(((eye - middle) @ turn.T / pose.scale).ravel())
        forward = turn @ (pose.rotation[:2, 2] * [1, -1])
        return np.concatenate([*parts, forward, [1.0]])


def _unrolled(across: float, along: float, roll: float) -> Array:
    """Unit vector [3] in the camera's axes, from its components along the level head."""
    length = math.hypot(across, along)
    if length > 0.95:
        across, along, length = across * 0.95 / length, along * 0.95 / length, 0.95
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    return np.array([across * cos + along * sin, along * cos - across * sin, math.sqrt(1 - length**2)])


def _width(mesh: FloatArray, indices: tuple[int, ...]) -> float:
    return max(float(np.linalg.norm(mesh[indices[0], :2] - mesh[indices[8], :2])), 1e-6)


def _gap(mesh: FloatArray, indices: tuple[int, ...]) -> float:
    """Distance of the lids over the width of the eye."""
    eye = mesh[list(indices), :2]
    lids = eye[_UPPER_LID].mean(axis=0) - eye[_LOWER_LID].mean(axis=0)
    return float(np.linalg.norm(lids)) / _width(mesh, indices)


def _between(value: float, ends: tuple[float, float]) -> float:
    return min(max((value - ends[0]) / (ends[1] - ends[0]), 0.0), 1.0)
