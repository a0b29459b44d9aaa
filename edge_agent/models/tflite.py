"""Run TFLite models: float32 in, float32 out, also for quantized models; and time them.

Uses ``ai-edge-litert`` where it works, else ``tflite-runtime``. Each :class:`TfliteModel` has one interpreter and is
used by one thread at a time. A damaged file can crash the native runtime, so pass only paths from
:meth:`edge_agent.models.store.ModelStore.locate`, which checks them.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.domain.native import native_lines

log = logging.getLogger(__name__)

RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
"""Modules with an ``Interpreter``, best first."""

FloatArray = npt.NDArray[np.float32]

WARM_UP = 10
"""Number of calls before the first one that is timed."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output. ``scale`` is None unless the tensor is quantized."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float | None
    zero_point: int

    def encode(self, values: npt.ArrayLike) -> npt.NDArray[Any]:
        """Convert ``values`` to the tensor's shape and type: quantized, saturated.

        Raises:
            ModelError: the shape differs by more than axes of length 1.
        """
        array = np.asarray(values)
        if array.shape != self.shape:
            if _squeezed(array.shape) != _squeezed(self.shape):
                raise ModelError(f"input {self.name!r} has the shape {list(self.shape)}, got {list(array.shape)}")
            array = array.reshape(self.shape)
        if self.scale is None:
            return np.ascontiguousarray(array, dtype=self.dtype)
        limits = np.iinfo(self.dtype)
        steps = np.rint(array.astype(np.float32) / self.scale) + self.zero_point
        quantized: npt.NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(self.dtype)
        return quantized

    def decode(self, raw: npt.NDArray[Any]) -> FloatArray:
        """Convert ``raw`` to float32, dequantized."""
        values = raw.astype(np.float32)
        return values if self.scale is None else (values - np.float32(self.zero_point)) * np.float32(self.scale)


class TfliteModel:
    """A model that is ready to run.

    ``model``: a file or its content; ``threads``: number of threads per call; ``runtimes``: modules to try, in order.

    Raises:
        ModelError: not a model, one with inputs this wrapper does not handle, or no runtime works here.
    """

    def __init__(self, model: Path | bytes, threads: int = 1, runtimes: Sequence[str] = RUNTIMES) -> None:
        name = model.name if isinstance(model, Path) else f"model of {len(model)} bytes"
        self.runtime, self._interpreter = _make(model, name, threads, runtimes)
        self.inputs = tuple(_info(detail, name) for detail in self._interpreter.get_input_details())
        self.outputs = tuple(_info(detail, name) for detail in self._interpreter.get_output_details())

    def __call__(self, *inputs: npt.ArrayLike) -> list[FloatArray]:
        """Run the model on one array per input, in the order of :attr:`inputs`; return one float32 array per output.

        Raises:
            ModelError: wrong number or shape of inputs, or the runtime fails.
        """
        self.set_inputs(*inputs)
        self.invoke()
        return self.get_outputs()

    def set_inputs(self, *inputs: npt.ArrayLike) -> None:
        """First step of a call: convert and set the inputs."""
        if len(inputs) != len(self.inputs):
            raise ModelError(f"the model takes {len(self.inputs)} inputs, got {len(inputs)}")
        for info, values in zip(self.inputs, inputs, strict=True):
            self._interpreter.set_tensor(info.index, info.encode(values))

    def invoke(self) -> None:
        """Second step of a call: compute. Releases Python's global interpreter lock."""
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the model cannot be run: {_first_line(error)}") from error

    def get_outputs(self) -> list[FloatArray]:
        """Last step of a call: copy and convert the outputs."""
        return [info.decode(self._interpreter.get_tensor(info.index)) for info in self.outputs]


def _make(model: Path | bytes, name: str, threads: int, runtimes: Sequence[str]) -> tuple[str, Any]:
    """Return the first runtime that works, and its interpreter with allocated tensors."""
    source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
    unusable = []
    for runtime in runtimes:
        package = runtime.partition(".")[0].replace("_", "-")
        try:
            # Importing proves nothing: under numpy 2, tflite-runtime imports and fails here with a SystemError.
            with native_lines(log):
                interpreter = importlib.import_module(runtime).Interpreter(**source, num_threads=threads)
        except (ImportError, AttributeError, SystemError) as error:
            unusable.append(f"{package}: {_first_line(error)}")
            continue
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{name} is not a usable TFLite model: {_first_line(error)}") from error
        try:
            with native_lines(log):
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{name} cannot be prepared to run: {_first_line(error)}") from error
        return package, interpreter
    raise ModelError(
        f"no TFLite runtime works here ({'; '.join(unusable)}): run 'pip install ai-edge-litert', "
        f"or where that has no wheel 'pip install tflite-runtime \"numpy<2\"'"
    )


def _info(detail: dict[str, Any], name: str) -> TensorInfo:
    if -1 in detail.get("shape_signature", ()):
        raise ModelError(f"{name}: tensor {detail['name']!r} has no fixed shape, which is not supported")
    parameters = detail["quantization_parameters"]
    scales, zero_points = parameters["scales"], parameters["zero_points"]
    if len(scales) > 1:
        raise ModelError(f"{name}: tensor {detail['name']!r} is quantized per channel, which is not supported")
    return TensorInfo(
        index=detail["index"],
        name=detail["name"],
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=np.dtype(detail["dtype"]),
        scale=float(scales[0]) if len(scales) else None,
        zero_point=int(zero_points[0]) if len(zero_points) else 0,
    )


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].strip() or type(error).__name__


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 99th percentile in milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Timing of a model. ``call`` is the whole; ``invoke`` the runtime; ``overhead`` = call - invoke, per call."""

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
    """Load the model at ``path`` and time ``runs`` calls on noise. ``clock`` returns seconds.

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
    """Return the seconds of a whole call and of the runtime's part."""
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
