"""The network that ships: a convolution over words beside a bag of word pairs and pieces, [n, 28] logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edge_agent_language.features import (
    GRAMS,
    WORDS,
    Features,
    Vocabulary,
    grams,
    key,
    normalized,
    tokens,
    weight,
    word,
)

CLASSES = 28


@dataclass(frozen=True, slots=True)
class Sizes:
    """Widths of the network."""

    words: int = 64
    filters: int = 128
    grams: int = 48
    hidden: int = 128


class LanguageNet(nn.Module):
    """``rows``: number of rows of the two tables, with those that mean nothing."""

    def __init__(self, rows: tuple[int, int], sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.words = nn.Embedding(rows[0], sizes.words, padding_idx=0)
        self.grams = nn.EmbeddingBag(rows[1], sizes.grams, mode="sum", padding_idx=0)
        self.near = nn.Conv1d(sizes.words, sizes.filters, 3, padding=1)
        wide = sizes.filters + sizes.grams
        self.hidden, self.head = nn.Linear(wide, sizes.hidden), nn.Linear(wide + sizes.hidden, CLASSES)
        with torch.no_grad():
            self.words.weight[1:].normal_(0, 0.1)
            self.grams.weight.normal_(0, 0.02)[0] = 0

    def forward(self, words: torch.Tensor, bag: torch.Tensor, weights: torch.Tensor, drop: float = 0.0) -> torch.Tensor:
        """int64 [n, w], int64 [n, g] and float [n, g]: rows, padded with 0, and how much each gram counts."""
        x = F.dropout(self.words(words), drop / 2, self.training).transpose(1, 2)
        most = F.relu(self.near(x)).amax(2)
        x = F.dropout(torch.cat([most, self.grams(bag, per_sample_weights=weights)], 1), drop, self.training)
        hidden = F.dropout(F.relu(self.hidden(x)), drop, self.training)
        return self.head(torch.cat([x, hidden], 1))


def vocabulary(texts: Sequence[str], word_least: int, most: int) -> tuple[list[str], list[str]]:
    """Words of at least ``word_least`` texts, and the ``most`` grams that occur in most texts; by how many."""
    words: Counter[str] = Counter()
    bag: Counter[str] = Counter()
    for text in texts:
        written = tokens(normalized(text))[:WORDS]
        plain = [word(token) for token in written]
        words.update(set(plain))
        bag.update(set(grams(written, plain)))
    kept = [name for name, n in sorted(words.items(), key=lambda item: (-item[1], item[0])) if n >= word_least]
    chosen = [name for name, _ in sorted(bag.items(), key=lambda item: (-item[1], item[0]))[:most]]
    return _distinct([name for name in kept if name != "<unk>"]), _distinct(chosen)


def _distinct(names: list[str]) -> list[str]:
    """Without those whose key an earlier one has."""
    return list({key(name): name for name in reversed(names)}.values())[::-1]


def keys(names: Sequence[str]) -> np.ndarray:
    """uint32 keys."""
    return np.array([key(name) for name in names], np.uint32)


def padded(
    features: Sequence[Features], generator: np.random.Generator | None = None, drop: float = 0.0
) -> list[torch.Tensor]:
    """Inputs of :meth:`LanguageNet.forward`; a generator loses a share ``drop`` of grams, a third of it of words."""
    width = max(len(f.words) for f in features) + 2
    deep = max(1, *(len(f.grams) for f in features))
    words, bag = np.zeros((len(features), width), np.int64), np.zeros((len(features), deep), np.int64)
    for row, feature in enumerate(features):
        words[row, : len(feature.words)] = feature.words
        bag[row, : len(feature.grams)] = feature.grams
    if generator is not None:
        words[(generator.random(words.shape) < drop / 3) & (words > 0)] = 1
        bag[generator.random(bag.shape) < drop] = 0
    weights = np.broadcast_to(weight((bag > 0).sum(1, keepdims=True)), bag.shape).astype(np.float32)
    return [torch.from_numpy(words), torch.from_numpy(bag), torch.from_numpy(weights.copy())]


__all__ = [
    "CLASSES",
    "GRAMS",
    "WORDS",
    "Features",
    "LanguageNet",
    "Sizes",
    "Vocabulary",
    "keys",
    "padded",
    "vocabulary",
]
