"""What a process of its own costs an analyzer: time of an answer and memory, as ratios to the same analyzer without.

``python -m benchmarks.isolation [--rounds 300] [--json]``. Pictures are 640 x 480 with two people, sound comes in
blocks of one second; both ways are asked in turn, so that load on the machine meets both. Models must be installed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_agent.models import Catalogue, ModelStore, cache_dir
from edge_agent.plugin.isolation import isolate
from edge_agent.plugin.spec import AnalyzerContext, Kind
from edge_agent.plugin.testing.inputs import everyday

NAMES = ("face", "emotion", "attention", "burst")


@dataclass(frozen=True, slots=True)
class Cost:
    """Times of answers in milliseconds, the child's private memory in MB, seconds until it can answer.

    The quickest tenth hardly waits for a core, whatever else the machine does; the medians do.
    """

    name: str
    here_ms: float
    apart_ms: float
    quick_here_ms: float
    quick_apart_ms: float
    child_mb: float
    start_s: float

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return self.apart_ms / self.here_ms

    @property
    def quick_ratio(self) -> float:
        """Of the quickest tenths."""
        return self.quick_apart_ms / self.quick_here_ms


def cost(name: str, context: AnalyzerContext, rounds: int) -> Cost:
    """Measure the analyzer that the first-party plugin ``name`` registers."""
    (entry_point,) = importlib.metadata.entry_points(group="edge_agent", name=name)
    spec = entry_point.load().edge_agent_register_analyzers()[0]
    here: Any = spec.factory(spec.settings(), context)
    began = time.perf_counter()
    apart: Any = isolate(spec, entry_point.value).factory(spec.settings(), context)
    start = time.perf_counter() - began
    questions = everyday(spec.kind)
    times: tuple[list[float], list[float]] = ([], [])
    for n in range(rounds):
        asked = questions[n % len(questions)]
        for analyzer, spent in zip((here, apart), times, strict=True):
            spent.append(_milliseconds(lambda a=analyzer, q=asked: _ask(spec.kind, a, q)))
    memory = _private_mb(apart.pid)
    for analyzer in (here, apart):
        analyzer.close()
    medians = [statistics.median(spent) for spent in times]
    quick = [statistics.quantiles(spent, n=10)[0] for spent in times]
    return Cost(name, *medians, *quick, memory, start)


def _ask(kind: Kind, analyzer: Any, question: Any) -> object:
    if kind is Kind.AUDIO:
        return analyzer.analyze(question)
    frame, faces = question
    if kind is Kind.DETECTOR:
        return analyzer.detect(frame)
    return analyzer.analyze(frame, faces) if kind is Kind.FACE else analyzer.analyze(frame)


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def _private_mb(pid: int) -> float:
    """What only this process uses: the libraries' code is shared with the agent."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000


def costs(rounds: int) -> Iterator[Cost]:
    """All of :data:`NAMES`."""
    context = AnalyzerContext(ModelStore(cache_dir(), Catalogue.load()))
    for name in NAMES:
        yield cost(name, context, rounds)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = list(costs(arguments.rounds))
    if arguments.json:
        json.dump([{**asdict(c), "ratio": c.ratio, "quick_ratio": c.quick_ratio} for c in found], sys.stdout, indent=2)
        return
    print(
        "| analyzer | median here | own process | ratio | quickest tenth here | own process | ratio | memory | start |"
    )
    print("|---" * 9 + "|")
    for c in found:
        medians = f"{c.here_ms:.2f} ms | {c.apart_ms:.2f} ms | {c.ratio:.2f}"
        quick = f"{c.quick_here_ms:.2f} ms | {c.quick_apart_ms:.2f} ms | {c.quick_ratio:.2f}"
        print(f"| {c.name} | {medians} | {quick} | {c.child_mb:.0f} MB | {c.start_s:.1f} s |")


if __name__ == "__main__":
    main()
