"""The emotion model's figures, from the shipped file through the product's own runtime wrapper and preprocessing."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import MediaError
from edge_agent.models import Catalogue, ModelStore
from edge_agent.plugin import AnalyzerContext
from edge_agent_emotion import EmotionSettings, Prior
from edge_agent_emotion.analyzer import EmotionModel, Expectation
from training import calibration
from training.emotion.dataset import CLASSES, SIDE, FerPlus, load

DEFAULT_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "ferplus" / "ferplus_valid.npz"
BINS = 15


def evaluate(path: Path = DEFAULT_DATA) -> dict[str, Any]:
    """Accuracy, recall, confusion and calibration on an ``.npz`` with ``images`` and ``votes`` (see ``dataset``).

    As the plugin answers with its default prior; ``priors`` has the figures of all three.

    Raises:
        MediaError: no such file, or not in that format.
    """
    split = _read(path)
    model = EmotionModel(AnalyzerContext(ModelStore(Path("/nonexistent"), Catalogue.load())))
    logits = np.stack([model.logits(image) for image in split.images])
    answers = {prior: Expectation.bundled(prior)(logits) for prior in get_args(Prior)}
    p, chosen = answers[EmotionSettings().prior], split.majority
    return {
        "model": "emotion",
        "data": path.name,
        "calibration": calibration.bins(p.max(1)[chosen], (p.argmax(1) == split.labels)[chosen]),
        "majority": figures(p, split, split.majority),
        "argmax": figures(p, split, np.ones(len(split), bool)),
        "priors": {prior: figures(answer, split, chosen) for prior, answer in answers.items()},
        "soft_cross_entropy": round(float(-(split.targets * np.log(p + 1e-9)).sum(1).mean()), 4),
    }


def _read(path: Path) -> FerPlus:
    try:
        split = load(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        wanted = f"an .npz with 'images' uint8 [n, {SIDE}, {SIDE}] and 'votes' [n, {len(CLASSES) + 2}]"
        raise MediaError(f"{path}: not {wanted}: {error}") from error
    if not split.majority.any():
        raise MediaError(f"{path}: no image has a winner among {', '.join(CLASSES)} with more than half of its votes")
    return split


def figures(p: npt.NDArray[np.float64], split: FerPlus, chosen: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Figures over the ``chosen`` images; ``p`` is [n, 8]."""
    guess, truth, confidence = p.argmax(1)[chosen], split.labels[chosen], p.max(1)[chosen]
    confusion = np.zeros((len(CLASSES), len(CLASSES)), int)
    np.add.at(confusion, (truth, guess), 1)
    counts = confusion.sum(1)
    recall = np.divide(confusion.diagonal(), counts, out=np.full(len(CLASSES), np.nan), where=counts > 0)
    return {
        "n": int(chosen.sum()),
        "accuracy": round(float((guess == truth).mean()), 4),
        "macro_recall": round(float(np.nanmean(recall)), 4),
        "ece": round(calibration_error(confidence, guess == truth), 4),
        "recall": {c: (None if np.isnan(r) else round(float(r), 3)) for c, r in zip(CLASSES, recall, strict=True)},
        "support": {c: int(n) for c, n in zip(CLASSES, counts, strict=True)},
        "confusion": confusion.tolist(),
    }


def calibration_error(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error over :data:`BINS` equal bins (Naeini et al. 2015)."""
    bins = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    total = 0.0
    for k in range(BINS):
        inside = bins == k
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(total)


def table(report: dict[str, Any]) -> str:
    """The model card's table."""
    rows = ["| set | n | accuracy | macro recall | ECE |", "| --- | --- | --- | --- | --- |"]
    for name in ("majority", "argmax"):
        f = report[name]
        rows.append(f"| {name} | {f['n']} | {f['accuracy']:.4f} | {f['macro_recall']:.4f} | {f['ece']:.4f} |")
    rows += ["", "| prior | majority | macro recall | ECE |", "| --- | --- | --- | --- |"]
    for name, f in report["priors"].items():
        rows.append(f"| {name} | {f['accuracy']:.4f} | {f['macro_recall']:.4f} | {f['ece']:.4f} |")
    f = report["majority"]
    rows += [
        "",
        "| class | recall | n | " + " | ".join(f"as {c}" for c in CLASSES) + " |",
        "| --- " * (len(CLASSES) + 3) + "|",
    ]
    for k, c in enumerate(CLASSES):
        recall = "-" if f["recall"][c] is None else f"{f['recall'][c]:.3f}"
        cells = " | ".join(str(v) for v in f["confusion"][k])
        rows.append(f"| {c} | {recall} | {f['support'][c]} | {cells} |")
    return "\n".join(rows)
