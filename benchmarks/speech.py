"""What the speech analyzer costs and how soon it answers, in the process of its own in which it runs.

``python -m benchmarks.speech [--data FOLDER] [--minutes 5] [--json]``. Clips of a folder made by
``training.speech.corpora`` (default: the reading in Moonshine's wheel) follow each other, each with a second of silence
after it, in blocks of 0.1 s, as fast as they are taken. Prints CPU and wall seconds a second of sound, memory added and
the longest answer, which is how long an utterance's words may take.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.models import Catalogue, ModelStore, cache_dir
from edge_agent.plugin.isolation import IsolatedAnalyzer, isolate
from edge_agent.plugin.spec import AnalyzerContext
from training.burst import recordings

_BLOCK = AUDIO_RATE // 10


def clips(folder: Path | None) -> list[Path]:
    """Sounds of the folder, or the reading in the wheel."""
    if folder is not None:
        return sorted(folder.rglob("*.wav"))
    files = importlib.metadata.files("moonshine-voice") or ()
    return [Path(str(file.locate())) for file in files if file.name == "two_cities.wav"]


def blocks(paths: list[Path], seconds: float) -> Iterator[AudioBlock]:
    """Sound of at least ``seconds``, clip after clip."""
    pause: npt.NDArray[np.float32] = np.zeros(AUDIO_RATE, np.float32)
    at = 0.0
    for path in cycle(paths):
        samples = np.concatenate([recordings.read(path), pause])
        for begin in range(0, len(samples), _BLOCK):
            yield AudioBlock(samples[begin : begin + _BLOCK], at)
            at += _BLOCK / AUDIO_RATE
        if at >= seconds:
            return


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int, what: str) -> float:
    """``VmRSS`` or ``VmHWM`` of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))


def measure(paths: list[Path], seconds: float) -> dict[str, float]:
    """Run the analyzer over ``seconds`` of the clips."""
    (entry_point,) = importlib.metadata.entry_points(group="edge_agent", name="speech")
    spec = entry_point.load().edge_agent_register_analyzers()[0]
    settings = spec.settings(enabled=True, max_delay_s=None)
    before = megabytes(os.getpid(), "VmRSS")
    began = time.perf_counter()
    context = AnalyzerContext(ModelStore(cache_dir(), Catalogue.load()))
    analyzer: Any = isolate(spec, entry_point.value).factory(settings, context)
    assert isinstance(analyzer, IsolatedAnalyzer)
    assert analyzer.pid is not None
    pid, start_s = analyzer.pid, time.perf_counter() - began
    analyzer.self_check()
    here, there, worst, heard, sound, utterances, words = os.times(), cpu_of(pid), 0.0, 0.0, 0.0, 0, 0
    for block in blocks(paths, seconds):
        asked = time.perf_counter()
        found = analyzer.analyze(block)
        took = time.perf_counter() - asked
        heard, sound, worst = heard + took, sound + block.seconds, max(worst, took)
        utterances, words = utterances + len(found), words + sum(u.count for u in found)
    added = megabytes(pid, "VmHWM") + max(0.0, megabytes(os.getpid(), "VmRSS") - before)
    report = {
        "minutes": sound / 60,
        "utterances": utterances,
        "words": words,
        "cpu_per_second": (cpu_of(pid) - there) / sound,
        "wall_per_second": heard / sound,
        "cpu_of_the_agent_per_second": (os.times().user - here.user) / sound,
        "longest_answer_s": worst,
        "start_s": start_s,
        "memory_mb": added,
    }
    analyzer.close()
    return {name: round(value, 3) for name, value in report.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    report = measure(clips(args.data), 60 * args.minutes)
    print(json.dumps(report) if args.json else "\n".join(f"{name:28}{value:10g}" for name, value in report.items()))


if __name__ == "__main__":
    main()
