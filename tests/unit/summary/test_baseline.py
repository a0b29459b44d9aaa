"""What is usual is learned slowly, taken out as lift, and merges exactly."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.summary import EmotionSums, Window, lift
from edge_agent.summary.context import MEMORY, READY, Baseline
from edge_agent.summary.merging import merge


def sums(weight: float = 10.0, readings: int = 9, **p: float) -> EmotionSums:
    """A window's readings; what is not named is neutral."""
    shares = dict.fromkeys(EMOTIONS, 0.0) | p
    shares["neutral"] += 1 - sum(shares.values())
    values = tuple(weight * shares[name] for name in EMOTIONS)
    return EmotionSums(weight, values, values, readings)


def of(baseline: Baseline, name: str) -> float:
    return baseline.p[EMOTIONS.index(name)]


def taught(*windows: EmotionSums) -> Baseline:
    return reduce(Baseline.learn, windows, Baseline())


def window(begin: float, emotion: EmotionSums) -> Window:
    return Window(begin, begin + 10, emotion=emotion)


def test_it_is_used_only_once_enough_was_seen() -> None:
    assert taught(*[sums(sadness=0.6)] * int(READY / 10 - 1)).apply(window(0, sums())) == window(0, sums())
    ready = taught(*[sums(sadness=0.6)] * int(READY / 10 + 2))
    assert ready.ready
    assert of(ready, "sadness") == pytest.approx(0.6, abs=0.01)
    assert ready.apply(window(0, sums())).usual.weight == 10


def test_the_baseline_absorbs_a_constant_expression_and_a_smile_stands_out() -> None:
    usual = taught(*[sums(sadness=0.6)] * 200)
    same = lift(usual.apply(window(0, sums(sadness=0.6))))
    smile = lift(usual.apply(window(0, sums(happiness=0.5, sadness=0.3))))
    assert same is not None
    assert smile is not None
    assert max(map(abs, same)) < 0.01
    assert EMOTIONS[smile.index(max(smile))] == "happiness"
    assert sum(smile) == pytest.approx(0)


def test_it_is_slow_and_a_crowd_does_not_hurry_it() -> None:
    usual = taught(*[sums(sadness=0.6)] * 3000)
    after = usual.learn(sums(weight=500.0, happiness=1.0))
    assert of(after, "happiness") < 0.002
    assert usual.weight <= MEMORY * 1.01


def test_what_is_no_evidence_teaches_nothing() -> None:
    assert Baseline().learn(sums(readings=1)) == Baseline()
    assert Baseline().learn(EmotionSums()) == Baseline()


def test_without_readings_or_baseline_there_is_no_lift() -> None:
    assert lift(window(0, sums())) is None
    assert lift(taught(*[sums()] * 100).apply(Window(0, 10))) is None


@given(st.lists(st.tuples(st.floats(0.5, 30), st.floats(0, 1)), min_size=2, max_size=6))
def test_the_lift_of_merged_windows_is_the_weighted_mean(parts: list[tuple[float, float]]) -> None:
    usual = taught(*[sums(sadness=0.6)] * 100)
    windows = [usual.apply(window(10 * k, sums(weight, happiness=h))) for k, (weight, h) in enumerate(parts)]
    total = sum(weight for weight, _ in parts)
    lifts = [lift(w) for w in windows]
    whole = lift(reduce(merge, windows))
    assert whole is not None
    for k in range(len(EMOTIONS)):
        mean = sum(w * part[k] for (w, _), part in zip(parts, lifts, strict=True) if part is not None) / total
        assert whole[k] == pytest.approx(mean, abs=1e-9)


def test_it_survives_a_restart_and_refuses_nonsense() -> None:
    usual = taught(sums(happiness=0.3))
    assert Baseline.parse(usual.document()) == usual
    for wrong in (
        {},
        {"weight": 1},
        {"weight": -1, "p": usual.document()["p"]},
        {"weight": 1, "p": dict.fromkeys(EMOTIONS, 1)},
    ):
        with pytest.raises(ValueError, match="not a baseline"):
            Baseline.parse(wrong)
