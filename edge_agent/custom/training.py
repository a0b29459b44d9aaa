"""Train a custom model on vectors, and score it on sources that it was not trained on. Owns scikit-learn.

Every source is left out once: the model that judges it has seen none of its examples, also not to choose how strongly
it is regularised. scikit-learn is imported here only, and only to train.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from edge_agent.custom.embedding import NAMES
from edge_agent.custom.examples import ExampleSet, Task, number
from edge_agent.custom.store import About, CustomModel, Scores, Vectors, check_name
from edge_agent.domain.errors import ConfigError

MARGIN = 0.05
"""A good model's score, at its lower end, exceeds that of an answer that ignores the example by this."""
LEAST_SOURCES = 3
"""Sources without which nothing can be said about others."""
FOLDS = 5
MOST_VECTORS = 20
"""Vectors of an example that are trained on, spread over it."""
_STRENGTHS = (0.03, 0.003, 0.3)
"""Inverse regularisations to choose from; the first of equally good ones is used."""
_RESAMPLES = 1000

Numbers = npt.NDArray[np.float64]
Measure = Callable[[npt.NDArray[np.intp]], float]
"""Score over the examples of the given indices."""


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Vectors of all examples with their example's index; ``target`` (label number or value) and ``group`` of each."""

    vectors: Vectors
    owner: npt.NDArray[np.intp]
    target: Numbers
    group: npt.NDArray[np.intp]
    task: Task

    def of(self, examples: npt.NDArray[np.intp]) -> tuple[Vectors, Numbers, Numbers]:
        """Vectors, targets and weights of some examples: each example weighs 1, however long it is."""
        rows = np.isin(self.owner, examples)
        owner = self.owner[rows]
        return self.vectors[rows], self.target[owner], 1.0 / np.bincount(owner, minlength=len(self.target))[owner]


def train(name: str, chosen: ExampleSet, vectors: Sequence[Vectors]) -> CustomModel:
    """Train a model on the ``vectors`` [n, d] of each example, and score it by source.

    Raises:
        ConfigError: scikit-learn is missing, or the name cannot be one.
    """
    check_name(name)
    require_scikit_learn()
    from threadpoolctl import threadpool_limits

    data = _data(chosen, vectors)
    everything = np.arange(len(data.target))
    with threadpool_limits(1):  # so small that more threads only wait for each other
        scores = _score(data, chosen)
        fitted = _fit(data, everything, _choose(data, everything))
    arrays = (np.asarray(a, np.float32) for a in (fitted.mean, fitted.scale, fitted.weights, fitted.bias))
    about = About(
        name,
        chosen.medium,
        chosen.task,
        NAMES[chosen.medium],
        chosen.labels,
        scores,
        datetime.now(UTC).isoformat(timespec="seconds"),
        chosen.warnings,
    )
    return CustomModel(about, *arrays)


