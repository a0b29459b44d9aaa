"""The gate sees people come, and neither noise, nor light, nor a flickering screen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.analysis.pacing import GATE_HEIGHT as HEIGHT
from edge_agent.analysis.pacing import GATE_WIDTH as WIDTH
from edge_agent.analysis.pacing import MotionGate

Picture = npt.NDArray[np.uint8]


def room(rng: np.random.Generator, light: float = 1.0, sigma: float = 2.0) -> Picture:
    """A bright wall over a dark floor, with camera noise."""
    picture = np.full((HEIGHT, WIDTH), 150.0)
    picture[HEIGHT // 2 :] = 70
    return np.clip(picture * light + rng.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)


def with_person(picture: Picture, x: int, size: int = 3, level: int = 200) -> Picture:
    picture = picture.copy()
    picture[10 : 10 + size, x : x + size] = level
    return picture


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def watching(rng: np.random.Generator, sigma: float = 2.0) -> MotionGate:
    gate = MotionGate()
    for _ in range(20):
        gate.look(room(rng, sigma=sigma))
        gate.searched(nobody=True)
    return gate


def test_the_first_picture_moves(rng: np.random.Generator) -> None:
    assert MotionGate().look(room(rng)).moved


@pytest.mark.parametrize("sigma", [0.0, 2.0, 5.0])
def test_camera_noise_is_not_motion(rng: np.random.Generator, sigma: float) -> None:
    gate = watching(rng, sigma)
    assert sum(gate.look(room(rng, sigma=sigma)).moved for _ in range(200)) <= 10


@pytest.mark.parametrize("sigma", [0.0, 2.0, 5.0])
def test_a_distant_face_is_motion(rng: np.random.Generator, sigma: float) -> None:
    gate = watching(rng, sigma)
    assert all(gate.look(with_person(room(rng, sigma=sigma), x)).moved for x in range(0, WIDTH - 3, 5))


def test_light_that_changes_as_a_whole_is_not_motion(rng: np.random.Generator) -> None:
    gate = watching(rng)
    assert not any(gate.look(room(rng, light)).moved for light in (0.85, 0.95, 1.05, 1.15))


def test_a_person_in_changed_light_is_motion(rng: np.random.Generator) -> None:
    gate = watching(rng)
    assert gate.look(with_person(room(rng, 0.9), 20, size=5)).moved


def test_what_moves_slowly_is_noticed_because_the_last_search_is_the_measure(rng: np.random.Generator) -> None:
    gate = watching(rng)
    shifts = [gate.look(with_person(room(rng), 5, level=150 + 2 * look)).moved for look in range(30)]
    assert not shifts[0]
    assert shifts[-1]


def test_a_flickering_screen_is_learned_and_a_person_elsewhere_is_not_missed(rng: np.random.Generator) -> None:
    gate = watching(rng)

    def flicker(look: int) -> Picture:
        picture = room(rng)
        picture[2:8, 30:40] = 90 if look % 2 else 130
        return picture

    for look in range(40):
        gate.look(flicker(look))
        gate.searched(nobody=True)
    assert sum(gate.look(flicker(look)).moved for look in range(40)) <= 2
    assert gate.look(with_person(flicker(0), 10)).moved


def test_people_are_not_learned_as_noise(rng: np.random.Generator) -> None:
    gate = watching(rng)
    for look in range(40):
        gate.look(with_person(room(rng), look))
        gate.searched(nobody=False)
    assert gate.look(with_person(room(rng), 5)).moved


def test_after_a_reset_the_next_picture_moves(rng: np.random.Generator) -> None:
    gate = watching(rng)
    gate.reset()
    assert gate.look(room(rng)).moved


def test_a_black_picture_is_no_division_by_zero() -> None:
    gate = MotionGate()
    black = np.zeros((HEIGHT, WIDTH), np.uint8)
    gate.look(black)
    gate.searched(nobody=True)
    assert not gate.look(black).moved
