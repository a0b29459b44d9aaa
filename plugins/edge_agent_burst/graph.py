"""Makes an inner tensor of a TFLite model an output: YAMNet's embedding, which the file computes and keeps to itself.

A TFLite file is a FlatBuffer; only its tables of tensors, operators and outputs are read here. A copy gets a new list
of outputs at its end, and the four bytes that said where the old one was say where that is. Field numbers are those
of TensorFlow Lite's ``schema.fbs``, which are never reassigned.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from edge_agent.domain.errors import ModelError

_MODEL_SUBGRAPHS = 2
_GRAPH_TENSORS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 2, 3
_TENSOR_SHAPE = 0
_OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 1, 2


def with_inner_output(model: bytes, size: int) -> bytes:
    """A copy of ``model`` with one more output before its own: the last tensor of ``size`` values on the way to those.

    Raises:
        ModelError: not a TFLite model, or it has no such tensor.
    """
    try:
        reader = _Reader(model)
        graph = reader.tables(reader.root(), _MODEL_SUBGRAPHS)[0]
        outputs = (_find(reader, graph, size), *reader.integers(graph, _GRAPH_OUTPUTS))
        copy = bytearray(model) + bytes(-len(model) % 4)
        place = reader.place(graph, _GRAPH_OUTPUTS)
        struct.pack_into("<I", copy, place, len(copy) - place)
        copy += struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)
    except (struct.error, IndexError, StopIteration) as error:
        raise ModelError(f"the model has no inner tensor of {size} values: pull it again") from error
    return bytes(copy)


def _find(reader: _Reader, graph: int, size: int) -> int:
    tensors = reader.tables(graph, _GRAPH_TENSORS)
    operators = [
        (reader.integers(op, _OPERATOR_INPUTS), reader.integers(op, _OPERATOR_OUTPUTS))
        for op in reader.tables(graph, _GRAPH_OPERATORS)
    ]
    tensor = reader.integers(graph, _GRAPH_OUTPUTS)[0]
    for _ in operators:
        if _product(reader.integers(tensors[tensor], _TENSOR_SHAPE)) == size:
            return tensor
        tensor = next(inputs[0] for inputs, outputs in operators if tensor in outputs)
    raise IndexError(size)


def _product(numbers: Sequence[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product


class _Reader:
    """FlatBuffer access by field number. Positions are byte offsets from the beginning of the file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def root(self) -> int:
        return self._u32(0)

    def place(self, table: int, field: int) -> int:
        """Where the field is.

        Raises:
            IndexError: the table does without it.
        """
        position = self._field(table, field)
        if position is None:
            raise IndexError(field)
        return position

    def vector(self, table: int, field: int) -> tuple[int, int]:
        """Position of the first element and number of elements."""
        position = self._field(table, field)
        if position is None:
            return 0, 0
        start = position + self._u32(position)
        return start + 4, self._u32(start)

    def integers(self, table: int, field: int) -> Sequence[int]:
        """A vector of int32."""
        start, count = self.vector(table, field)
        return struct.unpack_from(f"<{count}i", self._data, start)

    def tables(self, table: int, field: int) -> Sequence[int]:
        """Positions of the tables in a vector of tables."""
        start, count = self.vector(table, field)
        return [start + 4 * k + self._u32(start + 4 * k) for k in range(count)]

    def _field(self, table: int, field: int) -> int | None:
        directory = table - int(struct.unpack_from("<i", self._data, table)[0])
        size = struct.unpack_from("<H", self._data, directory)[0]
        slot = 4 + 2 * field
        if slot >= size:
            return None
        offset = struct.unpack_from("<H", self._data, directory + slot)[0]
        return table + int(offset) if offset else None

    def _u32(self, position: int) -> int:
        return int(struct.unpack_from("<I", self._data, position)[0])
