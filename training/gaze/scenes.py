"""Rendered heads with a known pose and a known direction of the eyes, from the ICT-FaceKit model (MIT).

Every scene has a person, a pose, a gaze, an expression of eyes and mouth, lamps and a camera of its own, drawn from one
seed. Angles are degrees as seen from the camera: ``yaw`` to the viewer's right, ``pitch`` up, from the line
to the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from training.emotion.faces.head import Array, Head
from training.emotion.faces.paint import painted, person
from training.emotion.faces.raster import drawn
from training.emotion.faces.render import Pose

IDENTITY = 40
"""Identity shapes that are drawn."""
OVERSAMPLED = 2
IRIS_RADIUS = 0.095
"""Eye distances: 5.9 mm."""
FULL_LOOK = (32.0, 28.0)
"""Degrees to the side and up or down at which the lids' shapes are at their full weight."""
ROLL = 8.0
"""Standard deviation of the heads' tilt in degrees."""


@dataclass(frozen=True, slots=True)
class Angles:
    """A direction in degrees: ``yaw`` to the viewer's right, ``pitch`` up; 0, 0 is to the camera."""

    yaw: float
    pitch: float

    @classmethod
    def of(cls, direction: npt.NDArray[np.floating]) -> Angles:
        """Of a vector [3]: x to the viewer's right, y up, z to the camera."""
        x, y, z = (float(v) for v in direction)
        return cls(math.degrees(math.atan2(x, z)), math.degrees(math.atan2(y, math.hypot(x, z))))

    def apart(self, other: Angles) -> float:
        """Degrees between two directions."""
        a, b = self.vector, other.vector
        return math.degrees(math.acos(min(max(float(a @ b), -1.0), 1.0)))

    @property
    def vector(self) -> npt.NDArray[np.float64]:
        """Unit vector [3]."""
        yaw, pitch = math.radians(self.yaw), math.radians(self.pitch)
        return np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture, uint8 [side, side] grey, and the truth about it. ``rotation`` [3, 3] turns the head as the camera sees
    it; ``gaze`` is where both eyes point; ``eyes_shut`` and ``mouth_open`` are shape weights, 0 to 1; ``width``: of the
    face in pixels."""

    image: npt.NDArray[np.uint8]
    rotation: npt.NDArray[np.float64]
    head: Angles
    gaze: Angles
    eyes_shut: float
    mouth_open: float
    width: float


@dataclass(frozen=True, slots=True)
class Wish:
    """What a scene shows; what is None is drawn at random. ``yaw``, ``pitch``: of the head; ``look``: of the eyes in
    the head; all in degrees."""

    yaw: float | None = None
    pitch: float | None = None
    look: tuple[float, float] | None = None
    eyes_shut: float | None = None
    mouth_open: float | None = None
    width: float | None = None


def scene(head: Head, rng: np.random.Generator, wish: Wish | None = None, side: int = 288) -> Scene:
    """Render one scene."""
    wish = wish or Wish()
    yaw = rng.normal(0, 18) if wish.yaw is None else wish.yaw
    pitch = rng.normal(0, 10) if wish.pitch is None else wish.pitch
    shut = (rng.uniform(0, 0.3) if rng.random() < 0.8 else 1.0) if wish.eyes_shut is None else wish.eyes_shut
    mouth = (0.0 if rng.random() < 0.5 else rng.uniform(0.1, 0.9)) if wish.mouth_open is None else wish.mouth_open
    width = rng.uniform(85, 220) if wish.width is None else wish.width
    identity = rng.normal(0, 0.85, IDENTITY).astype(np.float32)
    large = side * OVERSAMPLED
    scale = width * OVERSAMPLED / 2.3
    distance = float(rng.uniform(7, 25))
    pose = Pose(_turned(yaw, -pitch, rng.normal(0, ROLL)), yaw, pitch, distance, scale, rng.normal(0, 0.04 * large, 2))
    rotation = pose.turned.astype(np.float64)
    look = _look(rng, wish, rotation)
    lids = {name: weight * (1 - shut) for name, weight in _looking(look.yaw, look.pitch).items()}
    weights = lids | _expression(shut, mouth, rng)
    points = head.posed(weights, identity)
    values = painted(head, person(rng), weights)
    _turn_eyes(head, points, values, look, rng)
    turned, seen = pose.seen(points, large)
    values = values * _light(head, turned, rng)
    picture = cv2.resize(rng.uniform(0, 1, rng.integers(1, 6, 2)).astype(np.float32), (large, large))
    drawn(picture, seen, values, head.triangles, head.two_sided)
    return Scene(
        _photographed(picture, rng, side),
        rotation,
        Angles.of(rotation[:, 2]),
        Angles.of(rotation @ look.vector),
        shut,
        mouth,
        width,
    )


def _look(rng: np.random.Generator, wish: Wish, rotation: npt.NDArray[np.float64]) -> Angles:
    """Direction of the eyes in the head: as wished, to the camera in a third of scenes, or anywhere within reach."""
    if wish.look is not None:
        return Angles(*wish.look)
    ahead = Angles.of(rotation.T @ np.array([0, 0, 1.0]))
    if rng.random() < 1 / 3 and abs(ahead.yaw) <= 30 and abs(ahead.pitch) <= 22:
        return ahead
    return Angles(rng.uniform(-26, 26), rng.uniform(-20, 16))


def _looking(yaw: float, pitch: float) -> dict[str, float]:
    """Weights of the lids' shapes for eyes turned in the head by degrees: to the viewer's right, and up."""
    right, up = yaw / FULL_LOOK[0], pitch / FULL_LOOK[1]
    names = ("eyeLookOut_L", "eyeLookIn_R") if right > 0 else ("eyeLookIn_L", "eyeLookOut_R")
    along = "eyeLookUp" if up > 0 else "eyeLookDown"
    return dict.fromkeys(names, min(abs(right), 1.0)) | {f"{along}_{side}": min(abs(up), 1.0) for side in "LR"}


def _expression(shut: float, mouth: float, rng: np.random.Generator) -> dict[str, float]:
    smile = max(0.0, rng.normal(0, 0.4))
    made = {"eyeBlink_L": shut, "eyeBlink_R": shut, "jawOpen": mouth}
    return made | {f"mouthSmile_{side}": min(smile, 1.0) for side in "LR"}


def _turned(yaw: float, pitch: float, roll: float) -> Array:
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (about_z @ about_y @ about_x).astype(np.float32)


def _turn_eyes(head: Head, points: Array, values: Array, look: Angles, rng: np.random.Generator) -> None:
    """Turn the eyeballs in ``points`` to ``look``, and paint iris and pupil on them in ``values``, in place."""
    forward = look.vector.astype(np.float32)
    white, iris, radius = rng.uniform(0.65, 0.95), rng.uniform(0.05, 0.45), rng.normal(IRIS_RADIUS, 0.004)
    for side in ("Left", "Right"):
        centre = points[head.of(f"M_Iris{side}")].mean(0)
        ball = head.of(f"M_Sclera{side}", f"M_Iris{side}")
        points[ball] = (points[ball] - centre) @ _turned(look.yaw, -look.pitch, 0.0).T + centre
        ahead = (points[ball] - centre) @ forward
        aside = np.linalg.norm(points[ball] - centre - ahead[:, None] * forward, axis=1)
        colour = np.where(aside < radius, np.where(aside < radius * 0.4, 0.02, iris), white)
        values[ball] = np.where(ahead > 0, colour, white)


def _light(head: Head, turned: Array, rng: np.random.Generator) -> Array:
    """Brightness [n]: sky and one to three lamps; in a quarter of scenes a single lamp from one side."""
    normal, sided = head.normals(turned), rng.random() < 0.25
    shade = rng.uniform(0.2, 0.5) * (1 + rng.uniform(0, 0.5) * normal[:, 1])
    for _ in range(1 if sided else int(rng.integers(1, 4))):
        across = rng.choice([-1, 1]) * rng.uniform(0.7, 1.4) if sided else rng.normal(0, 0.7)
        lamp = np.array([across, rng.normal(0.35, 0.5), rng.uniform(0.3, 1.2)])
        shade = shade + rng.uniform(0.3, 0.9) * np.clip(normal @ (lamp / np.linalg.norm(lamp)).astype(np.float32), 0, 1)
    shade[head.of("M_Teeth", "M_GumsTongue")] *= rng.uniform(0.35, 0.75)
    return np.asarray(np.maximum(shade, 0.02), np.float32)


def _photographed(picture: Array, rng: np.random.Generator, side: int) -> npt.NDArray[np.uint8]:
    """Exposure, blur and noise of a camera."""
    image = np.clip(picture, 0, None) ** rng.uniform(0.7, 1.1)
    low, high = np.percentile(image, [1, 99])
    image = cv2.GaussianBlur(((image - low) / (high - low + 1e-4)).astype(np.float32), (0, 0), rng.uniform(0.8, 2.0))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    small = small * rng.uniform(0.6, 1.0) + rng.uniform(0, 0.15) + rng.normal(0, 0.012, small.shape)
    return np.asarray(np.clip(small, 0, 1) * 255, np.uint8)
