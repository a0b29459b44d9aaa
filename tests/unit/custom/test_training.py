"""Training on known vectors: scores are by source, and a model is called good only where it is."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edge_agent.custom.examples import Example, ExampleSet, Task
from edge_agent.custom.store import CustomModel
from edge_agent.custom.training import require_scikit_learn, train
from edge_agent.domain.errors import ConfigError

pytest.importorskip("sklearn")


def fitted(x: np.ndarray, labels: list[str], sources: list[str], task: Task = "classification") -> CustomModel:
    pairs = zip(labels, sources, strict=True)
    examples = tuple(Example(a, f"e{k}", None, f"text {k}", s) for k, (a, s) in enumerate(pairs))
    return train("test", ExampleSet(examples, "words", task), [row[None].astype(np.float32) for row in x])


def drawn(seed: int = 0) -> tuple[np.random.Generator, list[str], list[str]]:
    random = np.random.default_rng(seed)
    return random, [("a", "b", "c")[k % 3] for k in range(60)], [f"s{k // 6}" for k in range(60)]


def test_labels_that_show_are_learned() -> None:
    random, labels, sources = drawn()
    x = random.normal(size=(60, 8)) + np.array([[3.0 * (a == b) for b in "abcdefgh"] for a in labels])
    model = fitted(x, labels, sources)
    assert model.about.scores.good, model.about.scores.reason
    assert model.about.scores.score > 0.85
    right = [max(p := model.predict(row[None].astype(np.float32)), key=p.__getitem__) for row in x]
    assert np.mean([a == b for a, b in zip(right, labels, strict=True)]) > 0.9


@pytest.mark.parametrize("seed", range(2))
def test_noise_is_not_good(seed: int) -> None:
    random, labels, sources = drawn(seed)
    scores = fitted(random.normal(size=(60, 20)), labels, sources).about.scores
    assert not scores.good
    assert "on unseen sources it scores" in scores.reason


def test_recognising_the_source_is_not_good() -> None:
    """Each source has one label, and looks like itself: files of known sources would all be right."""
    random = np.random.default_rng(1)
    sources = [f"s{k // 6}" for k in range(60)]
    labels = ["ab"[int(s[1:]) % 2] for s in sources]
    looks = {s: random.normal(size=20) * 5 for s in sources}
    x = np.array([looks[s] + random.normal(size=20) * 0.1 for s in sources])
    assert not fitted(x, labels, sources).about.scores.good
    alone = fitted(x, labels, [f"own{k}" for k in range(60)]).about.scores
    assert alone.score > 0.95  # what a score without sources would have promised


def test_too_few_sources_and_a_label_of_one_source() -> None:
    random, labels, _ = drawn()
    x = random.normal(size=(60, 8)) + np.array([[5.0 * (a == b) for b in "abcdefgh"] for a in labels])
    assert "at least 3 are needed" in fitted(x, labels, [f"s{k % 2}" for k in range(60)]).about.scores.reason
    assert "at least 3 are needed" in fitted(x, labels, ["s"] * 60).about.scores.reason
    mixed = ["only" if a == "c" else f"s{k % 4}" for k, a in enumerate(labels)]
    assert "has one source only" in fitted(x, labels, mixed).about.scores.reason


def test_a_rare_label_that_is_never_found_is_not_good() -> None:
    random = np.random.default_rng(2)
    labels = ["rare" if k % 10 == 0 else "usual" for k in range(100)]
    scores = fitted(random.normal(size=(100, 10)), labels, [f"s{k % 7}" for k in range(100)]).about.scores
    assert not scores.good  # though always "usual" is right in 90 of 100


def test_regression() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(60, 5))
    y = x[:, 0] * 2 + 1
    sources = [f"s{k % 6}" for k in range(60)]
    model = fitted(x, [repr(float(v)) for v in y], sources, "regression")
    assert model.about.scores.good
    assert model.predict(x[:1].astype(np.float32))["value"] == pytest.approx(y[0], abs=0.5)
    shuffled = [repr(float(v)) for v in random.permutation(y)]
    assert not fitted(x, shuffled, sources, "regression").about.scores.good


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigError, match=r"edge-emotion-agent\[custom\]"):
        require_scikit_learn()
