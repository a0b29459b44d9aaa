"""What is no face is not taken for somebody new at default settings; faces are found as before."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from skimage import data

from edge_agent.domain.media import Frame
from edge_agent.models import ModelStore
from edge_agent.plugin import AnalyzerContext, FaceDetector
from edge_agent_face import FaceSettings, edge_agent_register_analyzers

Picture = npt.NDArray[np.uint8]
NEW = 0.5
"""The tracker begins nobody at a lower score."""


@pytest.fixture(scope="module")
def detector(model_store: ModelStore) -> FaceDetector:
    (spec,) = edge_agent_register_analyzers()
    made = spec.factory(FaceSettings(), AnalyzerContext(model_store))
    assert isinstance(made, FaceDetector)
    return made


def best(detector: FaceDetector, picture: Picture) -> float:
    """The highest score in a picture, grey or RGB."""
    image = np.ascontiguousarray(picture[..., :3][..., ::-1]) if picture.ndim == 3 else cv2.merge([picture] * 3)
    return max((face.score for face in detector.detect(Frame.from_bgr(image, 0.0, 0))), default=0.0)


def wheel(side: int, turn: float, white: bool) -> Picture:
    """All hues around a centre, on white or black."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    radius, angle = np.hypot(x, y), (np.degrees(np.arctan2(y, x)) + turn) % 360 / 2
    hsv = np.dstack([angle, np.clip(radius, 0, 1) * 255, np.full_like(angle, 255)]).astype(np.uint8)
    image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    image[radius > 1] = 255 * white
    return image


@pytest.mark.parametrize(
    "name", ["colorwheel", "cat", "coffee", "clock", "logo", "rocket", "hubble_deep_field", "text", "coins"]
)
@pytest.mark.parametrize("width", [320, 640])
def test_objects_drawings_and_animals_are_not_detected(detector: FaceDetector, name: str, width: int) -> None:
    picture = np.asarray(getattr(data, name)())
    scale = width / picture.shape[1]
    assert best(detector, np.asarray(cv2.resize(picture, None, fx=scale, fy=scale), np.uint8)) < NEW


@pytest.mark.parametrize("white", [True, False])
@pytest.mark.parametrize("turn", range(0, 360, 60))
def test_colour_wheels_are_not_detected(detector: FaceDetector, turn: float, white: bool) -> None:
    for side in (256, 480):
        assert best(detector, wheel(side, turn, white)) < NEW


@pytest.mark.parametrize("size", [400, 480])
def test_a_face_is_found_as_before(detector: FaceDetector, size: int) -> None:
    """The astronaut in a grey room: her face is 72 and 86 pixels wide."""
    room = np.full((480, 640, 3), 120, np.uint8)
    room[:size, 80 : 80 + size] = cv2.resize(data.astronaut(), (size, size), interpolation=cv2.INTER_AREA)
    assert best(detector, room) > NEW
