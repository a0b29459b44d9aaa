"""What readings of similar looks say, and for how long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.analysis.reading import (
    MEMORY,
    SIDE,
    EmotionReading,
    Likeness,
    Look,
    Surprise,
    difference,
    look_of,
    recall,
    remember,
)
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.domain.observation import EMOTIONS
from tests.unit.analysis.faces import face

HAPPY = tuple(float(name == "happiness") for name in EMOTIONS)
CALM = tuple(float(name == "neutral") for name in EMOTIONS)
RULES = Likeness()


def look(seed: int) -> Look:
    return np.random.default_rng(seed).normal(0, 1, (SIDE, SIDE)).astype(np.float32)


def test_a_look_that_was_read_is_answered_with_its_reading() -> None:
    readings = [EmotionReading(0.0, HAPPY, look(1)), EmotionReading(0.0, CALM, look(2))]
    answer = recall(readings, look(1), 0.0, RULES)
    assert answer.p == pytest.approx(HAPPY)
    assert answer.evidence == pytest.approx(1.0)


def test_an_unlike_look_has_no_answer() -> None:
    answer = recall([EmotionReading(0.0, HAPPY, look(1))], look(2), 0.0, RULES)
    assert (answer.p, answer.evidence) == (None, 0.0)


def test_between_two_looks_the_nearer_one_weighs_more() -> None:
    base, other = look(1), look(1) + np.float32(0.3)
    answer = recall(
        [EmotionReading(0.0, HAPPY, base), EmotionReading(0.0, CALM, other)], base + np.float32(0.1), 0.0, RULES
    )
    assert answer.p is not None
    assert 0.5 < answer.p[EMOTIONS.index("happiness")] < 1


def test_evidence_adds_up_and_fades() -> None:
    twice = [EmotionReading(0.0, HAPPY, look(1)), EmotionReading(1.0, HAPPY, look(1))]
    now = recall(twice, look(1), 1.0, RULES).evidence
    assert 1.9 < now <= 2
    assert recall(twice, look(1), 1.0 + RULES.fade, RULES).evidence == pytest.approx(now / np.e)


@given(st.floats(0, 3), st.floats(0, 100), st.floats(0, 1), st.floats(0, 10))
def test_less_like_or_older_never_counts_more(distance: float, age: float, further: float, later: float) -> None:
    weight = RULES.weight(distance, age)
    assert 0 <= RULES.weight(distance + further, age + later) <= weight <= 1


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 20)), min_size=1, max_size=8))
def test_an_answer_is_a_distribution(past: list[tuple[int, float]]) -> None:
    readings = [EmotionReading(age, HAPPY if seed % 2 else CALM, look(seed)) for seed, age in past]
    answer = recall(readings, look(past[0][0]), 20.0, RULES)
    assert answer.p is not None
    assert sum(answer.p) == pytest.approx(1)
    assert min(answer.p) >= 0


def test_a_face_that_reads_as_recalled_surprises_less_and_a_fickle_one_more() -> None:
    steady, fickle = Surprise(), Surprise()
    assert steady.relative == 1.0
    seen = []
    for _ in range(12):
        steady, fickle = steady.after(HAPPY, HAPPY), fickle.after(HAPPY, CALM)
        seen.append((steady.relative, fickle.relative))
    assert [s for s, _ in seen] == sorted((s for s, _ in seen), reverse=True)
    assert seen[-1] == (0.4, 2.5)
    for _ in range(60):
        fickle = fickle.after(CALM, CALM)
    assert fickle.relative == 0.4, "what was is forgotten"


@given(st.lists(st.tuples(st.sampled_from([HAPPY, CALM]), st.sampled_from([HAPPY, CALM])), max_size=40))
def test_surprise_stays_within_its_bounds(readings: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> None:
    surprise = Surprise()
    for read, recalled in readings:
        surprise = surprise.after(read, recalled)
    assert 0.4 <= surprise.relative <= 2.5


def test_memory_is_bounded_and_drops_the_oldest() -> None:
    readings: tuple[EmotionReading, ...] = ()
    for time in range(MEMORY + 5):
        readings = remember(readings, EmotionReading(float(time), HAPPY, look(1)))
    assert len(readings) == MEMORY
    assert readings[0].time == 5.0


def test_a_look_is_independent_of_brightness_and_differs_between_faces() -> None:
    rng = np.random.default_rng(3)
    picture = np.kron(rng.integers(40, 120, (24, 32)), np.ones((10, 10))).astype(np.uint8)
    brighter = (picture * 1.5).astype(np.uint8)
    one, same, other = (
        look_of(Frame(data, PixelFormat.GRAY, 320, 240, 0.0, 0), face(x, size=0.3))
        for data, x in ((picture, 0.4), (brighter, 0.4), (picture, 0.7))
    )
    assert difference(one, same) < 0.1
    assert difference(one, other) > 0.5
