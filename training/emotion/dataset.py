"""FER+ votes as label distributions, by the protocol of Barsoum et al. 2016.

Single votes count as noise and are dropped; images whose winner is "unknown" or "not a face" are left out. Training
uses the distribution over the eight classes; accuracy is reported on the *majority* set (winner holds more than half
of the votes) and on the *argmax* set (every image with a winner among the eight).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Output order of the model: the first eight columns of FER+'s vote table."""

SIDE = 48
"""Height and width of a FER+ image in pixels; also the model's input."""


@dataclass(frozen=True)
class FerPlus:
    """One split, already filtered.

    ``images``: uint8 [n, 48, 48]. ``targets``: float32 [n, 8], rows sum to 1. ``labels``: int64 [n], the winner.
    ``majority``: bool [n], whether the winner holds more than half of the remaining votes of all ten columns.
    """

    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    majority: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)


def from_votes(images: npt.NDArray[np.uint8], votes: npt.NDArray[np.integer]) -> FerPlus:
    """Apply the protocol to raw ``images`` [n, 48, 48] and ``votes`` [n, 10].

    Raises:
        ValueError: when the shapes do not fit each other.
    """
    if images.shape[1:] != (SIDE, SIDE) or votes.shape != (len(images), len(CLASSES) + 2):
        raise ValueError(
            f"expected images [n, {SIDE}, {SIDE}] and votes [n, {len(CLASSES) + 2}], "
            f"got {images.shape} and {votes.shape}"
        )
    kept = np.where(votes < 2, 0, votes).astype(np.float32)
    total = kept.sum(axis=1)
    winner = kept.argmax(axis=1)
    usable = (winner < len(CLASSES)) & (total > 0)
    emotion = kept[usable, : len(CLASSES)]
    return FerPlus(
        images=images[usable],
        targets=emotion / emotion.sum(axis=1, keepdims=True),
        labels=winner[usable].astype(np.int64),
        majority=(kept.max(axis=1) > 0.5 * total)[usable],
    )


def load(path: Path) -> FerPlus:
    """Read an ``.npz`` with ``images`` and ``votes`` and apply the protocol."""
    with np.load(path) as archive:
        return from_votes(archive["images"], archive["votes"])
