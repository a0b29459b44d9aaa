"""Dark, covered, frozen, blurred and overexposed pictures; and that an ordinary one is none of them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.domain.observation import FLAG
from edge_agent_quality import CameraQualitySettings
from edge_agent_quality.camera import CameraQuality

Gray = npt.NDArray[np.uint8]
SHAPE = (240, 320)
SETTINGS = CameraQualitySettings()


def scene(rng: np.random.Generator) -> Gray:
    """Boxes of all sizes, as a room with furniture has edges."""
    picture = np.full(SHAPE, 120, np.uint8)
    for _ in range(60):
        x, y, w, h = rng.integers(0, 300), rng.integers(0, 220), rng.integers(5, 80), rng.integers(5, 80)
        picture[y : y + h, x : x + w] = rng.integers(20, 230)
    return picture


def noisy(picture: Gray, rng: np.random.Generator, sigma: float = 3.0) -> Gray:
    return np.clip(picture + rng.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)


def flags(pictures: list[Gray], step: float = 0.5, settings: CameraQualitySettings = SETTINGS) -> list[set[str]]:
    """The flags after each of ``pictures``."""
    quality, told = CameraQuality(settings), []
    for index, data in enumerate(pictures):
        (found,) = quality.analyze(Frame(data, PixelFormat.GRAY, SHAPE[1], SHAPE[0], index * step, index))
        assert found.name == FLAG
        assert set(found.values) == {"dark", "covered", "frozen", "blurred", "overexposed"}
        told.append({name for name, value in found.values.items() if value > 0.5})
    return told


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_an_ordinary_picture_has_no_flags(rng: np.random.Generator) -> None:
    assert not any(flags([noisy(scene(rng), rng) for _ in range(30)]))


@pytest.mark.parametrize("level", [0, 5])
def test_a_black_picture_is_dark(rng: np.random.Generator, level: int) -> None:
    """Row 23: black pictures are flagged at once."""
    assert all(told == {"dark"} for told in flags([noisy(np.full(SHAPE, level, np.uint8), rng) for _ in range(30)]))


def test_a_dim_room_with_a_lamp_is_not_dark(rng: np.random.Generator) -> None:
    picture = np.full(SHAPE, 8, np.uint8)
    picture[20:60, 20:80] = 180
    assert "dark" not in flags([noisy(picture, rng)])[0]


def test_a_grey_picture_is_covered_once_it_lasts(rng: np.random.Generator) -> None:
    """Row 23: pictures of nothing are flagged as covered once that lasts."""
    told = flags([noisy(np.full(SHAPE, 90, np.uint8), rng) for _ in range(30)])
    assert told[0] == set()
    assert told[-1] == {"covered"}
    assert told.index({"covered"}) == pytest.approx(SETTINGS.covered_s / 0.5, abs=1)


def test_what_uncovers_starts_anew(rng: np.random.Generator) -> None:
    grey, room = noisy(np.full(SHAPE, 90, np.uint8), rng), noisy(scene(rng), rng)
    assert not any("covered" in told for told in flags(([grey] * 8 + [room]) * 4))


def test_the_same_picture_again_and_again_is_frozen_until_it_moves(rng: np.random.Generator) -> None:
    """Row 23: the same picture again and again is flagged as frozen, until it moves."""
    one, other = noisy(scene(rng), rng), noisy(scene(rng), rng)
    told = flags([one] * 30 + [other] * 2)
    assert told[-3] == {"frozen"}
    assert told[-1] == set()
    assert told.index({"frozen"}) == pytest.approx(SETTINGS.frozen_s / 0.5, abs=1)


def test_a_still_room_seen_by_a_real_camera_is_not_frozen(rng: np.random.Generator) -> None:
    room = scene(rng)
    assert not any(flags([noisy(room, rng, 1.0) for _ in range(40)]))


def test_a_picture_out_of_focus_is_blurred(rng: np.random.Generator) -> None:
    room = scene(rng)
    assert "blurred" in flags([noisy(np.asarray(cv2.GaussianBlur(room, (0, 0), 9), np.uint8), rng, 1.0)])[0]
    assert "blurred" not in flags([noisy(np.asarray(cv2.GaussianBlur(room, (0, 0), 1), np.uint8), rng, 1.0)])[0]


def test_a_white_picture_is_overexposed(rng: np.random.Generator) -> None:
    room = scene(rng)
    room[:, : SHAPE[1] // 2] = 255
    assert "overexposed" in flags([noisy(room, rng)])[0]
