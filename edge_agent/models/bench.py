"""How long the installed models take here: each call is timed whole and its native part alone, so that our own share
(encoding inputs, copying and decoding outputs) shows. Inputs are noise; the networks cost the same whatever they see.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.models.tflite import TensorInfo, TfliteModel

WARM_UP = 10
"""Calls made before any is timed."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 99th percentile in milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class BenchResult:
    """One model with one number of threads. ``call`` = ``invoke`` (the runtime) + ``overhead`` (ours), call by call."""

    model: str
    runtime: str
    threads: int
    runs: int
    load_ms: float
    call: Spread
    invoke: Spread
    overhead: Spread


def bench(
    name: str, path: Path, threads: int, runs: int, clock: Callable[[], float] = time.perf_counter
) -> BenchResult:
    """Load the model at ``path`` and call it ``runs`` times. ``clock`` gives seconds.

    Raises:
        ModelError: the model cannot be loaded or run.
    """
    begin = clock()
    model = TfliteModel(path, threads)
    load = clock() - begin
    generator = np.random.default_rng(0)
    inputs = [_noise(info, generator) for info in model.inputs]
    for _ in range(WARM_UP):
        model(*inputs)
    times = np.array([_timed(model, inputs, clock) for _ in range(runs)]) * 1e3
    call, invoke = times[:, 0], times[:, 1]
    return BenchResult(
        name, model.runtime, threads, runs, load * 1e3, _spread(call), _spread(invoke), _spread(call - invoke)
    )


def _timed(
    model: TfliteModel, inputs: list[npt.NDArray[np.float32]], clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds of a whole call, and of its native part."""
    begin = clock()
    model.set_inputs(*inputs)
    before = clock()
    model.invoke()
    after = clock()
    model.get_outputs()
    return clock() - begin, after - before


def _noise(info: TensorInfo, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    return generator.uniform(-1, 1, info.shape).astype(np.float32)


def _spread(values: npt.NDArray[np.float64]) -> Spread:
    p50, p99 = np.percentile(values, [50, 99])
    return Spread(float(p50), float(p99))
