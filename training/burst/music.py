"""Music for training, which sings and howls and is no burst: cuts of the tracks that games come with.

    python -m training.burst.wild --out sets/wild
    python -m training.burst.music --tracks sets/wild/train/background --out runs/corpus --shards 2

Shards are those of :mod:`training.burst.corpus`, called ``tunes-NNN.npz``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.burst import recordings
from training.burst.channel import record
from training.burst.corpus import Sample, save
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


def shard(seed: int, number: int, tracks: Sequence[Path]) -> list[Sample]:
    """Cuts of every track through a mild channel; silent ones are left out."""
    rng = np.random.default_rng([seed, 3_000_000 + number])
    found = []
    for path in tracks:
        track = recordings.read(path)
        for _ in range(-(-PER_SHARD // len(tracks))):
            samples = cut(track, rng)
            if len(samples) > RATE and np.abs(samples).max() > 0.01:
                found.append(Sample(record(samples, rng, mild=True), "background", path.stem, real=True))
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tracks", type=Path, required=True, help="folder of music")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tracks = sorted(p for p in args.tracks.rglob("*") if p.suffix in recordings.SUFFIXES)
    if not tracks:
        parser.error(f"no sound files in {args.tracks}")
    args.out.mkdir(parents=True, exist_ok=True)
    for number in range(args.shards):
        path = args.out / f"tunes-{number:03d}.npz"
        if not path.exists():
            save(path, shard(args.seed, number, tracks))
            print(path, flush=True)


if __name__ == "__main__":
    main()
