"""How much of its prior the emotion model is to forget, and the temperature that fits what is left.

    python -m training.emotion.prior --model plugins/edge_agent_emotion/emotion.tflite --data PATH \\
        --out plugins/edge_agent_emotion/emotion.json

A network learns how often each class occurs where it was trained and calls what is rare by a common name when in doubt.
That prior is exchanged (Saerens et al. 2002) for a mixture of itself and of "all alike", the latter with a share: 0 is
``trained``, 1 ``balanced``; ``between`` is the share with the highest macro recall on the validation split's majority
set that costs at most :data:`COST` of accuracy there. Each has its own temperature, fitted to the winning labels.

A mixture finds more at the same cost than the prior to a power: it raises what is rare and hardly moves what is common.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.models import TfliteModel
from edge_agent_emotion.analyzer import shifted
from training.emotion.dataset import CLASSES, FerPlus, load

COST = 0.004
"""Accuracy that ``between`` may lose against ``trained``."""
SHARES = np.arange(0, 1.001, 0.02)

Array = npt.NDArray[np.float64]


def logits(model: Path, images: npt.NDArray[np.uint8]) -> Array:
    """Float64 [n, 8] of the int8 file for uint8 ``images`` [n, 48, 48]."""
    network = TfliteModel(model)
    scaled = images.astype(np.float32)[:, None, :, :, None] / np.float32(127.5) - np.float32(1)
    return np.stack([network(image)[0][0] for image in scaled]).astype(float)


def accuracy_and_recall(scores: Array, split: FerPlus) -> tuple[float, float]:
    """Accuracy and macro recall of the highest ``scores`` [n, 8] on the majority set."""
    guess, truth = scores.argmax(1)[split.majority], split.labels[split.majority]
    recall = [float((guess[truth == k] == k).mean()) for k in range(len(CLASSES)) if (truth == k).any()]
    return float((guess == truth).mean()), float(np.mean(recall))


def between(found: Array, prior: Array, split: FerPlus) -> float:
    """The share with the best macro recall of those that cost at most :data:`COST`; the lower one when they tie."""
    figures = [accuracy_and_recall(shifted(found, prior, share), split) for share in SHARES]
    allowed = [k for k, (accuracy, _) in enumerate(figures) if accuracy >= figures[0][0] - COST - 1e-9]
    return round(float(SHARES[max(allowed, key=lambda k: (figures[k][1], -k))]), 3)


def temperature(found: Array, labels: npt.NDArray[np.int64]) -> float:
    """The one at which ``softmax(found / temperature)`` fits ``labels`` best, to three digits."""
    tried = np.arange(0.5, 2.0, 0.005)

    def loss(value: float) -> float:
        scaled = found / value
        top = scaled.max(1, keepdims=True)
        normal = top[:, 0] + np.log(np.exp(scaled - top).sum(1))
        return float((normal - scaled[np.arange(len(labels)), labels]).mean())

    return round(float(min(tried, key=loss)), 3)


def options(found: Array, prior: Array, split: FerPlus) -> dict[str, Any]:
    """What ``emotion.json`` holds for these validation logits ``found`` [n, 8]."""
    shares = {"trained": 0.0, "between": between(found, prior, split), "balanced": 1.0}
    return {
        "prior": {name: round(float(p), 5) for name, p in zip(CLASSES, prior, strict=True)},
        "options": {
            name: {"share": share, "temperature": temperature(shifted(found, prior, share), split.labels)}
            for name, share in shares.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    valid = load(args.data / "ferplus_valid.npz")
    prior = load(args.data / "ferplus_train.npz").targets.mean(axis=0).astype(float)
    told = options(logits(args.model, valid.images), prior, valid)
    args.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told["options"]))


if __name__ == "__main__":
    main()
