"""Render labelled faces: a person, a face made, a pose, lights and a camera, all drawn from one seed.

    python -m training.emotion.faces.render --facekit ../shared/data/facekit/ict_facekit.npz --count 10000 --seed 1 \
        --out faces.npz --sheet faces.png

Writes ``images`` uint8 [n, side, side], framed as FER+ is; ``targets`` float32 [n, 8] and ``labels`` int64 [n] in the
order of FER+; ``strengths``, ``yaw`` and ``pitch`` (degrees; to the person's left and up) and ``gaze`` [n, 2] (weights
of looking to the person's left and up). Every face is a person of its own: faces of another seed are of people who were
never seen. About 20 ms a face on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from training.emotion.dataset import CLASSES, SIDE
from training.emotion.faces import head as heads
from training.emotion.faces.expressions import Act, act
from training.emotion.faces.head import Array, Head
from training.emotion.faces.paint import Person, painted, person
from training.emotion.faces.raster import drawn

OVERSAMPLED = 2
"""Faces are drawn this many times larger than they are stored."""
CENTRE = np.array([0.0, -0.56, -0.6], np.float32)
"""What the head turns around, and the middle of the picture."""
IDENTITY = 40
"""How many identity shapes are drawn; the others together move no point by a pixel."""
SPAN = 2.55
"""Width of the picture in eye distances, as in FER+."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """``turned`` [3, 3] rotates the head by ``yaw``, ``pitch`` and roll; the camera is ``distance`` eye distances away,
    and a pixel is 1 / ``scale`` of one. ``offset``: where the head's centre is off the middle, pixels."""

    turned: Array
    yaw: float
    pitch: float
    distance: float
    scale: float
    offset: npt.NDArray[np.float64]

    def seen(self, points: Array, side: int) -> tuple[Array, Array]:
        """Turned points [n, 3], and where they are in the picture: pixels right and down, and nearness."""
        q = (points - CENTRE) @ self.turned.T
        nearer = self.distance / (self.distance - q[:, 2])
        across = side / 2 + self.offset[0] + q[:, 0] * nearer * self.scale
        down = side / 2 + self.offset[1] - q[:, 1] * nearer * self.scale
        return q, np.stack([across, down, q[:, 2]], 1).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A picture, uint8 [side, side], and the truth about it."""

    image: npt.NDArray[np.uint8]
    act: Act
    pose: Pose


def rendered(head: Head, label: str, rng: np.random.Generator, side: int = SIDE) -> Rendered:
    """One random face of the class ``label``."""
    made, who = act(head, label, rng), person(rng)
    identity = rng.normal(0, 0.85, IDENTITY).astype(np.float32)
    return _shot(head, made, who, identity, rng, side)


def portrait(
    head: Head, who: Person, identity: Array, rng: np.random.Generator, side: int = SIDE
) -> npt.NDArray[np.uint8]:
    """One picture of the person ``who`` with the ``identity`` shapes [n], in a random pose, light and mood."""
    return _shot(head, act(head, str(rng.choice(CLASSES)), rng), who, identity, rng, side).image


def _shot(head: Head, made: Act, who: Person, identity: Array, rng: np.random.Generator, side: int) -> Rendered:
    large = side * OVERSAMPLED
    points = head.posed(made.weights, identity)
    pose = _pose(rng, large)
    turned, seen = pose.seen(points, large)
    values = painted(head, who, made.weights) * _light(head, turned, rng)
    picture = _background(rng, large)
    if who.style in ("long", "scarf"):
        _curtain(picture, pose, who, rng)
    drawn(picture, seen, values, head.triangles, head.two_sided)
    if rng.random() < 0.15:
        _glasses(picture, pose, rng)
    return Rendered(_photographed(picture, rng, side), made, pose)


def _pose(rng: np.random.Generator, side: int) -> Pose:
    spread = 14 if rng.random() < 0.8 else 25
    yaw, pitch, roll = rng.normal(0, spread), rng.normal(0, 9), rng.normal(0, 5)
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turned = (about_z @ about_x @ about_y).astype(np.float32)
    scale = side / rng.normal(SPAN, 0.13)
    return Pose(turned, yaw, pitch, float(rng.uniform(5, 14)), float(scale), rng.normal(0, 0.02 * side, 2))


def _light(head: Head, turned: Array, rng: np.random.Generator) -> Array:
    """Brightness [n] of a white surface: sky and ground, one to three lamps (a lone one from the side in a fifth of
    pictures), a little gloss, and shade inside the mouth."""
    normal = head.normals(turned)
    sided = rng.random() < 0.2
    ambient = rng.uniform(0.15, 0.4) if sided else rng.uniform(0.25, 0.6)
    shade = ambient * (1 + rng.uniform(0, 0.5) * normal[:, 1])
    gloss = rng.uniform(0, 0.2)
    for _ in range(1 if sided else int(rng.integers(1, 4))):
        lamp = np.array([rng.normal(0, 0.7), rng.normal(0.35, 0.5), rng.uniform(0.4, 1.2)])
        if sided:
            lamp = np.array([rng.choice([-1, 1]) * rng.uniform(0.7, 1.4), rng.normal(0.2, 0.5), rng.uniform(0.1, 0.7)])
        lamp /= np.linalg.norm(lamp)
        strength = rng.uniform(0.6, 1.1) if sided else rng.uniform(0.2, 0.8)
        shade = shade + strength * np.clip(normal @ lamp.astype(np.float32), 0, 1)
        halfway = lamp + np.array([0, 0, 1])
        halfway /= np.linalg.norm(halfway)
        shine = np.clip(normal @ halfway.astype(np.float32), 0, 1) ** rng.uniform(8, 40)
        shade = shade + gloss * strength * shine
    shade[head.of("M_Teeth", "M_GumsTongue")] *= rng.uniform(0.35, 0.75)
    return np.asarray(np.maximum(shade, 0.02), np.float32)


def _background(rng: np.random.Generator, side: int) -> Array:
    size = rng.integers(1, 6, 2)
    coarse = rng.uniform(0, 1, size).astype(np.float32) * rng.uniform(0.2, 1)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1.2))


def _curtain(picture: Array, pose: Pose, who: Person, rng: np.random.Generator) -> None:
    """Long hair, or a scarf, behind the face and beside the neck."""
    side = len(picture)
    middle = (side / 2 + pose.offset).astype(int)
    axes = (int(rng.uniform(1.15, 1.5) * pose.scale), int(rng.uniform(1.7, 2.4) * pose.scale))
    mask = np.zeros((side, side), np.float32)
    cv2.ellipse(mask, (int(middle[0]), int(middle[1] + 0.3 * pose.scale)), axes, 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), side / 60)
    streaks = 1 + 0.25 * np.sin(np.arange(side) * rng.uniform(0.2, 1) + rng.uniform(0, 6))[None, :]
    picture[:] = picture * (1 - mask) + mask * who.hair * rng.uniform(0.4, 1) * streaks


def _glasses(picture: Array, pose: Pose, rng: np.random.Generator) -> None:
    """Frames around both eyes, a bridge, temples, and glasses that darken or reflect a little."""
    side, dark, thick = len(picture), float(rng.uniform(0, 0.35)), int(rng.integers(1, max(2, len(picture) // 30)))
    wide, high, round_ = rng.uniform(0.36, 0.44), rng.uniform(0.24, 0.36), rng.uniform(1, 4)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    power = 2 / (1 + round_)
    ring = np.stack([wide * _signed(np.cos(angle), power), high * _signed(np.sin(angle), power)], 1)
    for eye in (-0.5, 0.5):
        points = np.column_stack([ring[:, 0] + eye, ring[:, 1] - 0.04, np.full(len(ring), 0.32)]).astype(np.float32)
        outline = pose.seen(points, side)[1][:, :2].round().astype(np.int32)
        glass = np.zeros((side, side), np.float32)
        cv2.fillPoly(glass, [outline], 1.0)
        picture += glass * (rng.uniform(0, 0.12) if rng.random() < 0.3 else 0.0) * picture.max()
        cv2.polylines(picture, [outline], True, dark, thick, cv2.LINE_AA)
    ends = np.array([[-0.14, 0, 0.36], [0.14, 0, 0.36], [-0.92, 0.05, 0.3], [-1.1, 0.0, -0.9],
                     [0.92, 0.05, 0.3], [1.1, 0.0, -0.9]], np.float32)  # fmt: skip
    at = pose.seen(ends, side)[1][:, :2].round().astype(int)
    for first, second in ((0, 1), (2, 3), (4, 5)):
        cv2.line(picture, tuple(map(int, at[first])), tuple(map(int, at[second])), dark, thick, cv2.LINE_AA)


def _signed(values: npt.NDArray[np.float64], power: float) -> npt.NDArray[np.float64]:
    return np.sign(values) * np.abs(values) ** power


def _photographed(picture: Array, rng: np.random.Generator, side: int) -> npt.NDArray[np.uint8]:
    """Exposure, contrast, optics and noise of a camera; uint8 [side, side]."""
    image = np.clip(picture, 0, None) ** rng.uniform(0.65, 1.2)
    edge = len(image) // 6
    # Exposed for the face: cameras and photographers see to that.
    low, high = np.percentile(image[edge:-edge, edge:-edge], [1, 98])
    image = (image - low) / (high - low + 1e-4)
    image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), rng.uniform(0.3, 1.2) * len(picture) / 96)
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    small = (
        small * rng.uniform(0.65, 1.05) + rng.uniform(0, 0.15) + rng.normal(0, abs(rng.normal(0, 0.012)), small.shape)
    )
    return np.asarray(np.clip(small, 0, 1) * 255, np.uint8)


def collect(head: Head, count: int, seed: int, side: int = SIDE) -> dict[str, npt.NDArray[np.generic]]:
    """``count`` faces, the classes in turn, as the arrays that the command writes."""
    found: list[Rendered] = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        found.append(rendered(head, CLASSES[number % len(CLASSES)], rng, side))
    return {
        "images": np.stack([each.image for each in found]),
        "targets": np.stack([each.act.target for each in found]),
        "labels": np.array([CLASSES.index(each.act.label) for each in found]),
        "strengths": np.array([each.act.strength for each in found], np.float32),
        "yaw": np.array([each.pose.yaw for each in found], np.float32),
        "pitch": np.array([each.pose.pitch for each in found], np.float32),
        "gaze": np.array([_gaze(each.act) for each in found], np.float32),
    }


def _gaze(made: Act) -> tuple[float, float]:
    weight = made.weights.get
    return (
        weight("eyeLookOut_L", 0.0) - weight("eyeLookIn_L", 0.0),
        weight("eyeLookUp_L", 0.0) - weight("eyeLookDown_L", 0.0),
    )


def sheet(images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8], across: int = 8) -> npt.NDArray[np.uint8]:
    """The first pictures side by side, to be looked at; one column a class."""
    shown = [cv2.resize(image, (96, 96), interpolation=cv2.INTER_CUBIC) for image in images[: across * across]]
    rows = [np.hstack(shown[k : k + across]) for k in range(0, len(shown) // across * across, across)]
    return np.asarray(np.vstack(rows), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facekit", type=Path, required=True, help="ict_facekit.npz")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, help="also write a picture of the first 64")
    args = parser.parse_args()
    made = collect(heads.load(args.facekit), args.count, args.seed, args.side)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(args.out, **made)
    if args.sheet:
        cv2.imwrite(str(args.sheet), sheet(made["images"]))


if __name__ == "__main__":
    main()
