"""The share of the prior that is taken out is chosen by its rule, and the temperature fits what is left."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent_emotion.analyzer import shifted
from training.emotion import prior
from training.emotion.dataset import CLASSES, FerPlus

FREQUENCY = np.array([0.6, 0.2, 0.05, 0.05, 0.04, 0.02, 0.02, 0.02])


def drawn(count: int, seed: int, evidence: float) -> tuple[np.ndarray, FerPlus]:
    """Logits of an honest network with this prior, and a split drawn from it."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(CLASSES), count, p=FREQUENCY)
    seen = rng.normal(0, 1, (count, len(CLASSES)))
    seen[np.arange(count), labels] += evidence
    found = evidence * seen + np.log(FREQUENCY)
    nothing = np.zeros((count, 48, 48), np.uint8)
    targets = np.eye(len(CLASSES), dtype=np.float32)[labels]
    return found, FerPlus(nothing, targets, labels, np.ones(count, bool))


def test_between_costs_no_more_accuracy_than_allowed_and_finds_more() -> None:
    found, split = drawn(20_000, 0, 2.0)
    share = prior.between(found, FREQUENCY, split)
    before = prior.accuracy_and_recall(found, split)
    after = prior.accuracy_and_recall(shifted(found, FREQUENCY, share), split)
    further = prior.accuracy_and_recall(shifted(found, FREQUENCY, share + 0.1), split)
    assert 0 < share < 1
    assert after[0] >= before[0] - prior.COST
    assert after[1] > before[1] + 0.01
    assert further[0] < before[0] - prior.COST


def test_nothing_is_taken_out_where_it_finds_nothing_more() -> None:
    found, split = drawn(2000, 1, 30.0)  # always right
    assert prior.between(found, FREQUENCY, split) == 0.0


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.5])
def test_the_temperature_is_found(factor: float) -> None:
    found, split = drawn(20_000, 2, 2.0)
    assert prior.temperature(found * factor, split.labels) == pytest.approx(factor, abs=0.04)


def test_options_list_every_class_and_choice() -> None:
    told = prior.options(*drawn(2000, 3, 2.0)[:1], FREQUENCY, drawn(2000, 3, 2.0)[1])
    assert tuple(told["prior"]) == CLASSES
    assert [told["options"][name]["share"] for name in ("trained", "balanced")] == [0.0, 1.0]
    assert told["options"]["between"]["share"] in prior.SHARES.round(3)
