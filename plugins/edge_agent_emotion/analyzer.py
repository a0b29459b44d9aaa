"""Crop, int8 invoke, softmax: one emotion reading per tracked face. The network's temperature is inside the file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import EMOTION, EMOTIONS, Observation
from edge_agent.models.tflite import TfliteModel
from edge_agent.plugin import AnalyzerContext, FaceAnalyzer, imaging
from edge_agent_emotion import MODEL, EmotionSettings

SIDE = 48
"""Height and width of the crop in pixels."""


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Probabilities along the last axis."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


class EmotionModel:
    """The network alone: grey 48x48 pictures in, distributions out. Evaluation and the analyzer share it."""

    def __init__(self, context: AnalyzerContext) -> None:
        self._model = TfliteModel(context.models.locate(MODEL), threads=context.threads)

    def __call__(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """float64 [8] over :data:`EMOTIONS` for a uint8 [48, 48] picture."""
        x = crop.astype(np.float32)[None, :, :, None] / np.float32(127.5) - np.float32(1)
        (logits,) = self._model(x)
        return softmax(logits[0])


class EmotionAnalyzer(FaceAnalyzer):
    """See the package's docstring."""

    def __init__(self, settings: EmotionSettings, context: AnalyzerContext) -> None:
        self._settings = settings
        self._model = EmotionModel(context)

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        """A reading for every face that is large and certain enough."""
        return [self._read(frame, tracked) for tracked in faces if self._judgeable(frame, tracked)]

    def self_check(self) -> None:
        """A flat grey picture must give a distribution.

        Raises:
            ModelError: it does not.
        """
        p = self._model(np.full((SIDE, SIDE), 128, np.uint8))
        if p.shape != (len(EMOTIONS),) or not np.isfinite(p).all():
            raise ModelError(f"the emotion model gives {p.shape} instead of {len(EMOTIONS)} probabilities")

    def _judgeable(self, frame: Frame, tracked: TrackedFace) -> bool:
        face = tracked.face
        return face.score >= self._settings.min_score and face.box.w * frame.width >= self._settings.min_face_px

    def _read(self, frame: Frame, tracked: TrackedFace) -> Observation:
        face = tracked.face
        angle = imaging.roll(face, frame)
        p = self._model(imaging.crop_gray(frame, imaging.expression_box(face.box, frame, angle), SIDE, angle))
        values = {name: float(value) for name, value in zip(EMOTIONS, p, strict=True)}
        return Observation(EMOTION, values, frame.time, tracked.track)
