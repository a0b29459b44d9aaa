"""Does a face still look as it did when it was last read? A 16x16 comparison that costs a tenth of a reading."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_agent.domain.face import Face
from edge_agent.domain.media import Frame
from edge_agent.plugin import imaging

SIDE = 16

Look = npt.NDArray[np.float32]
"""float32 [SIDE, SIDE], mean 0 and standard deviation 1 where there is contrast. Lives as long as its track."""


def look_of(frame: Frame, face: Face) -> Look:
    """The face as the emotion models see it, but tiny, and free of brightness and contrast."""
    angle = imaging.roll(face, frame)
    crop = imaging.crop_gray(frame, imaging.expression_box(face.box, frame, angle), SIDE, angle).astype(np.float32)
    return np.asarray((crop - crop.mean()) / (crop.std() + np.float32(4.0)), np.float32)


def difference(a: Look, b: Look) -> float:
    """Mean absolute difference: about 0.05 for sensor noise, 0.1 to 0.2 for a small movement, 0.5 for another pose."""
    return float(np.abs(a - b).mean())
