"""Music and other sounds for training: cuts of the tracks and the effects that games come with.

    python -m training.burst.wild --out sets/wild
    python -m training.burst.tracks --tracks sets/wild/train/background --out runs/corpus --shards 2
    python -m training.burst.tracks --tracks sets/wild/train/other --out runs/corpus --shards 4 --unlabelled

Music sings and howls and is no burst: it is background, in shards as of :mod:`training.burst.corpus` called
``tunes-NNN.npz``. Effects are blows, fires, beasts and crowds, but also people who are hit and die: with
``--unlabelled`` nothing is said of what they are, and they go to ``others-NNN.npz``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent_burst import BACKGROUND
from training.burst import recordings
from training.burst.channel import record
from training.burst.corpus import UNLABELLED, Sample, save
from training.burst.recordings import RATE

PER_SHARD = 600
"""Cuts in a shard, as many of each track."""
SECONDS = (3.0, 8.0)
"""Of a cut."""


def cut(track: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A stretch of a track, or all of one that is shorter."""
    length = int(RATE * rng.uniform(*SECONDS))
    begin = int(rng.integers(max(1, len(track) - length)))
    return track[begin : begin + length]


def shard(seed: int, number: int, tracks: Sequence[Path], label: str = BACKGROUND) -> list[Sample]:
    """Cuts of every track through a mild channel; silent ones and those of music under a second are left out."""
    rng = np.random.default_rng([seed, 3_000_000 + number])
    shortest = RATE if label == BACKGROUND else RATE // 10
    found = []
    for path in tracks:
        track = recordings.read(path)
        for _ in range(-(-PER_SHARD // len(tracks))):
            samples = cut(track, rng)
            if len(samples) > shortest and np.abs(samples).max() > 0.01:
                found.append(Sample(record(samples, rng, mild=True), label, path.stem, real=True))
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tracks", type=Path, required=True, help="folder of sound files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unlabelled", action="store_true", help="nothing is said of what the sounds are")
    args = parser.parse_args()
    tracks = sorted(p for p in args.tracks.rglob("*") if p.suffix in recordings.SUFFIXES)
    if not tracks:
        parser.error(f"no sound files in {args.tracks}")
    args.out.mkdir(parents=True, exist_ok=True)
    for number in range(args.shards):
        path = args.out / f"{'others' if args.unlabelled else 'tunes'}-{number:03d}.npz"
        if not path.exists():
            save(path, shard(args.seed, number, tracks, UNLABELLED if args.unlabelled else BACKGROUND))
            print(path, flush=True)


if __name__ == "__main__":
    main()
