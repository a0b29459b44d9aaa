"""The shipped network computed in real numbers: its weights as the file holds them, nothing in between rounded.

The difference from the int8 answers is what int8 arithmetic costs on the device: rounded activations and saturation,
and any fault of a kernel. What rounding the weights themselves costs is told by the trained network beside the file's
accuracy, which only :mod:`training.emotion.export` can see. Knows the operators this network has and no others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edge_agent.domain.errors import ModelError

FloatArray = npt.NDArray[np.float32]


def logits(path: Path, images: FloatArray) -> FloatArray:
    """Float32 [n, 8] for grey ``images`` [n, 48, 48, 1] in [-1, 1].

    Raises:
        ModelError: the file has an operator that is not known here.
    """
    interpreter, details = opened(path)
    values: dict[int, FloatArray] = {interpreter.get_input_details()[0]["index"]: images}
    for operator in interpreter._get_ops_details():
        inputs = [
            values[index] if index in values else real(interpreter.get_tensor(index), details[index])
            for index in operator["inputs"]
        ]
        (output,) = operator["outputs"]
        result = _run(operator["op_name"], inputs, tuple(details[output]["shape"][1:]))
        # A quantized tensor whose least value stands for 0 is what a fused ReLU leaves.
        (zero_point,) = details[output]["quantization_parameters"]["zero_points"]
        values[output] = np.maximum(result, 0) if zero_point == -128 else result
    return values[interpreter.get_output_details()[0]["index"]]


def opened(path: Path) -> tuple[Interpreter, dict[int, dict[str, Any]]]:
    """An interpreter that shows its operators, and the details of its tensors by index."""
    # With a delegate the operators would be hidden in one.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    return interpreter, {detail["index"]: detail for detail in interpreter.get_tensor_details()}


def _run(name: str, inputs: list[FloatArray], shape: tuple[int, ...]) -> FloatArray:
    x = inputs[0]
    if name == "CONV_2D":
        return _convolve(x, inputs[1], shape) + inputs[2]
    if name == "FULLY_CONNECTED":
        return np.asarray(x @ inputs[1].T + inputs[2], np.float32)
    if name == "ADD":
        return x + inputs[1]
    if name == "MEAN":
        return np.asarray(x.mean(axis=(1, 2)), np.float32)
    if name == "PAD":
        return np.pad(x, inputs[1].astype(int).tolist())
    raise ModelError(f"operator {name} is not known here: extend training/emotion/floating.py")


def _convolve(x: FloatArray, kernel: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """3x3: with stride 1 and padding where the output is as large as the input, else stride 2 on a padded input."""
    stride = 1 if shape[0] == x.shape[1] else 2
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) if stride == 1 else x
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
    windows = windows[:, : shape[0], : shape[1]]
    return np.asarray(np.tensordot(windows, kernel, axes=((3, 4, 5), (3, 1, 2))), np.float32)


def real(raw: npt.NDArray[Any], detail: dict[str, Any]) -> FloatArray:
    """A constant in real numbers; scales are one for all or one for each output channel."""
    parameters = detail["quantization_parameters"]
    scales = parameters["scales"]
    if not len(scales):
        return raw.astype(np.float32)
    along = [1] * raw.ndim
    along[parameters["quantized_dimension"]] = len(scales)
    return np.asarray((raw - parameters["zero_points"].reshape(along)) * scales.reshape(along), np.float32)
