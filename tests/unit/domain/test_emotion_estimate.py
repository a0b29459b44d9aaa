"""From sums to an answer, or to none where there is too little evidence."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.summary import MIN_READINGS, VALENCE, EmotionSums, estimate_emotion

QUICK = settings(max_examples=60)

Distribution = tuple[float, ...]


def distribution(**p: float) -> Distribution:
    values = dict.fromkeys(EMOTIONS, 0.0) | p
    values["neutral"] += 1 - sum(values.values())
    return tuple(values[name] for name in EMOTIONS)


def sums(*readings: Distribution, weight: float = 1.0) -> EmotionSums:
    """Each reading stands for ``weight`` person-seconds."""
    columns = list(zip(*readings, strict=True))
    return EmotionSums(
        weight=weight * len(readings),
        p=tuple(weight * sum(c) for c in columns),
        square=tuple(weight * sum(v * v for v in c) for c in columns),
        readings=len(readings),
    )


def test_too_few_readings_are_no_evidence() -> None:
    happy = distribution(happiness=0.9)
    assert estimate_emotion(sums(*[happy] * (MIN_READINGS - 1))) is None
    assert estimate_emotion(sums(*[happy] * MIN_READINGS)) is not None
    assert estimate_emotion(sums(happy), min_readings=1) is not None
    assert estimate_emotion(EmotionSums()) is None


def test_readings_that_held_for_no_time_are_no_evidence() -> None:
    assert estimate_emotion(EmotionSums(readings=99)) is None


def test_the_answer_is_the_weighted_mean() -> None:
    estimate = estimate_emotion(sums(distribution(happiness=0.9), distribution(happiness=0.5), distribution()))
    assert estimate is not None
    p = dict(zip(EMOTIONS, estimate.p, strict=True))
    assert p["happiness"] == pytest.approx(1.4 / 3)
    assert estimate.dominant == "neutral"
    assert estimate.valence == pytest.approx(1.4 / 3 * VALENCE["happiness"])


PROBABILITIES = st.lists(st.floats(0.01, 1.0), min_size=8, max_size=8).map(lambda v: tuple(x / sum(v) for x in v))


@QUICK
@given(st.lists(PROBABILITIES, min_size=MIN_READINGS, max_size=10), st.floats(0.01, 100.0))
def test_every_figure_stays_in_its_range(readings: list[Distribution], weight: float) -> None:
    estimate = estimate_emotion(sums(*readings, weight=weight))
    assert estimate is not None
    assert sum(estimate.p) == pytest.approx(1)
    assert max(estimate.p) == estimate.p[EMOTIONS.index(estimate.dominant)]
    assert -1 <= estimate.valence <= 1
    assert 0.5 <= estimate.confidence <= 1


@QUICK
@given(st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_a_wider_lead_is_a_surer_answer(a: float, b: float) -> None:
    assume(abs(a - b) > 1e-6)
    low, high = (estimate_emotion(sums(*[distribution(happiness=0.5 + lead)] * 5)) for lead in sorted((a, b)))
    assert low is not None
    assert high is not None
    assert high.confidence >= low.confidence


def test_readings_that_agree_are_surer_than_readings_that_do_not() -> None:
    steady = estimate_emotion(sums(*[distribution(happiness=0.6)] * 6))
    torn = estimate_emotion(sums(*[distribution(happiness=0.95), distribution(happiness=0.25)] * 3))
    assert steady is not None
    assert torn is not None
    assert steady.confidence > torn.confidence


def test_more_readings_never_make_it_quite_certain() -> None:
    """The floor is the model's own error, which watching one face for longer does not average away."""
    many = estimate_emotion(sums(*[distribution(happiness=0.55)] * 10_000))
    assert many is not None
    assert many.dominant == "happiness"
    assert many.confidence < 0.8


def test_every_class_has_a_valence_and_neutral_is_zero() -> None:
    assert tuple(VALENCE) == EMOTIONS
    assert VALENCE["neutral"] == 0
    assert all(-1 <= v <= 1 for v in VALENCE.values())
