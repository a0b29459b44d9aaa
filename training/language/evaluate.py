"""The language model's figures, from the shipped file through the product's own runtime wrapper and features."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.observation import LANGUAGE, LANGUAGE_EMOTIONS
from edge_agent.domain.speech import Utterance
from edge_agent.models import Catalogue, ModelStore
from edge_agent.plugin import AnalyzerContext
from edge_agent_language import LanguageSettings
from edge_agent_language.analyzer import EmotionNetwork, LanguageAnalyzer
from edge_agent_language.features import normalized, tokens
from training import calibration
from training.language.dataset import Sentences, load
from training.language.scoring import f1

DEFAULT_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "goemotions" / "goemotions_dev.tsv"


def evaluate(path: Path = DEFAULT_DATA) -> dict[str, Any]:
    """F1, precision, recall and calibration by class on a split in the form of GoEmotions (see ``dataset``).

    ``judged`` is the share that the analyzer as a whole takes for English and judges; the other figures are the model's
    on all of them. Times are of the whole analyzer on one core: processor time, which other programs do not lengthen.

    Raises:
        EdgeAgentError: no such file, or not in that form.
    """
    split = load(path)
    context = AnalyzerContext(ModelStore(Path("/nonexistent"), Catalogue.load()))
    model = EmotionNetwork(context)
    p = np.stack([model.read(tokens(normalized(text))) for text in split.texts])
    judged, milliseconds = _timed(LanguageAnalyzer(LanguageSettings(), context), split)
    macro, micro, _ = f1(p, split.labels, model.thresholds)
    return {
        "model": "language",
        "data": path.name,
        "n": len(split.texts),
        "calibration": calibration.bins(p.reshape(-1), split.labels.reshape(-1) > 0),
        "macro_f1": round(macro, 4),
        "micro_f1": round(micro, 4),
        "ece": round(_calibration_error(p.reshape(-1), split.labels.reshape(-1)), 4),
        "judged": round(judged, 4),
        "classes": _classes(p, split, model.thresholds),
        "p50_ms": round(float(np.percentile(milliseconds, 50)), 2),
        "p99_ms": round(float(np.percentile(milliseconds, 99)), 2),
    }


def _timed(analyzer: LanguageAnalyzer, split: Sentences) -> tuple[float, list[float]]:
    times, found = [], 0
    for text in split.texts:
        begin = time.thread_time()
        (answer,) = analyzer.analyze(Utterance(text))
        times.append(1e3 * (time.thread_time() - begin))
        found += answer.name == LANGUAGE
    return found / max(1, len(split.texts)), times


def _classes(
    p: npt.NDArray[np.float64], split: Sentences, thresholds: npt.NDArray[np.float32]
) -> dict[str, dict[str, float]]:
    said = p >= thresholds
    hits, claimed, present = (said * split.labels).sum(0), said.sum(0), split.labels.sum(0)
    return {
        name: {
            "precision": round(float(hits[k] / max(1, claimed[k])), 3),
            "recall": round(float(hits[k] / max(1, present[k])), 3),
            "f1": round(float(2 * hits[k] / max(1, claimed[k] + present[k])), 3),
            "threshold": round(float(thresholds[k]), 3),
            "n": int(present[k]),
        }
        for k, name in enumerate(LANGUAGE_EMOTIONS)
    }


def _calibration_error(p: npt.NDArray[np.float64], truth: npt.NDArray[np.floating]) -> float:
    """Expected calibration error over 15 equal bins, of every class of every text (Naeini et al. 2015)."""
    place = np.clip((p * 15).astype(int), 0, 14)
    inside = [place == k for k in range(15)]
    return float(sum(m.mean() * abs(truth[m].mean() - p[m].mean()) for m in inside if m.any()))


def table(report: dict[str, Any]) -> str:
    """The model card's table."""
    rows = [
        "| n | macro F1 | micro F1 | ECE | taken for English |",
        "| --- | --- | --- | --- | --- |",
        f"| {report['n']} | {report['macro_f1']:.4f} | {report['micro_f1']:.4f} | {report['ece']:.4f} | "
        f"{report['judged']:.4f} |",
        "",
        "| class | precision | recall | F1 | from | n |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, f in report["classes"].items():
        figures = " | ".join(f"{f[key]:.3f}" for key in ("precision", "recall", "f1", "threshold"))
        rows.append(f"| {name} | {figures} | {f['n']} |")
    rows += ["", f"A text takes {report['p50_ms']} ms of one core, 99 of 100 at most {report['p99_ms']} ms, here."]
    return "\n".join(rows)
