"""Faces people make: weights of expression shapes by class, after the emotion prototypes of FACS (EMFACS).

A class has several prototypes, because people do not all show it alike. Strength, balance of the parts, asymmetry and
what happens besides (talk, blinks, gaze) are drawn. The label is a distribution: a faint face is partly neutral.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from training.emotion.dataset import CLASSES
from training.emotion.faces.head import Head

PROTOTYPES: Mapping[str, tuple[Mapping[str, float], ...]] = MappingProxyType(
    {
        "neutral": ({},),
        "happiness": (
            {"mouthSmile": 0.9, "cheekSquint": 0.7, "cheekRaiser": 0.6, "mouthDimple": 0.2},
            {"mouthSmile": 1.0, "cheekSquint": 0.6, "mouthUpperUp": 0.4, "mouthLowerDown": 0.3, "jawOpen": 0.2},
            {"mouthSmile": 0.7, "mouthPress": 0.3, "mouthDimple": 0.4, "cheekRaiser": 0.4},
        ),
        "surprise": (
            {"browInnerUp": 0.9, "browOuterUp": 1.0, "eyeWide": 0.8, "jawOpen": 0.7},
            {"browInnerUp": 1.0, "browOuterUp": 0.9, "eyeWide": 0.6, "jawOpen": 0.25, "mouthFunnel": 0.3},
        ),
        "sadness": (
            {"browInnerUp": 1.0, "mouthFrown": 0.8, "eyeBlink": 0.25, "browDown": 0.3, "mouthShrugLower": 0.5},
            {"browInnerUp": 0.8, "mouthFrown": 0.5, "eyeBlink": 0.35, "eyeLookDown": 0.5},
            {"browInnerUp": 0.8, "browDown": 0.5, "mouthStretch": 0.4, "cheekRaiser": 0.5, "mouthFrown": 0.5,
             "eyeSquint": 0.4, "jawOpen": 0.1},
        ),
        "anger": (
            {"browDown": 1.0, "eyeSquint": 0.4, "mouthPress": 0.6, "noseSneer": 0.3, "mouthFrown": 0.3},
            {"browDown": 1.0, "eyeWide": 0.35, "mouthPress": 0.5, "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
            {"browDown": 1.0, "noseSneer": 0.5, "jawOpen": 0.35, "mouthLowerDown": 0.6, "mouthUpperUp": 0.5,
             "mouthStretch": 0.3, "eyeSquint": 0.3},
            {"browDown": 0.9, "eyeSquint": 0.3, "jawForward": 0.4, "mouthShrugLower": 0.3},
        ),
        "disgust": (
            {"noseSneer": 1.0, "mouthUpperUp": 0.8, "cheekSquint": 0.5, "browDown": 0.5, "eyeSquint": 0.5},
            {"noseSneer": 0.9, "mouthFrown": 0.6, "mouthShrugLower": 0.6, "browDown": 0.4, "eyeSquint": 0.4},
            {"noseSneer": 0.9, "mouthUpperUp": 0.7, "jawOpen": 0.25, "mouthLowerDown": 0.4, "browDown": 0.4,
             "cheekRaiser": 0.4},
        ),
        "fear": (
            {"browInnerUp": 0.9, "browOuterUp": 0.5, "eyeWide": 1.0, "mouthStretch": 0.9, "jawOpen": 0.3,
             "mouthLowerDown": 0.4, "browDown": 0.3},
            {"browInnerUp": 1.0, "browOuterUp": 0.6, "browDown": 0.4, "eyeWide": 0.9, "mouthStretch": 0.5},
            {"browInnerUp": 0.8, "browDown": 0.4, "eyeWide": 0.8, "jawOpen": 0.6, "mouthStretch": 0.6,
             "mouthLowerDown": 0.5},
        ),
        "contempt": (
            {"mouthSmile": 0.6, "mouthDimple": 0.8, "cheekSquint": 0.3, "mouthPress": 0.3},
            {"mouthDimple": 0.9, "mouthUpperUp": 0.4, "browOuterUp": 0.4, "eyeBlink": 0.15},
        ),
    }
)  # fmt: skip
"""Contempt is one-sided; all others are on both sides."""

CONFUSED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "fear": {"surprise": 0.12},
        "surprise": {"fear": 0.04},
        "disgust": {"anger": 0.08},
        "anger": {"disgust": 0.03},
        "contempt": {"neutral": 0.15},
    }
)
"""What some observers would say instead, however strong the face is."""

STRENGTH = (0.25, 1.15)
"""Between which bounds a face is acted, of the prototypes: a trace, and a little more than the whole."""
WHOLE = 0.55
"""Strength from which on a face is not partly neutral."""


@dataclass(frozen=True, slots=True)
class Act:
    """``weights`` of expression shapes by name, the ``label`` that is acted, its ``strength`` (0 for neutral), and the
    ``target`` distribution over :data:`CLASSES`, float32 [8]."""

    label: str
    strength: float
    weights: Mapping[str, float]
    target: npt.NDArray[np.float32]


def act(head: Head, label: str, rng: np.random.Generator, strength: tuple[float, float] = STRENGTH) -> Act:
    """A random face of the class ``label``, its strength uniform between the bounds."""
    much = 0.0 if label == "neutral" else float(rng.uniform(*strength))
    weights: dict[str, float] = {}
    prototypes = PROTOTYPES[label]
    asymmetry = rng.normal(0, 0.12)
    side = rng.choice(["_L", "_R"]) if label == "contempt" else ""
    for name, value in prototypes[int(rng.integers(len(prototypes)))].items():
        part = value * much * rng.uniform(0.6, 1.25)
        for shape in head.sides(name):
            if shape.endswith(side):
                lean = {"_L": asymmetry, "_R": -asymmetry}.get(shape[-2:], 0.0)
                weights[shape] = part * (1 + lean)
    _besides(head, label, weights, rng)
    return Act(label, much, {name: float(np.clip(w, 0, 1.2)) for name, w in weights.items()}, target(label, much))


def target(label: str, strength: float) -> npt.NDArray[np.float32]:
    """What observers would say: the class, some of what it is taken for, and neutral where it is faint."""
    p = dict.fromkeys(CLASSES, 0.0)
    others = CONFUSED.get(label, {})
    p[label] = 1 - sum(others.values())
    for name, share in others.items():
        p[name] += share
    faint = 0.0 if label == "neutral" else 0.5 * float(np.clip(1 - strength / WHOLE, 0, 1))
    values = np.array([p[name] for name in CLASSES], np.float32) * (1 - faint)
    values[0] += faint
    return np.asarray(values * 0.97 + 0.03 / len(CLASSES), np.float32)


def _besides(head: Head, label: str, weights: dict[str, float], rng: np.random.Generator) -> None:
    """Talk, lids, gaze and small movements, which change no label."""

    def add(name: str, value: float) -> None:
        for shape in head.sides(name):
            weights[shape] = weights.get(shape, 0.0) + value

    if rng.random() < 0.3:  # talk
        for name, most in (("jawOpen", 0.35), ("mouthFunnel", 0.4), ("mouthPucker", 0.4), ("mouthClose", 0.2)):
            if rng.random() < 0.5:
                add(name, rng.uniform(0, most))
    if label not in ("surprise", "fear"):
        add("eyeBlink", min(0.9, rng.exponential(0.12)))
        add("eyeSquint", rng.exponential(0.06))
    for name in rng.choice(head.names, 4, replace=False):
        if not name.startswith(("eyeLook", "Pupil", "jaw")):
            weights[name] = weights.get(name, 0.0) + abs(rng.normal(0, 0.08))
    across, up = rng.normal(0, 0.3, 2)
    for name, value in (
        ("eyeLookUp", up),
        ("eyeLookDown", -up),
        *((f"eyeLook{turn}_{side}", sign * across) for turn, side, sign in GAZE),
    ):
        if value > 0:
            add(name, value)


GAZE = (("Out", "L", 1), ("In", "R", 1), ("In", "L", -1), ("Out", "R", -1))
"""To the person's left, both eyes turn by these shapes."""
