"""What is no face is not taken for somebody new at default settings; faces are found as before."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from skimage import data

from edge_agent.domain.media import Frame
from edge_agent.models import ModelStore
from edge_agent.plugin import AnalyzerContext, FaceDetector
from edge_agent_face import FaceSettings, Range, edge_agent_register_analyzers
from edge_agent_face.blazeface import Detections
from edge_agent_face.detector import BlazeFaceDetector, look_at

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


CLAIMED = Detections(
    np.array([0.8], np.float32), np.array([[[0.4, 0.4], [0.5, 0.53]]], np.float32), np.zeros((1, 6, 2), np.float32)
)


@pytest.mark.parametrize("reach", ["near", "auto"])
def test_what_the_enlarged_look_does_not_confirm_begins_nobody_unless_somebody_was_known_there(
    model_store: ModelStore, reach: Range
) -> None:
    """A detection on a bare wall."""
    detector = BlazeFaceDetector(FaceSettings(range=reach), AnalyzerContext(model_store))
    wall = Frame.from_bgr(np.full((480, 640, 3), 170, np.uint8), 1.0, 0)
    detector.detect(wall)
    assert detector._verified(wall, CLAIMED).score[0] < NEW
    detector.detect(Frame.from_bgr(np.full((480, 640, 3), 170, np.uint8), 1.0, 1))  # another still picture
    assert not detector._lookout.rests(CLAIMED, 0)
    detector._lookout.follow(CLAIMED)  # somebody whom an earlier search was sure of
    assert detector._verified(wall, CLAIMED).score[0] == pytest.approx(0.8)


def test_near_looks_closer_at_a_new_face_once_and_at_a_denied_one_ever_more_rarely(
    model_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds, five searches in each: a person costs one more look, a picture on the wall a few."""
    looks = 0

    def counted(*args: Any) -> Detections:
        nonlocal looks
        looks += 1
        return look_at(*args)

    monkeypatch.setattr("edge_agent_face.detector.look_at", counted)
    room = np.full((480, 640, 3), 120, np.uint8)
    room[:, 80:560] = cv2.resize(data.astronaut()[..., ::-1], (480, 480), interpolation=cv2.INTER_AREA)
    detector = BlazeFaceDetector(FaceSettings(), AnalyzerContext(model_store))
    found = [detector.detect(Frame.from_bgr(room, k / 5, k)) for k in range(50)]
    assert all(faces[0].score > NEW for faces in found)
    assert looks == 1
    looks = 0
    wall, detector = (
        np.full((480, 640, 3), 170, np.uint8),
        BlazeFaceDetector(FaceSettings(), AnalyzerContext(model_store)),
    )
    for k in range(50):
        frame = Frame.from_bgr(wall, k / 5, k)
        detector._lookout.watch(frame)
        denied = detector._verified(frame, CLAIMED)
        assert denied.score[0] < NEW
        detector._lookout.follow(denied)
    assert 4 <= looks <= 9


def test_a_small_real_face_is_still_found_by_the_full_range(model_store: ModelStore) -> None:
    """The astronaut at 25 and 36 pixels of 640: verification in an enlarged part keeps her."""
    (spec,) = edge_agent_register_analyzers()
    for side in (140, 200):
        detector = spec.factory(FaceSettings(range="auto", extra_looks=4), AnalyzerContext(model_store))
        room = np.full((480, 640, 3), 120, np.uint8)
        room[200 : 200 + side, 300 : 300 + side] = cv2.resize(
            data.astronaut()[..., ::-1], (side, side), interpolation=cv2.INTER_AREA
        )
        assert max(face.score for face in detector.detect(Frame.from_bgr(room, 0.0, 0))) > NEW
