"""What a network answers for a split of FER+, and how well."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.emotion.dataset import CLASSES, FerPlus


def predict(net: nn.Module, images: np.ndarray) -> torch.Tensor:
    """Float32 logits [n, 8] of uint8 images [n, 48, 48]."""
    return applied(net.eval(), images)


def applied(function: Callable[[torch.Tensor], torch.Tensor], images: np.ndarray) -> torch.Tensor:
    """What ``function`` gives for uint8 ``images`` [n, 48, 48], of which it sees 64 at a time in [-1, 1]."""
    x = torch.from_numpy(images)[:, None].float() / 127.5 - 1
    with torch.inference_mode():
        return torch.cat([function(part) for part in x.split(64)])


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The temperature at which ``softmax(logits / t)`` fits ``targets`` best (cross-entropy, golden section)."""
    low, high = 0.2, 4.0
    ratio = (5**0.5 - 1) / 2

    def loss(t: float) -> float:
        return float(-(targets * F.log_softmax(logits / t, 1)).sum(1).mean())

    while high - low > 1e-3:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return (low + high) / 2


def score(logits: torch.Tensor, split: FerPlus) -> dict[str, object]:
    """Accuracy on the majority and argmax sets, and recall per class on the majority set."""
    guess = logits.argmax(1).numpy()
    right = guess == split.labels
    m = split.majority
    recall = [float(right[m & (split.labels == k)].mean()) for k in range(len(CLASSES))]
    return {
        "majority": round(float(right[m].mean()), 4),
        "argmax": round(float(right.mean()), 4),
        "macro_recall": round(float(np.mean(recall)), 4),
        "recall": {c: round(r, 3) for c, r in zip(CLASSES, recall, strict=True)},
    }
