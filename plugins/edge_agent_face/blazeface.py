"""Run BlazeFace on one square picture and decode its outputs: anchors, boxes, key points, non-maximum suppression.

BlazeFace: Bazarevsky et al. 2019; Google, Apache-2.0. Positions are fractions of the network's square input throughout.
The decoding computes what MediaPipe's ``ssd_anchors``, ``tensors_to_detections`` and weighted ``non_max_suppression``
calculators compute, in pure numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.models.tflite import TfliteModel
from edge_agent_face import Range

# ---------------------------------------------------------------------- decoding


FloatArray = npt.NDArray[np.float32]

OVERLAP = 0.3
"""Detections that overlap more than this (intersection over union) are the same face."""
CONTAINED = 0.6
"""A detection with more than this share of its area inside another one is dropped."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """``score`` [n], falling; ``corner`` [n, 2, 2]: upper left, lower right; ``points`` [n, 6, 2]; all x, y."""

    score: FloatArray
    corner: FloatArray
    points: FloatArray

    def __len__(self) -> int:
        return len(self.score)


def make_anchors(layers: tuple[tuple[int, int], ...]) -> FloatArray:
    """Anchor centres [n, 2]: for each layer (cells a side, anchors a cell), row by row."""
    layouts = []
    for cells, repeat in layers:
        place = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        grid = np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 2)
        layouts.append(np.repeat(grid, repeat, axis=0))
    return np.concatenate(layouts)


def decode(regressors: FloatArray, logits: FloatArray, anchors: FloatArray, side: int, min_score: float) -> Detections:
    """Candidates with at least ``min_score``, before suppression.

    ``regressors`` [n, 16]: centre offset, size and six key point offsets in pixels of the ``side``-pixel input;
    ``logits`` [n].
    """
    # Comparing logits avoids the sigmoid and the decoding of the many anchors without a face.
    chosen = np.flatnonzero(logits >= math.log(min_score / (1 - min_score)))
    chosen = chosen[np.argsort(-logits[chosen], kind="stable")]
    raw = regressors[chosen].reshape(-1, 8, 2) / np.float32(side)
    origin = anchors[chosen, None]
    centre, half, points = raw[:, :1] + origin, raw[:, 1:2] / 2, raw[:, 2:] + origin
    corner = np.concatenate([centre - half, centre + half], axis=1)
    sane = np.isfinite(raw).all(axis=(1, 2)) & (half > 0).all(axis=(1, 2))
    score = 1 / (1 + np.exp(-logits[chosen]))
    return Detections(score[sane], corner[sane], points[sane])


def suppress(candidates: Detections, overlap: float = OVERLAP) -> Detections:
    """One detection for each group that overlaps its most certain member: the group's mean, weighted by score.

    Blending steadies boxes and key points from frame to frame. The group keeps its highest score.
    """
    score, corner, points = [], [], []
    rest = np.arange(len(candidates))
    while len(rest):
        same = iou(candidates.corner[rest[0]], candidates.corner[rest]) > overlap
        same[0] = True
        group = rest[same]
        weight = candidates.score[group, None, None] / candidates.score[group].sum()
        score.append(candidates.score[group[0]])
        corner.append((candidates.corner[group] * weight).sum(axis=0))
        points.append((candidates.points[group] * weight).sum(axis=0))
        rest = rest[~same]
    return Detections(
        np.array(score, np.float32),
        np.array(corner, np.float32).reshape(-1, 2, 2),
        np.array(points, np.float32).reshape(-1, *candidates.points.shape[1:]),
    )


def join(first: Detections, others: Sequence[Detections], sure: float) -> Detections:
    """Merge the faces of several looks at one picture, sorted by falling score; all in the same coordinates.

    A face that the ``first`` look gave at least the score ``sure`` is taken from it, so that its box does not jump
    between looks; of the others the most certain stays. One that lies mostly inside another (a part of a face detected
    as a face) is dropped. Looks are not averaged, because boxes differ between networks and scales.
    """
    looks = [first, *others]
    score, corner, points = (
        np.concatenate([getattr(look, name) for look in looks]) for name in ("score", "corner", "points")
    )
    rank = score + np.where((np.arange(len(score)) < len(first)) & (score >= sure), np.float32(1), np.float32(0))
    kept: list[int] = []
    for i in np.argsort(-rank, kind="stable").tolist():
        others_kept = corner[kept]
        same = iou(corner[i], others_kept) > OVERLAP
        if not (same | (_share(corner[i], others_kept) > CONTAINED)).any():
            kept.append(i)
    kept.sort(key=lambda i: -score[i])
    return Detections(score[kept], corner[kept], points[kept])


def _share(one: FloatArray, many: FloatArray) -> FloatArray:
    """Intersection of a box [2, 2] with boxes [n, 2, 2] over the smaller of both areas."""
    shared = np.maximum(np.minimum(one[1], many[:, 1]) - np.maximum(one[0], many[:, 0]), 0).prod(axis=1)
    smaller = np.minimum((one[1] - one[0]).prod(), (many[:, 1] - many[:, 0]).prod(axis=1))
    return np.asarray(shared / np.maximum(smaller, np.finfo(np.float32).tiny), np.float32)


def iou(one: FloatArray, many: FloatArray) -> FloatArray:
    """Intersection over union of a box [2, 2] with boxes [n, 2, 2], given by their corners."""
    shared = np.minimum(one[1], many[:, 1]) - np.maximum(one[0], many[:, 0])
    intersection = np.maximum(shared, 0).prod(axis=1)
    union = (one[1] - one[0]).prod() + (many[:, 1] - many[:, 0]).prod(axis=1) - intersection
    return np.asarray(intersection / np.maximum(union, np.finfo(np.float32).tiny), np.float32)


@dataclass(frozen=True, slots=True)
class Variant:
    """A network: name in the catalogue, input side in pixels, layers of anchors (cells a side, anchors a cell)."""

    model: str
    side: int
    layers: tuple[tuple[int, int], ...]


VARIANTS: Mapping[Literal["near", "far"], Variant] = {
    "near": Variant("blazeface-short", 128, ((16, 2), (8, 6))),
    "far": Variant("blazeface-full", 192, ((48, 1),)),
}


def variants_for(face_range: Range) -> Sequence[Variant]:
    """Return the networks for a range: the first for every picture, a second one for parts of some."""
    return list(VARIANTS.values()) if face_range == "auto" else [VARIANTS[face_range]]


class BlazeFace:
    """The network as a function from a picture to faces.

    Raises:
        ModelError: the model does not belong to the variant.
    """

    def __init__(self, variant: Variant, model: TfliteModel) -> None:
        self.side = variant.side
        self._model = model
        self._anchors = make_anchors(variant.layers)
        shapes = [info.shape for info in model.outputs]
        wanted = [(1, len(self._anchors), 16), (1, len(self._anchors), 1)]
        if sorted(shapes) != sorted(wanted) or [info.shape for info in model.inputs] != [(1, self.side, self.side, 3)]:
            raise ModelError(f"the model is not {variant.model}: its outputs have the shapes {shapes}")
        # The two published files of a variant need not agree in the order of their outputs.
        self._regressors, self._logits = shapes.index(wanted[0]), shapes.index(wanted[1])

    def __call__(self, rgb: npt.NDArray[np.uint8], min_score: float) -> Detections:
        """Faces in uint8 [side, side, 3], each once, in fractions of the picture."""
        outputs = self._model(rgb[None].astype(np.float32) / np.float32(127.5) - np.float32(1))
        regressors, logits = outputs[self._regressors][0], outputs[self._logits][0, :, 0]
        return suppress(decode(regressors, logits, self._anchors, self.side, min_score))
