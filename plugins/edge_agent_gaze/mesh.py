"""478 points of a face and its irises: the networks of MediaPipe's face mesh and iris pipelines, one after the other.

The first finds 468 points in a crop around a detected face, and whether it is one; the second finds the lids and the
iris of each eye in a closer crop, which replace those points. The one-step attention mesh of the same
authors needs operators that only MediaPipe's own runtime has. Positions are pixels of the frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import Box, Face
from edge_agent.domain.media import Frame
from edge_agent.models.tflite import TfliteModel
from edge_agent.plugin import imaging

FloatArray = npt.NDArray[np.float32]

MESH_MODEL, IRIS_MODEL = "face-mesh", "face-iris"
"""Names in the model catalogue."""
POINTS = 478
"""468 of the face, then five of each iris (centre, right, top, left, bottom): the viewer's left eye first."""
RIGHT_IRIS, LEFT_IRIS = 468, 473
"""First point of the irises; right and left are the person's."""

_MESH_SIDE, _EYE_SIDE = 192, 64
_FACE_SCALE, _EYE_SCALE = 1.5, 2.3
"""Sides of the crops in sides of the face's box and in widths of the eye, as the networks were trained."""

RIGHT_EYE = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
    130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190,
    226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189,
    35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245,
    156, 70, 63, 105, 66, 107, 55, 193,
)  # fmt: skip
LEFT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398,
    359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414,
    446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413,
    265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465,
    383, 300, 293, 334, 296, 336, 285, 417,
)  # fmt: skip
"""Points of the mesh that the iris network finds anew: outer corner, lower lid, inner corner, upper lid, and around."""


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """``points`` float32 [478, 3]: x, y in pixels of the frame, z in the same unit, smaller is nearer, 0 at the middle
    of the head. ``score``: probability that this is a face."""

    points: FloatArray
    score: float


class FaceMesh:
    """The two networks as a function from a frame and a detected face to a mesh.

    Raises:
        ModelError: a file is another model.
    """

    def __init__(self, mesh: TfliteModel, iris: TfliteModel) -> None:
        self._mesh, self._iris = mesh, iris
        self._points, self._flag = (_output(mesh, size, MESH_MODEL) for size in (468 * 3, 1))
        self._lids, self._ring = (_output(iris, size, IRIS_MODEL) for size in (71 * 3, 5 * 3))
        for model, side, name in ((mesh, _MESH_SIDE, MESH_MODEL), (iris, _EYE_SIDE, IRIS_MODEL)):
            if [info.shape for info in model.inputs] != [(1, side, side, 3)]:
                raise ModelError(f"the model is not {name}: its input is {model.inputs[0].shape}")

    def __call__(self, frame: Frame, face: Face) -> Mesh:
        """The mesh of ``face``; its ``score`` is low where there is none."""
        box, angle = face.box, imaging.roll(face, frame)
        side = _FACE_SCALE * max(box.w * frame.width, box.h * frame.height)
        centre = np.array([box.centre.x * frame.width, box.centre.y * frame.height])
        crop = _Crop(centre, side, angle, _MESH_SIDE)
        outputs = self._mesh(crop.cut(frame))
        points = crop.to_frame(outputs[self._points].reshape(468, 3))
        score = 1 / (1 + math.exp(-min(max(float(outputs[self._flag].ravel()[0]), -30.0), 30.0)))
        irises = [
            self._eye(frame, points, indices, angle, mirrored=indices is LEFT_EYE) for indices in (RIGHT_EYE, LEFT_EYE)
        ]
        return Mesh(np.concatenate([points, *irises]), score)

    def _eye(
        self, frame: Frame, points: FloatArray, indices: tuple[int, ...], angle: float, *, mirrored: bool
    ) -> FloatArray:
        """Replace the points of an eye in ``points``; return those of its iris [5, 3]."""
        outer, inner = points[indices[0]], points[indices[8]]
        across = float(math.hypot(*(outer - inner)[:2]))
        crop = _Crop((outer + inner)[:2] / 2, max(_EYE_SCALE * across, 4.0), angle, _EYE_SIDE, mirrored)
        outputs = self._iris(crop.cut(frame))
        depth = points[list(indices), 2]
        points[list(indices), :2] = crop.to_frame(outputs[self._lids].reshape(71, 3))[:, :2]
        ring = crop.to_frame(outputs[self._ring].reshape(5, 3))
        ring[:, 2] = depth[:16].mean()
        return ring


@dataclass(frozen=True, slots=True, eq=False)
class _Crop:
    """A square of the frame: centre and size in pixels, turned clockwise by ``angle`` radians, seen in a mirror if
    ``mirrored``, with ``side`` pixels a side for a network."""

    centre: npt.NDArray[np.floating[Any]]
    size: float
    angle: float
    side: int
    mirrored: bool = False

    def cut(self, frame: Frame) -> FloatArray:
        """RGB float32 [1, side, side, 3] in 0..1."""
        (x, y), (w, h) = self.centre.tolist(), (self.size / frame.width, self.size / frame.height)
        box = Box(x / frame.width - w / 2, y / frame.height - h / 2, w, h)
        rgb = imaging.crop_rgb(frame, box, self.side, self.angle)
        return np.asarray(rgb[None, :, :: -1 if self.mirrored else 1].astype(np.float32) / np.float32(255))

    def to_frame(self, points: FloatArray) -> FloatArray:
        """Convert points [n, 3] in pixels of the crop to pixels of the frame."""
        unit = self.size / self.side
        flat = (points[:, :2] - self.side / 2) * unit * ([-1, 1] if self.mirrored else [1, 1])
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        turned = flat @ np.array([[cos, sin], [-sin, cos]]) + self.centre
        return np.column_stack([turned, points[:, 2] * unit]).astype(np.float32)


def _output(model: TfliteModel, size: int, name: str) -> int:
    """Index of the output with ``size`` numbers."""
    sizes = [math.prod(info.shape) for info in model.outputs]
    if size not in sizes:
        raise ModelError(f"the model is not {name}: its outputs have {sizes} numbers")
    return sizes.index(size)
