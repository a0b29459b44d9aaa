"""Align a face by its key points and turn it into an embedding: a vector of length one that is alike for one person.

Two networks are known. ``mobilefacenet`` (192 numbers) takes two pictures at a time: a single face is given twice.
``sface`` (128 numbers) is OpenCV's, run by :class:`cv2.FaceRecognizerSF`. Their vectors cannot be compared with each
other, so templates carry the name of the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import Face, KeyPoints
from edge_agent.domain.media import Frame
from edge_agent.models.tflite import TfliteModel
from edge_agent.plugin import AnalyzerContext, imaging
from edge_agent_identity import Network

Vector = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

SIDE = 112
"""Height and width of the aligned picture in pixels."""

_EYES_AND_MOUTH = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.1396, 92.2848]], np.float64)
"""Where the right eye, the left eye and the middle of the mouth lie in the aligned picture (ArcFace's template)."""

_LEAST_EYES_PX = 16.0
"""Distance of the eyes in pixels below which an embedding says little: a face of about 40 pixels."""
_MOST_TURN = 0.38
"""Share of the eyes' distance by which the nose may lie beside their middle: about 35 degrees of yaw."""


class Embedder(Protocol):
    """A network that embeds aligned faces."""

    def __call__(self, faces: Sequence[Image]) -> list[Vector]:
        """One vector of length 1 for each BGR picture uint8 [112, 112, 3]."""
        ...


class MobileFaceNet:
    """MobileFaceNet in TFLite, two faces a call."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._model = TfliteModel(path, threads=threads)
        shape = self._model.inputs[0].shape
        if shape[1:] != (SIDE, SIDE, 3):
            raise ModelError(f"{path.name} takes pictures of the shape {list(shape)}: it is not MobileFaceNet")
        self._batch = shape[0]

    def __call__(self, faces: Sequence[Image]) -> list[Vector]:
        """One vector [192] of length 1 for each picture."""
        found: list[Vector] = []
        for begin in range(0, len(faces), self._batch):
            some = list(faces[begin : begin + self._batch])
            full = some + [some[-1]] * (self._batch - len(some))
            rgb = np.stack(full)[..., ::-1].astype(np.float32)
            (raw,) = self._model((rgb - np.float32(127.5)) / np.float32(128))
            found += [_unit(row) for row in raw[: len(some)]]
        return found


class SFace:
    """OpenCV's SFace."""

    def __init__(self, path: Path) -> None:
        self._recognizer = imaging.face_recognizer(path)

    def __call__(self, faces: Sequence[Image]) -> list[Vector]:
        """One vector [128] of length 1 for each picture."""
        return [_unit(np.asarray(self._recognizer.feature(face), np.float32).ravel()) for face in faces]


def make_embedder(network: Network, context: AnalyzerContext) -> Embedder:
    """Load a network.

    Raises:
        ModelError: it is not installed, or not what it should be.
    """
    path = context.models.locate(network)
    return SFace(path) if network == "sface" else MobileFaceNet(path, context.threads)


@dataclass(frozen=True, slots=True)
class Fitness:
    """Whether a face can be embedded; ``why`` not, in words for the person who enrols."""

    fit: bool
    why: str = ""


def fitness(face: Face, frame: Frame, least_px: float = 0.0) -> Fitness:
    """Whether ``face`` is large, frontal and complete enough for an embedding that means something."""
    points = face.keypoints
    if points is None:
        return Fitness(False, "the face detector gives no eyes")
    right, left, nose, mouth = _pixels(points, frame)
    eyes = math.dist(right, left)
    if face.box.w * frame.width < least_px or eyes < _LEAST_EYES_PX:
        return Fitness(False, f"the face is too small ({face.box.w * frame.width:.0f} pixels wide): come closer")
    middle = ((right[0] + left[0]) / 2, (right[1] + left[1]) / 2)
    across = ((left[0] - right[0]) / eyes, (left[1] - right[1]) / eyes)
    beside = abs((nose[0] - middle[0]) * across[0] + (nose[1] - middle[1]) * across[1]) / eyes
    below = (mouth[1] - middle[1]) * across[0] - (mouth[0] - middle[0]) * across[1]
    if beside > _MOST_TURN or below < 0.5 * eyes:
        return Fitness(False, "the head is turned away: look at the camera")
    if min(face.box.x, face.box.y) < -0.05 or max(face.box.x + face.box.w, face.box.y + face.box.h) > 1.05:
        return Fitness(False, "the face is cut off by the edge of the picture")
    return Fitness(True)


def align(face: Face, frame: Frame) -> Image:
    """The face upright, its eyes and mouth in fixed places: BGR uint8 [112, 112, 3].

    Raises:
        ValueError: the face has no key points, or all in one place.
    """
    if face.keypoints is None:
        raise ValueError("a face without key points cannot be aligned")
    right, left, _nose, mouth = _pixels(face.keypoints, frame)
    return imaging.warp(frame, similarity(np.array([right, left, mouth]), _EYES_AND_MOUTH), SIDE)


def similarity(source: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The least-squares similarity (turn, scale, shift) [2, 3] that takes points ``source`` [n, 2] to ``target``.

    Raises:
        ValueError: the points of ``source`` are all in one place.
    """
    a, b = source - source.mean(0), target - target.mean(0)
    size = float((a * a).sum())
    if size < 1e-9:
        raise ValueError("the points are all in one place")
    cos = float((a * b).sum()) / size
    sin = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / size
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([turn, (target.mean(0) - turn @ source.mean(0))[:, None]])


def _pixels(points: KeyPoints, frame: Frame) -> list[tuple[float, float]]:
    wanted = (points.right_eye, points.left_eye, points.nose, points.mouth)
    return [(p.x * frame.width, p.y * frame.height) for p in wanted]


def _unit(vector: npt.NDArray[Any]) -> Vector:
    length = float(np.linalg.norm(vector))
    if not math.isfinite(length) or length < 1e-6:
        raise ModelError("the network gives no usable embedding")
    return np.asarray(vector / length, np.float32)
