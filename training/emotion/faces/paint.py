"""What a head's surface looks like: skin, brows, lips, eyes, hair, beards and the lines that age and expressions draw.

Everything is a grey albedo at the points of the mesh, placed in eye distances on the neutral head (:mod:`head`), so it
moves with the face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from training.emotion.faces.head import Array, Head

Line = tuple[tuple[tuple[float, float], ...], tuple[str, ...]]

LINES: tuple[Line, ...] = (
    (((-0.55, 0.62), (0.0, 0.66), (0.55, 0.62)), ("browInnerUp", "browOuterUp")),
    (((-0.6, 0.78), (0.0, 0.83), (0.6, 0.78)), ("browInnerUp", "browOuterUp")),
    (((-0.5, 0.95), (0.0, 1.0), (0.5, 0.95)), ("browInnerUp", "browOuterUp")),
    (((0.10, 0.20), (0.11, 0.50)), ("browDown",)),
    (((0.05, 0.25), (0.04, 0.42)), ("browDown",)),
    (((0.0, 0.06), (0.16, 0.08)), ("noseSneer",)),
    (((0.0, -0.06), (0.17, -0.05)), ("noseSneer",)),
    (((0.24, -0.55), (0.40, -0.78), (0.50, -1.05), (0.52, -1.22)), ("mouthSmile", "noseSneer", "mouthUpperUp")),
    (((0.47, -1.12), (0.50, -1.35)), ("mouthFrown", "mouthStretch")),
    (((0.82, 0.03), (1.0, 0.08)), ("cheekRaiser", "cheekSquint", "eyeSquint")),
    (((0.82, -0.05), (0.98, -0.12)), ("cheekRaiser", "cheekSquint", "eyeSquint")),
    (((0.22, -0.16), (0.48, -0.24), (0.72, -0.18)), ("cheekSquint", "cheekRaiser", "eyeSquint")),
    (((-0.18, -1.45), (0.18, -1.45)), ("mouthShrugLower", "mouthFrown", "mouthPress")),
)
"""Where a face folds: a polyline in (x, y), mirrored where it is on one side, and the shapes that fold it."""

FAR = 0.15
"""From here on, in eye distances, a line is not seen."""
HAIRS = ("bald", "short", "short", "short", "fringe", "receding", "long", "long", "long", "tied", "scarf")


@dataclass(frozen=True, slots=True)
class Person:
    """What stays the same of a person: ``age`` 0 to 1, ``tone`` of the skin and of the ``hair`` 0 to 1, the ``style``
    of :data:`HAIRS`, ``beard`` (0 none to 1 full), the ``brows``' density and the ``seed`` of the skin's texture."""

    age: float
    tone: float
    hair: float
    style: str
    beard: float
    brows: float
    seed: int


def person(rng: np.random.Generator) -> Person:
    """Anybody."""
    age, tone = rng.beta(1.2, 1.6), rng.uniform(0.16, 0.85)
    dark = rng.uniform(0.02, 0.55) * min(1.0, tone + 0.25)
    grey = np.clip((age - 0.55) * 2, 0, 1) * rng.random()
    style = HAIRS[int(rng.integers(len(HAIRS)))]
    beard = rng.uniform(0.15, 1) if style not in ("long", "scarf", "tied") and rng.random() < 0.35 else 0.0
    return Person(
        float(age), float(tone), float(dark + grey * (0.75 - dark)), style, float(beard), float(rng.uniform(0.35, 1)),
        int(rng.integers(2**31)),
    )  # fmt: skip


def painted(head: Head, who: Person, weights: Mapping[str, float]) -> Array:
    """Albedo [n], 0 to 1, of ``who`` making a face with these ``weights``."""
    rng = np.random.default_rng(who.seed)
    x, y, z = head.neutral.T
    face = head.of("M_Face")
    albedo = who.tone * _skin(head, who, rng)
    lips = np.exp(-((((x / 0.42) ** 2) + ((y + 1.08) / 0.17) ** 2) ** 2)) * (face & (z > -0.05))
    albedo *= 1 - lips * rng.uniform(0.08, 0.45)
    front = np.flatnonzero(face & (z > -1.1) & (np.abs(x) < 1.2))
    albedo[front] *= 1 - folds(x[front], y[front], who, weights, rng)
    albedo = _mixed(albedo, who.tone * rng.uniform(0.15, 0.6), head.lashes * rng.uniform(0.5, 1))
    albedo = _mixed(albedo, min(who.hair, 0.25), _brows(head, rng) * who.brows)
    if who.beard:
        albedo = _mixed(albedo, who.hair, _beard(head, who, lips, rng))
    albedo = _mixed(albedo, who.hair * _strands(head, rng), hair_mask(head, who, rng))
    return _eyes_and_mouth(head, albedo, who.tone, rng)


def hair_mask(head: Head, who: Person, rng: np.random.Generator) -> Array:
    """How much of each point is hair (or a scarf), 0 to 1, with a soft, uneven edge."""
    x, y, z = head.neutral.T
    if who.style == "bald":
        return np.zeros_like(x)
    line = {"receding": 1.3, "fringe": 0.62, "scarf": 0.85}.get(who.style, 1.02) + rng.normal(0, 0.08)
    wave = 0.06 * np.sin(3 * x + rng.uniform(0, 6)) + 0.04 * np.sin(11 * x + rng.uniform(0, 6))
    if who.style == "receding":
        wave = wave + 0.35 * np.cos(np.clip(x, -1.2, 1.2) * 2.6) - 0.25
    top = _edge(y - line - wave, 0.06)
    sides = _edge(np.abs(x) - 1.0 - 0.1 * wave, 0.06) * _edge(-0.85 - z, 0.1) * _edge(y + 0.35, 0.1)
    back = head.of("M_BackHead") & ((y > -1.2) | (who.style == "scarf"))
    if who.style == "scarf":
        sides = np.maximum(sides, _edge(np.abs(x) - 1.0, 0.05) * _edge(-0.5 - z, 0.1))
    return np.asarray(np.maximum.reduce([top, sides, back]) * (head.of("M_Face") | back), np.float32)


def _skin(head: Head, who: Person, rng: np.random.Generator) -> Array:
    """Uneven skin around 1: slow changes, spots and, with age, more of both, and shade under the eyes."""
    points = head.neutral
    slow = sum(np.sin(points @ rng.normal(0, scale, 3) + rng.uniform(0, 6)) for scale in (2, 3, 5, 8))
    grain = rng.normal(0, 0.01 + 0.03 * who.age, len(points))
    spots = (rng.random(len(points)) < 0.002 * (1 + 3 * who.age)) * rng.uniform(0.1, 0.4)
    x, y = points[:, 0], points[:, 1]
    under = np.exp(-(((np.abs(x) - 0.5) / 0.25) ** 2) - ((y + 0.2) / 0.1) ** 2) * rng.uniform(0, 0.1 + 0.2 * who.age)
    return np.asarray((1 + 0.02 * slow + grain - spots) * (1 - under), np.float32)


def folds(x: Array, y: Array, who: Person, weights: Mapping[str, float], rng: np.random.Generator) -> Array:
    """How dark the lines of age and of the expression are, 0 to 1."""
    depth, dark = rng.uniform(0.15, 0.6) * (0.5 + who.age), np.zeros_like(x)
    for line, shapes in LINES:
        sides = (0,) if line[0][0] < 0 else (1, -1)
        for side in sides:
            ending = {1: "_L", -1: "_R"}.get(side)
            folded = [
                w for name, w in weights.items() if name.startswith(shapes) and (not ending or ending == name[-2:])
            ]
            much = depth * min(1.0, max(folded, default=0.0)) + 0.35 * max(0.0, who.age - 0.45) * rng.random()
            if much < 0.03:
                continue
            points = (np.array(line) + rng.normal(0, 0.015, (len(line), 2))).astype(np.float32)
            distance = _distance(x * (side or 1), y, points)
            dark = np.maximum(dark, much * np.exp(-((distance / rng.uniform(0.025, 0.05)) ** 2)))
    return np.asarray(np.clip(dark, 0, 0.75), np.float32)


def _distance(x: Array, y: Array, line: npt.NDArray[np.float32]) -> Array:
    """From each point to the polyline ``line`` [k, 2]; infinite where that is far."""
    nearest = np.full(x.shape, np.inf, np.float32)
    low, high = line.min(0) - FAR, line.max(0) + FAR
    near = np.flatnonzero((x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1]))
    x, y = x[near], y[near]
    for (ax, ay), (bx, by) in pairwise(line):
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        nearest[near] = np.minimum(nearest[near], np.hypot(x - ax - along * dx, y - ay - along * dy))
    return nearest


def _brows(head: Head, rng: np.random.Generator) -> Array:
    x, y, z = head.neutral.T
    side = np.abs(x)
    arch = rng.uniform(0.3, 0.38) + rng.uniform(0.0, 0.1) * np.sin(np.clip((side - 0.2) / 0.7, 0, 1) * 2.4)
    thick = rng.uniform(0.04, 0.085) * (1 - 0.4 * np.clip((side - 0.5) / 0.4, 0, 1))
    inner, outer = rng.uniform(0.12, 0.22), rng.uniform(0.8, 0.92)
    along = _edge(side - inner, 0.03) * _edge(outer - side, 0.05)
    return np.asarray(np.exp(-(((y - arch) / thick) ** 2)) * along * (head.of("M_Face") & (z > -0.45)), np.float32)


def _beard(head: Head, who: Person, lips: Array, rng: np.random.Generator) -> Array:
    """Stubble to full beard, with or without cheeks; a moustache alone where it is drawn so."""
    x, y, z = head.neutral.T
    low = rng.uniform(-0.95, -0.75)
    line = low - 0.25 * np.clip(1 - np.abs(x) / 0.9, 0, 1) + 0.05 * np.sin(5 * x + rng.uniform(0, 6))
    whole = _edge(line - y, 0.08) * _edge(1.15 - np.abs(x), 0.1) * (y > -2.2)
    upper = _edge(-0.78 - y, 0.04) * _edge(y + 1.02, 0.05) * _edge(0.42 - np.abs(x), 0.08)
    mask = upper if rng.random() < 0.25 else np.maximum(whole, upper)
    density = who.beard * rng.uniform(0.6, 1, len(x))
    return np.asarray(mask * density * (1 - np.clip(1.5 * lips, 0, 1)) * head.of("M_Face") * (z > -1.2), np.float32)


def _strands(head: Head, rng: np.random.Generator) -> Array:
    """Streaks of lighter and darker hair around 1."""
    x, y, z = head.neutral.T
    angle = np.arctan2(x, y + 0.5) * rng.uniform(15, 40) + 3 * z
    return np.asarray(1 + 0.25 * np.sin(angle + rng.uniform(0, 6)) + rng.normal(0, 0.08, len(x)), np.float32)


def _eyes_and_mouth(head: Head, albedo: Array, tone: float, rng: np.random.Generator) -> Array:
    albedo = albedo.copy()
    albedo[head.of("M_ScleraLeft", "M_ScleraRight")] = rng.uniform(0.65, 0.95)
    albedo[head.of("M_IrisLeft", "M_IrisRight") | head.iris] = rng.uniform(0.03, 0.3)
    albedo[head.of("M_Teeth")] = rng.uniform(0.6, 0.95)
    albedo[head.of("M_GumsTongue")] = tone * rng.uniform(0.25, 0.5)
    return np.clip(albedo, 0.01, 1)


def _edge(distance: Array, width: float) -> Array:
    """0 well below ``distance`` 0, 1 well above, over about ``width``."""
    return np.asarray(1 / (1 + np.exp(-np.clip(4 * distance / width, -30, 30))), np.float32)


def _mixed(below: Array, above: Array | float, share: Array) -> Array:
    return np.asarray(below * (1 - share) + above * share, np.float32)