def require_scikit_learn() -> None:
    """Check that the extra is installed, before any work. Raises ConfigError."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ConfigError(
            "training needs scikit-learn: run 'pip install \"edge-emotion-agent[custom]\"'; using a model does not"
        ) from None


def _data(chosen: ExampleSet, vectors: Sequence[Vectors]) -> _Data:
    some = [v[np.linspace(0, len(v) - 1, min(len(v), MOST_VECTORS)).astype(int)] for v in vectors]
    owner = np.repeat(np.arange(len(some)), [len(v) for v in some])
    if chosen.task == "classification":
        target = np.array([chosen.labels.index(e.label) for e in chosen.examples], np.float64)
    else:
        target = np.array([number(e.label) for e in chosen.examples], np.float64)
    group = np.unique(chosen.groups, return_inverse=True)[1].reshape(-1)
    return _Data(np.concatenate(some), owner, target, group, chosen.task)


# ---------------------------------------------------------------------- fitting


@dataclass(frozen=True, slots=True, eq=False)
class _Linear:
    """Fitted model: ``weights`` [d, k] and ``bias`` [k] on (x - ``mean``) / ``scale``; ``classes`` [k]: labels."""

    mean: Numbers
    scale: Numbers
    weights: Numbers
    bias: Numbers
    classes: Numbers | None

    def judge(self, data: _Data, examples: npt.NDArray[np.intp]) -> Numbers:
        """Answer for each of ``examples``: label number or value, from the mean over its vectors."""
        answers = ((data.vectors - self.mean) / self.scale) @ self.weights + self.bias
        if self.classes is not None:
            answers = np.exp(answers - answers.max(axis=1, keepdims=True))
            answers /= answers.sum(axis=1, keepdims=True)
        means = np.stack([answers[data.owner == example].mean(axis=0) for example in examples])
        return means[:, 0] if self.classes is None else self.classes[means.argmax(axis=1)]


def _fit(data: _Data, examples: npt.NDArray[np.intp], strength: float) -> _Linear:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    x, y, weight = data.of(examples)
    scaler = StandardScaler().fit(x, sample_weight=weight)
    x = (x - scaler.mean_) / scaler.scale_
    if data.task == "regression":
        ridge = Ridge(alpha=1.0 / strength).fit(x, y, sample_weight=weight)
        return _Linear(scaler.mean_, scaler.scale_, ridge.coef_.reshape(-1, 1), np.atleast_1d(ridge.intercept_), None)
    logistic = LogisticRegression(C=strength, class_weight="balanced", max_iter=500).fit(x, y, sample_weight=weight)
    weights, bias = logistic.coef_.T, logistic.intercept_
    if len(logistic.classes_) == 2:  # scikit-learn keeps the second label's only
        weights, bias = np.hstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
    return _Linear(scaler.mean_, scaler.scale_, weights, bias, logistic.classes_)


def _folds(data: _Data, examples: npt.NDArray[np.intp]) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Divide examples for training and test, no source in both; labels as even as sources allow."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    group, target = data.group[examples], data.target[examples]
    count = min(FOLDS, len(np.unique(group)))
    if count < 2:
        return []
    if data.task == "regression":
        parts = GroupKFold(count).split(examples, target, group)
    else:
        least = int(np.unique(target, return_counts=True)[1].min())
        count = max(2, min(count, least))
        parts = StratifiedGroupKFold(count, shuffle=True, random_state=0).split(examples, target, group)
    pairs = [(examples[a], examples[b]) for a, b in parts]
    usable = data.task == "regression"
    return [(a, b) for a, b in pairs if len(a) and len(b) and (usable or len(np.unique(data.target[a])) > 1)]


def _answers(data: _Data, examples: npt.NDArray[np.intp], strength: float | None) -> tuple[Numbers, Numbers]:
    """Answers and baselines for ``examples`` by models that did not see their source; NaN where there is none.

    ``strength`` None: chosen anew for each part, on its training examples alone.
    """
    found = np.full(len(data.target), np.nan)
    plain = np.full(len(data.target), np.nan)
    for learned, tested in _folds(data, examples):
        chosen = _choose(data, learned) if strength is None else strength
        found[tested] = _fit(data, learned, chosen).judge(data, tested)
        plain[tested] = data.target[learned].mean()
    return found, plain


def _choose(data: _Data, examples: npt.NDArray[np.intp]) -> float:
    scored = []
    for strength in _STRENGTHS:
        found, plain = _answers(data, examples, strength)
        judged = np.flatnonzero(~np.isnan(found))
        scored.append(_measure(data, found, plain)(judged) if len(judged) else 0.0)
    return _STRENGTHS[int(np.argmax(scored))]


# ---------------------------------------------------------------------- scoring


def _measure(data: _Data, found: Numbers, plain: Numbers) -> Measure:
    def balanced(examples: npt.NDArray[np.intp]) -> float:
        target, right = data.target[examples], found[examples] == data.target[examples]
        return float(np.mean([right[target == label].mean() for label in np.unique(target)]))

    def explained(examples: npt.NDArray[np.intp]) -> float:
        wrong = ((found[examples] - data.target[examples]) ** 2).sum()
        return float(1 - wrong / max(((plain[examples] - data.target[examples]) ** 2).sum(), 1e-12))

    return explained if data.task == "regression" else balanced


def _score(data: _Data, chosen: ExampleSet) -> Scores:
    found, plain = _answers(data, np.arange(len(data.target)), None)
    judged = np.flatnonzero(~np.isnan(found))
    regression = data.task == "regression"
    baseline = 0.0 if regression else 1.0 / len(chosen.labels)
    score, low = baseline, baseline
    details: dict[str, float] = {}
    if len(judged):
        measure = _measure(data, found, plain)
        score, low = measure(judged), _low(measure, data.group, judged)
        details = _details(data, found, plain, judged, chosen.labels)
    sources = len(np.unique(data.group))
    reason = _doubt(data, chosen, sources, score, low, baseline)
    name = "r2" if regression else "balanced_accuracy"
    return Scores(name, score, baseline, low, not reason, reason, sources, len(data.target), details)


def _low(measure: Measure, group: npt.NDArray[np.intp], judged: npt.NDArray[np.intp]) -> float:
    """5th percentile of the score over random choices of the sources, with replacement."""
    random = np.random.default_rng(0)
    members = [judged[group[judged] == one] for one in np.unique(group[judged])]
    picks = random.integers(0, len(members), (_RESAMPLES, len(members)))
    return float(np.percentile([measure(np.concatenate([members[k] for k in pick])) for pick in picks], 5))


def _details(
    data: _Data, found: Numbers, plain: Numbers, judged: npt.NDArray[np.intp], labels: Sequence[str]
) -> dict[str, float]:
    target = data.target[judged]
    if data.task == "regression":
        errors = {"mean_absolute_error": found, "mean_absolute_error_of_baseline": plain}
        return {name: float(np.abs(answer[judged] - target).mean()) for name, answer in errors.items()}
    right = found[judged] == target
    told = {"accuracy": float(right.mean())}
    told["accuracy_of_most_frequent"] = float(np.unique(target, return_counts=True)[1].max() / len(target))
    for k, label in enumerate(labels):
        if (target == k).any():
            told[f"recall of {label}"] = float(right[target == k].mean())
    return told


def _doubt(data: _Data, chosen: ExampleSet, sources: int, score: float, low: float, baseline: float) -> str:
    """Why the model cannot be called good; "" when it can."""
    if sources < LEAST_SOURCES:
        return f"{sources} sources: at least {LEAST_SOURCES} are needed to know how it does on others"
    for k, label in enumerate(chosen.labels):
        if len(np.unique(data.group[data.target == k])) < 2:
            return f"label {label!r} has one source only: perhaps that source is recognised, not the label"
    if not low >= baseline + MARGIN:
        ignoring = "the mean of all" if data.task == "regression" else "always the most frequent label"
        return (
            f"on unseen sources it scores {score:.2f} (surely {low:.2f}), and {ignoring} scores {baseline:.2f}: add "
            "examples of more sources, or labels that differ more"
        )
    return ""
