"""BlazeFace (Bazarevsky et al. 2019; Google, Apache-2.0) on one square picture: prepare it, run it, decode it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.models.tflite import TfliteModel
from edge_agent_face.decode import Detections, decode, make_anchors, suppress
from edge_agent_face.settings import Range


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
    """The networks for a range; the first looks at every picture, a second only at parts of some."""
    return list(VARIANTS.values()) if face_range == "auto" else [VARIANTS[face_range]]


class BlazeFace:
    """The network as a function from a picture to faces.

    Raises:
        ModelError: the model is not the variant's.
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
