"""Hours of sound without a burst, and how often the shipped model reports one: speech, music, television, a household.

    python -m training.burst.hours --data ../shared/data --wild sets/wild --out hours.json

Recordings run on as they are (speech, music, effects); ``television`` is speech over music with effects between,
``household`` is single effects and animals over quiet backgrounds. Every hour depends on its name alone. What the
effects of games have of laughs and cries counts against the model: nobody listened to all of them. Even hours are for
choosing thresholds, odd ones for judging.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AudioBlock
from edge_agent_burst import LABELS, BurstSettings
from edge_agent_burst.analyzer import BurstAnalyzer, make_engine
from training.burst import recordings
from training.burst.evaluate import context
from training.burst.recordings import RATE

Array = npt.NDArray[np.float32]
PLAN: Mapping[str, int] = {"speech": 3, "music": 3, "television": 3, "household": 3}
"""Hours of each kind."""
_BLOCK = RATE
_MUTED = 1e-4


class Shelf:
    """Recordings of a kind, read one after the other in random order, at one loudness."""

    def __init__(self, paths: Sequence[Path], rng: np.random.Generator) -> None:
        if not paths:
            raise MediaError("no sound files: see --help for the folders that are needed")
        self._paths, self._rng, self._order = paths, rng, iter(())

    def next(self, longest: float = 120.0) -> Array:
        """The next recording that can be read, or a stretch of one that is longer than ``longest`` seconds."""
        while True:
            try:
                path = next(self._order)
            except StopIteration:
                self._order = iter([self._paths[k] for k in self._rng.permutation(len(self._paths))])
                continue
            try:
                x = recordings.read(path)
            except MediaError:
                continue
            count = round(longest * RATE)
            begin = int(self._rng.integers(max(1, len(x) - count)))
            x = x[begin : begin + count]
            level = float(np.sqrt(np.mean(x**2))) if len(x) else 0.0
            if level > _MUTED:
                return x * np.float32(0.05 / level)


def stretch(kind: str, shelves: Mapping[str, Shelf], rng: np.random.Generator) -> Array:
    """The next part, seconds to two minutes, of an hour of ``kind``."""
    if kind in {"speech", "music"}:
        pause = np.zeros(round(rng.uniform(0.1, 0.5) * RATE), np.float32)
        return np.concatenate([shelves[kind].next(), pause])
    if kind == "television":
        bed = shelves["music"].next(40.0) * np.float32(10 ** (-rng.uniform(0, 25) / 20))
        for _ in range(max(1, len(bed) // (6 * RATE))):
            voice = shelves["speech" if rng.random() < 0.75 else "effects"].next(12.0)
            bed = _mixed(bed, voice * np.float32(10 ** (rng.uniform(-6, 6) / 20)), rng)
        return bed
    bed = np.resize(shelves["background"].next(20.0), 30 * RATE) * np.float32(10 ** (-rng.uniform(15, 45) / 20))
    for _ in range(int(rng.integers(1, 8))):
        effect = shelves["effects" if rng.random() < 0.7 else "background"].next(5.0)
        bed = _mixed(bed, effect * np.float32(10 ** (rng.uniform(-15, 10) / 20)), rng)
    return bed


def _mixed(bed: Array, sound: Array, rng: np.random.Generator) -> Array:
    begin = int(rng.integers(max(1, len(bed) - len(sound))))
    bed = bed.copy()
    bed[begin : begin + len(sound)] += sound[: len(bed) - begin]
    return bed


def sound(kind: str, number: int, folders: Mapping[str, Sequence[Path]], seconds: float = 3600.0) -> Iterator[Array]:
    """Stretches of an hour of ``kind``, at most 1 in amplitude."""
    rng = np.random.default_rng([sum(map(ord, kind)), number])
    shelves, left = {name: Shelf(paths, rng) for name, paths in folders.items()}, seconds
    while left > 0:
        x = stretch(kind, shelves, rng)
        yield np.clip(x, -1, 1).astype(np.float32)
        left -= len(x) / RATE


def listen(analyzer: BurstAnalyzer, stretches: Iterator[Array]) -> tuple[Counter[str], float]:
    """Labels of the events reported, and seconds heard."""
    found, heard = Counter[str](), 0
    for x in stretches:
        for begin in range(0, len(x), _BLOCK):
            part = x[begin : begin + _BLOCK]
            found.update(event.label for event in analyzer.analyze(AudioBlock(part, heard / RATE)))
            heard += len(part)
    found.update(event.label for event in analyzer.finish())
    return found, heard / RATE


def folders(data: Path, wild: Path) -> dict[str, list[Path]]:
    """What the hours are made of; of our own recordings, what nothing was trained on."""
    ours = [r for r in recordings.find(data / "bursts") if r.split == "valid"]
    found = {
        "speech": [r.path for r in ours if r.label == "speech"] + sorted((data / "emodb").glob("*.ogg")),
        "background": [r.path for r in ours if r.label == "background"],
        "music": [],
        "effects": [],
    }
    named = {"speech": ("*/speech",), "music": ("seen/background", "blind/background"), "effects": ("test/effects",)}
    for kind, patterns in named.items():
        for folder in (path for pattern in patterns for path in wild.glob(pattern) if path.parent.name != "train"):
            found[kind] += sorted(p for p in folder.rglob("*") if p.suffix.lower() in recordings.SUFFIXES)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with bursts and emodb")
    parser.add_argument("--wild", type=Path, required=True, help="what training.burst.wild collected")
    parser.add_argument("--engine", choices=("own", "yamnet"), default="own")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    engine = make_engine(BurstSettings(engine=args.engine), context())
    parts, rows = folders(args.data, args.wild), []
    for kind, hours in PLAN.items():
        for number in range(hours):
            found, seconds = listen(BurstAnalyzer(engine, LABELS, {}), sound(kind, number, parts))
            rows.append({"kind": kind, "hour": number, "seconds": round(seconds), "events": dict(found)})
            print(json.dumps(rows[-1]), flush=True)
    args.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
