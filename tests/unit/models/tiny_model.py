"""Makes TFLite files of one RELU, to test the wrapper on tensors that no shipped model has."""

from __future__ import annotations

from collections.abc import Sequence

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


def relu(
    shape: Sequence[int],
    scales: Sequence[float] = (),
    zero_points: Sequence[int] = (),
    signature: Sequence[int] | None = None,
) -> bytes:
    """A model with an input and an output of ``shape``: int8 when there are ``scales``, else float32."""
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(name, shape, scales, zero_points, signature) for name in (b"in", b"out")]
    graph.inputs, graph.outputs = [0], [1]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph.operators = [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    code.version = 2 if scales else 1
    model = schema.ModelT()
    model.version, model.description = 3, b"test"
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _tensor(
    name: bytes,
    shape: Sequence[int],
    scales: Sequence[float],
    zero_points: Sequence[int],
    signature: Sequence[int] | None,
) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
    tensor.shapeSignature = list(signature) if signature is not None else None
    tensor.type = schema.TensorType.INT8 if scales else schema.TensorType.FLOAT32
    if scales:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = list(scales), list(zero_points)
        tensor.quantization.quantizedDimension = len(shape) - 1
    return tensor
