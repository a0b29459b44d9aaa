"""The head model: its mesh, its expression and identity shapes, and where on it eyes, brows, lips and hair are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

Array = npt.NDArray[np.float32]

UNUSED = ("M_EyeOcclusion", "M_LacrimalFluid", "M_EyeBlend", "M_EyeLashes")
"""Layers of glass, tears and lashes, for renderers with transparency."""
TWO_SIDED = ("M_Teeth", "M_GumsTongue")
IRIS_RADIUS = 0.19
"""In eye distances; the mesh's own irises lie behind the sclera, which is transparent in front of them."""


@dataclass(frozen=True, eq=False)
class Head:
    """Points [n, 3] in eye distances, the origin between the eyes: x to the person's left, y up, z forward.

    ``triangles`` int32 [m, 3]; ``two_sided`` bool [m]; ``material`` [n], an index into ``materials``. ``expressions``
    and ``identities`` are offsets [k, n, 3] for a weight of 1. ``lashes`` [n] tells how close to the lashes a point is,
    0 to 1; ``iris`` whether a point of an eyeball is in its iris.
    """

    neutral: Array
    triangles: npt.NDArray[np.int32]
    two_sided: npt.NDArray[np.bool_]
    material: npt.NDArray[np.int64]
    materials: tuple[str, ...]
    expressions: Array
    names: tuple[str, ...]
    identities: Array
    lashes: Array
    iris: npt.NDArray[np.bool_]
    _incidence: csr_matrix

    def of(self, *materials: str) -> npt.NDArray[np.bool_]:
        """Bool [n]: the points made of these materials."""
        return np.isin(self.material, [self.materials.index(name) for name in materials])

    def sides(self, name: str) -> list[str]:
        """The shapes called ``name``: itself, or its left and right half.

        Raises:
            KeyError: there is no such shape.
        """
        found = [each for each in (name, f"{name}_L", f"{name}_R") if each in self.names]
        if not found:
            raise KeyError(f"no expression shape is called {name}")
        return found

    def posed(self, weights: Mapping[str, float], identity: Array) -> Array:
        """Points of the person with ``identity`` (weights of the first shapes) whose face has these ``weights``."""
        points = self.neutral.copy()
        for name, weight in weights.items():
            points += np.float32(weight) * self.expressions[self.names.index(name)]
        for weight, offsets in zip(identity, self.identities, strict=False):
            points += weight * offsets
        return points

    def normals(self, points: Array) -> Array:
        """Unit normals [n, 3] at ``points``, weighted by the area of the triangles around."""
        a, b, c = (points[self.triangles[:, k]] for k in range(3))
        summed = self._incidence @ np.cross(b - a, c - a)
        return np.asarray(summed / (np.linalg.norm(summed, axis=1, keepdims=True) + 1e-9), np.float32)


def load(path: Path) -> Head:
    """The head in ``ict_facekit.npz``."""
    with np.load(path) as data:
        materials = tuple(str(name).split()[-1] for name in data["group_names"])
        all_triangles, groups = data["faces"], data["group"]
        points = data["neutral"].astype(np.float32)
        origin, unit = _eyes(points, all_triangles, groups, materials)
        lash_points = points[np.unique(all_triangles[groups == materials.index("M_EyeLashes")])]
        shown = ~np.isin(groups, [materials.index(name) for name in UNUSED])
        used, flat = np.unique(all_triangles[shown], return_inverse=True)
        triangles = flat.reshape(-1, 3).astype(np.int32)
        material = np.empty(len(used), np.int64)
        material[triangles] = groups[shown][:, None]
        neutral = (points[used] - origin) / unit
        count = len(triangles)
        incidence = csr_matrix(
            (np.ones(3 * count, np.float32), (triangles.ravel(), np.repeat(np.arange(count), 3))), (len(used), count)
        )
        return Head(
            neutral=neutral,
            triangles=triangles,
            two_sided=np.isin(groups[shown], [materials.index(name) for name in TWO_SIDED]),
            material=material,
            materials=materials,
            expressions=_scaled(data["expressions"], used, unit),
            names=tuple(str(name) for name in data["expression_names"]),
            identities=_scaled(data["identities"], used, unit),
            lashes=_near(neutral, (lash_points - origin) / unit, material == materials.index("M_Face")),
            iris=_irises(neutral, material, materials),
            _incidence=incidence,
        )


def landmarks(path: Path) -> Array:
    """The usual 68 landmarks [68, 3] on the neutral head, by ``vertex_indices.json`` beside ``ict_facekit.npz``."""
    chosen = json.loads(path.with_name("vertex_indices.json").read_text("utf-8"))["idx_to_landmark_verts"]
    with np.load(path) as data:
        materials = tuple(str(name).split()[-1] for name in data["group_names"])
        points = data["neutral"].astype(np.float32)
        origin, unit = _eyes(points, data["faces"], data["group"], materials)
    return np.asarray((points[chosen] - origin) / unit, np.float32)


def _eyes(
    points: Array, triangles: npt.NDArray[np.int32], groups: npt.NDArray[np.int64], materials: tuple[str, ...]
) -> tuple[Array, float]:
    """The point between the eyes, and how far they are apart."""
    left, right = (
        points[np.unique(triangles[groups == materials.index(f"M_Iris{side}")])].mean(0) for side in ("Left", "Right")
    )
    return (left + right) / 2, float(np.linalg.norm(left - right))


def _scaled(offsets: npt.NDArray[np.float16], used: npt.NDArray[np.int64], unit: float) -> Array:
    # Contiguous: posing a head multiplies by all of it.
    return np.ascontiguousarray(offsets[:, used], np.float32) / np.float32(unit)


def _near(points: Array, roots: Array, among: npt.NDArray[np.bool_]) -> Array:
    """How close the points ``among`` are to any of ``roots``: 1 at it, 0 from a twentieth of the eye distance on."""
    distance, _ = cKDTree(roots).query(points)
    return np.where(among, np.clip(1 - distance / 0.05, 0, 1), 0).astype(np.float32)


def _irises(points: Array, material: npt.NDArray[np.int64], materials: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(points), bool)
    for side in ("Left", "Right"):
        ball = material == materials.index(f"M_Sclera{side}")
        centre = points[material == materials.index(f"M_Iris{side}")].mean(0)
        offset = points - centre
        found |= ball & (np.hypot(offset[:, 0], offset[:, 1]) < IRIS_RADIUS * 0.72) & (offset[:, 2] > -0.03)
    return found
