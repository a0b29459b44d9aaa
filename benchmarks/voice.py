"""What the voice analyzer costs, in CPU per second of sound and as a ratio to the burst analyzer, on speech.

``python -m benchmarks.voice [--minutes 2] [--json]``. Both get the same blocks of 0.1 s in turn, so that load on the
machine meets both. The sound is speech without a pause, which costs the voice analyzer most: German readings and acted
utterances in ../shared, or what ``--data`` holds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.models import Catalogue, ModelStore, cache_dir
from edge_agent.plugin.spec import AnalyzerContext
from training.burst import recordings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "emodb"
NAMES = ("voice", "burst")
_BLOCK = AUDIO_RATE // 10


def make(name: str) -> Any:
    """The analyzer of that name with its defaults."""
    (entry_point,) = importlib.metadata.entry_points(group="edge_agent", name=name)
    spec = entry_point.load().edge_agent_register_analyzers()[0]
    return spec.factory(spec.settings(enabled=True), AnalyzerContext(ModelStore(cache_dir(), Catalogue.load())))


def measure(folder: Path, seconds: float) -> dict[str, float]:
    """CPU seconds per second of sound of each analyzer, the ratio, and the longest answers in milliseconds."""
    analyzers = {name: make(name) for name in NAMES}
    cpu, longest, turns, at = dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.0), 0, 0.0
    for path in cycle(sorted(p for p in folder.rglob("*") if p.suffix in recordings.SUFFIXES)):
        samples = recordings.read(path)
        for begin in range(0, len(samples) - _BLOCK + 1, _BLOCK):
            block = AudioBlock(np.ascontiguousarray(samples[begin : begin + _BLOCK]), at)
            at += block.seconds
            for name, analyzer in analyzers.items():
                began = time.thread_time()
                found = analyzer.analyze(block)
                took = time.thread_time() - began
                cpu[name] += took
                longest[name] = max(longest[name], took)
                turns += len(found) if name == "voice" else 0
        if at >= seconds:
            break
    report = {f"{name}_cpu_per_second": cpu[name] / at for name in NAMES}
    report |= {f"{name}_longest_ms": 1000 * longest[name] for name in NAMES}
    return {**report, "ratio": cpu["voice"] / cpu["burst"], "turns": turns, "seconds": at}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    report = {name: round(value, 4) for name, value in measure(args.data, 60 * args.minutes).items()}
    print(json.dumps(report) if args.json else "\n".join(f"{name:24}{value:10g}" for name, value in report.items()))


if __name__ == "__main__":
    main()
