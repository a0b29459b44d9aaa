"""Builds the training sounds: synthetic bursts and the training split of the recordings, each through the channel.

    python -m training.burst.corpus --data PATH --out runs/corpus --shards 8

Every shard is an ``.npz`` with ``samples`` (int16, all clips one after the other), ``lengths``, ``labels`` (indices
into :data:`CLASSES`, or :data:`NO_LABEL`), ``kinds`` and ``real``. Shard ``k`` depends on the seed and ``k``
alone, so more can be added.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from edge_agent_burst import LABELS, REJECTIONS
from training.burst import recordings
from training.burst.channel import record
from training.burst.synth import synthesize

CLASSES = (*LABELS, *REJECTIONS)
NO_LABEL = -1
UNLABELLED = "unlabelled"
"""A sound of which nobody said what it is, for :mod:`training.burst.train` to learn YAMNet's view of it."""
PER_SHARD = {
    "laughter": 250,
    "crying": 130,
    "scream": 180,
    "sigh": 220,
    "gasp": 250,
    "groan": 330,
    "cough": 180,
    "throat_clearing": 330,
    "sneeze": 250,
    "speech": 80,
    "background": 200,
}
"""Synthetic clips per shard: most of what real recordings are missing for."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One clip as the microphone heard it."""

    samples: npt.NDArray[np.float32]
    label: str
    kind: str
    real: bool


def synthetic_shard(seed: int, number: int, noises: list[npt.NDArray[np.float32]]) -> list[Sample]:
    """Synthetic clips with recorded noise behind half of them."""
    rng = np.random.default_rng([seed, number])
    found = []
    for label, count in PER_SHARD.items():
        for _ in range(count):
            clip = synthesize(label, rng)
            noise = noises[int(rng.integers(len(noises)))] if noises and rng.random() < 0.5 else None
            found.append(Sample(record(clip.samples, rng, noise), label, clip.kind, real=False))
    return found


def real_shard(seed: int, clips: list[recordings.Recording], variants: int) -> list[Sample]:
    """Each recording as it is and ``variants`` times through a mild channel (speech and background once)."""
    rng = np.random.default_rng([seed, 1_000_000])
    found = []
    for clip in clips:
        samples = recordings.read(clip.path)
        if len(samples) < recordings.RATE // 10:
            continue
        found.append(Sample(samples, clip.label, clip.source, real=True))
        for _ in range(1 if clip.label in REJECTIONS else variants):
            found.append(Sample(record(samples, rng, mild=True), clip.label, clip.source, real=True))
    return found


def index(label: str) -> int:
    """Where ``label`` stands among :data:`CLASSES`; :data:`NO_LABEL` for :data:`UNLABELLED`.

    Raises:
        ValueError: neither.
    """
    return NO_LABEL if label == UNLABELLED else CLASSES.index(label)


def save(path: Path, clips: list[Sample]) -> None:
    """Write a shard; it appears under its name only when it is whole."""
    partial = path.with_suffix(".part")
    whole = np.concatenate([clip.samples for clip in clips])
    with partial.open("wb") as file:
        _write(file, clips, whole)
    partial.replace(path)


def _write(file: BinaryIO, clips: list[Sample], whole: npt.NDArray[np.float32]) -> None:
    np.savez(
        file,
        samples=np.clip(whole * 32767, -32768, 32767).astype(np.int16),
        lengths=np.array([len(clip.samples) for clip in clips]),
        labels=np.array([index(clip.label) for clip in clips], np.int8),
        kinds=np.array([clip.kind for clip in clips]),
        real=np.array([clip.real for clip in clips]),
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of recordings, one sub-folder per label")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--variants", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    train = [clip for clip in recordings.find(args.data) if clip.split == "train"]
    if not (args.out / "real.npz").exists():
        save(args.out / "real.npz", real_shard(args.seed, train, args.variants))
    noises = [recordings.read(clip.path) for clip in train if clip.label == "background"]
    for number in range(args.shards):
        path = args.out / f"synthetic-{number:03d}.npz"
        if not path.exists():
            save(path, synthetic_shard(args.seed, number, noises))
            print(path, flush=True)


if __name__ == "__main__":
    main()
