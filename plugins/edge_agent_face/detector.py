"""The detector the agent runs: one look at the whole letterboxed picture, back to fractions of the frame, filtered.

A look yields faces of a part of the frame and looks are joined before filtering, so a second look at tiles is one more
entry in :meth:`BlazeFaceDetector.detect`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import Box, Face, KeyPoints, Point
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.models.tflite import TfliteModel
from edge_agent.plugin import AnalyzerContext, FaceDetector, imaging
from edge_agent_face.blazeface import BlazeFace, variant_for
from edge_agent_face.settings import FaceSettings


class BlazeFaceDetector(FaceDetector):
    """See the package's docstring.

    Raises:
        ModelError: the model of the chosen range is not installed or not usable.
    """

    def __init__(self, settings: FaceSettings, context: AnalyzerContext) -> None:
        variant = variant_for(settings.range)
        self._settings = settings
        self._network = BlazeFace(variant, TfliteModel(context.models.locate(variant.model), context.threads))

    def detect(self, frame: Frame) -> Sequence[Face]:
        """Faces in the frame, most certain first; boxes may reach outside of it."""
        faces = self._look(frame)
        return [face for face in faces if face.box.w >= self._settings.min_face][: self._settings.max_faces]

    def self_check(self) -> None:
        """A grey picture must go through and hold no certain face.

        Raises:
            ModelError: it does not.
        """
        side = self._network.side
        blank = Frame(np.full((side, side), 128, np.uint8), PixelFormat.GRAY, side, side, 0.0, 0)
        faces = self._look(blank)
        if any(face.score > 0.9 for face in faces):
            raise ModelError(
                "the face detector sees a face in an empty picture: its model does not work on this machine"
            )

    def close(self) -> None:
        """Nothing to free: the interpreter goes with the object."""

    def _look(self, frame: Frame) -> list[Face]:
        canvas, letterbox = imaging.letterbox_rgb(frame, self._network.side)
        found = self._network(canvas, self._settings.min_score)
        corners, points = letterbox.to_frame(found.corner), letterbox.to_frame(found.points)
        return [_face(*one) for one in zip(found.score, corners, points, strict=True)]


def _face(score: np.float32, corner: npt.NDArray[np.float32], points: npt.NDArray[np.float32]) -> Face:
    (x0, y0), (x1, y1) = corner.tolist()
    return Face(Box(x0, y0, x1 - x0, y1 - y0), float(score), KeyPoints(*(Point(x, y) for x, y in points.tolist())))
