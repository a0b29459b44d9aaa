"""Crop, int8 invoke, prior, softmax: one emotion reading per tracked face.

``emotion.json`` beside the model (made by ``training.emotion.prior``) holds the class frequencies of the training data,
which the network reproduces as its prior, the share of a flat prior that each option of ``prior`` mixes in, and the
temperature fitted for each option.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import EMOTION, EMOTIONS, Observation
from edge_agent.models.tflite import TfliteModel
from edge_agent.plugin import AnalyzerContext, FaceAnalyzer, imaging
from edge_agent_emotion import MODEL, EmotionSettings, Prior

SIDE = 48
"""Height and width of the crop in pixels."""


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities along the last axis."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def shifted(logits: npt.NDArray[Any], prior: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """``logits`` [..., 8] of a network that learned ``prior`` [8], as if classes occurred by a mixture of that and a
    flat prior, which has the ``share`` 0 to 1."""
    expected = (1 - share) * prior + share / len(prior)
    return np.asarray(logits + np.log(expected / prior), np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """Turns logits [..., 8] of a network that learned ``prior`` into probabilities; see :func:`shifted`."""

    prior: npt.NDArray[np.float64]
    share: float
    temperature: float

    @classmethod
    def bundled(cls, prior: Prior) -> Self:
        """As ``emotion.json`` has it for the option ``prior``."""
        told = json.loads(resources.files(__package__).joinpath("emotion.json").read_text("utf-8"))
        return cls(np.array([told["prior"][name] for name in EMOTIONS]), **told["options"][prior])

    def __call__(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Probabilities along the last axis."""
        return softmax(shifted(logits, self.prior, self.share) / self.temperature)


class EmotionModel:
    """The network alone: grey 48x48 pictures in, distributions out; shared by the analyzer and the evaluation."""

    def __init__(self, context: AnalyzerContext, prior: Prior = "between") -> None:
        self._model = TfliteModel(context.models.locate(MODEL), threads=context.threads)
        self._expect = Expectation.bundled(prior)

    def __call__(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """float64 [8] over :data:`EMOTIONS` for a uint8 [48, 48] picture."""
        return self._expect(self.logits(crop))

    def logits(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Logits float32 [8] of the network for that picture."""
        x = crop.astype(np.float32)[None, :, :, None] / np.float32(127.5) - np.float32(1)
        (logits,) = self._model(x)
        return np.asarray(logits[0], np.float32)


class EmotionAnalyzer(FaceAnalyzer):
    """Analyzer ``emotion``; see the package."""

    def __init__(self, settings: EmotionSettings, context: AnalyzerContext) -> None:
        self._settings = settings
        self._model = EmotionModel(context, settings.prior)

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        """A reading for every face that is large and certain enough."""
        return [self._read(frame, tracked) for tracked in faces if self._judgeable(frame, tracked)]

    def self_check(self) -> None:
        """Check that a flat grey picture gives a distribution.

        Raises:
            ModelError: it gives none.
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
