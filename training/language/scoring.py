"""F1 of multi-label answers, and the thresholds that make it highest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]


def best_thresholds(scores: Scores, labels: Scores) -> npt.NDArray[np.float64]:
    """For each class, [28], the score from which saying "yes" has the highest F1."""
    found = []
    for score, label in zip(scores.T, labels.T, strict=True):
        order = np.argsort(-score, kind="stable")
        hits = np.cumsum(label[order])
        best = int(np.argmax(2 * hits / (np.arange(1, len(order) + 1) + label.sum())))
        found.append((float(score[order[best]]) + float(score[order[min(best + 1, len(order) - 1)]])) / 2)
    return np.array(found)


def f1(scores: Scores, labels: Scores, thresholds: Scores) -> tuple[float, float, npt.NDArray[np.float64]]:
    """Macro F1, micro F1, and the F1 of each class, [28], when scores from ``thresholds`` on count as "yes"."""
    said = scores >= thresholds
    hits, total = (said * labels).sum(0), said.sum(0) + labels.sum(0)
    each = 2 * hits / np.maximum(1, total)
    return float(each.mean()), float(2 * hits.sum() / max(1, total.sum())), np.asarray(each, np.float64)


def fair_thresholds(p: Scores, labels: Scores) -> npt.NDArray[np.float64]:
    """Thresholds, [28], of calibrated probabilities, half way between the best for macro and for micro F1.

    A class too rare to be ever said so gets the one that is best for itself.

    F1 is highest where "yes" is said from half of it on (Lipton et al. 2014): of a class's own for the macro mean, of
    the common one for the micro. One number each, so that a rare class does not get its threshold from a few examples.
    """
    best = best_thresholds(p, labels)
    _, micro, each = f1(p, labels, best)
    fair = (each + micro) / 4
    return np.where(fair > p.max(0), best, fair)
