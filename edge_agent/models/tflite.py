"""The one wrapper around the TFLite runtimes: floats in, floats out, whatever the model computes with.

Uses ``ai-edge-litert`` where it works and ``tflite-runtime`` where it does not. An interpreter is made once per
:class:`TfliteModel` and belongs to one thread at a time. A file is not checked here beyond being a model: damage that
leaves it readable can crash the native runtime, so pass only paths that
:meth:`edge_agent.models.store.ModelStore.locate` returned.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output. ``scale`` and ``zero_point`` are None unless it is quantized."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float | None
    zero_point: int

    def encode(self, values: npt.ArrayLike) -> npt.NDArray[Any]:
        """``values`` as the tensor wants them: shaped, quantized, saturated.

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
        """``raw`` as real numbers."""
        values = raw.astype(np.float32)
        return values if self.scale is None else (values - np.float32(self.zero_point)) * np.float32(self.scale)


class TfliteModel:
    """A model ready to run.

    ``model`` is a file or its content; ``threads`` the number of threads an invocation may use; ``runtimes`` names the
    modules to try.

    Raises:
        ModelError: not a model, one with inputs this wrapper does not handle, or no runtime works here.
    """

    def __init__(self, model: Path | bytes, threads: int = 1, runtimes: Sequence[str] = RUNTIMES) -> None:
        name = model.name if isinstance(model, Path) else f"model of {len(model)} bytes"
        self.runtime, self._interpreter = _make(model, name, threads, runtimes)
        self.inputs = tuple(_info(detail, name) for detail in self._interpreter.get_input_details())
        self.outputs = tuple(_info(detail, name) for detail in self._interpreter.get_output_details())

    def __call__(self, *inputs: npt.ArrayLike) -> list[FloatArray]:
        """Run once: one array per input, in the order of :attr:`inputs`; gives one float32 array per output.

        Raises:
            ModelError: wrong number or shape of inputs, or the runtime fails.
        """
        self.set_inputs(*inputs)
        self.invoke()
        return self.get_outputs()

    def set_inputs(self, *inputs: npt.ArrayLike) -> None:
        """First step of a call: encode the inputs and hand them over."""
        if len(inputs) != len(self.inputs):
            raise ModelError(f"the model takes {len(self.inputs)} inputs, got {len(inputs)}")
        for info, values in zip(self.inputs, inputs, strict=True):
            self._interpreter.set_tensor(info.index, info.encode(values))

    def invoke(self) -> None:
        """Second step of a call: compute. Releases the interpreter lock of Python."""
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the model cannot be run: {_first_line(error)}") from error

    def get_outputs(self) -> list[FloatArray]:
        """Last step of a call: copies of the outputs, decoded."""
        return [info.decode(self._interpreter.get_tensor(info.index)) for info in self.outputs]


def _make(model: Path | bytes, name: str, threads: int, runtimes: Sequence[str]) -> tuple[str, Any]:
    """Name of the first runtime that works, and its interpreter with tensors allocated."""
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
