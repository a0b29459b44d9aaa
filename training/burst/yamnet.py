"""YAMNet as a critic and teacher: its embedding, its scores, and what it thinks of the classes of this plugin.

The embedding is a tensor that the file computes and does not return: :func:`with_inner_output` makes it an output. A
TFLite file is a FlatBuffer; only its tables of tensors, operators and outputs are read. The copy gets a new list of
outputs at its end, and the offset of the old list is overwritten. Field numbers are those of TensorFlow Lite's
``schema.fbs``, which are never reassigned.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from edge_agent.domain.errors import ModelError
from edge_agent.models import TfliteModel
from edge_agent_burst import LABELS, Label
from edge_agent_burst.yamnet import GROUPS, WINDOW

Array = npt.NDArray[np.float32]

EMBEDDING = 1_024
"""Values of the inner tensor from which the scores are computed."""
STRIDE = 7_680
"""Samples between two of YAMNet's windows."""
LEAD = STRIDE
"""Samples of silence in the first window: in a stream a sound is at a window's end before it is at its beginning."""
DOUBT = 0.01
"""Added to what YAMNet thinks: it can make a label unlikely, but not rule it out."""
_SILENCE = np.float32(1e-5)
"""Loudness added to every window's: where all is silent, all windows count."""

FAMILIES: Sequence[tuple[Sequence[Label], Sequence[int]]] = (
    (("cough", "throat_clearing", "sneeze"), (42, 43, 44)),
    (("sigh", "gasp"), (23, 36, 39, 40)),
)
"""Labels that the network takes for each other, and its classes for any of them: breathing and panting among these."""
SPEECH = (0, 1, 2, 3)
"""Its classes of speech, by adults and children, alone and in conversation."""


class Yamnet:
    """Embeddings, and scores computed from them with the network's own last layer."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self._embed = TfliteModel(with_inner_output(content, EMBEDDING))
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        details = {tuple(detail["shape"]): detail for detail in interpreter.get_tensor_details()}
        self._weights = constant(interpreter, details[521, EMBEDDING])
        self._bias = constant(interpreter, details[521,])

    def embed(self, samples: Array) -> tuple[Array, Array]:
        """Float32 [windows, 1024] and the windows' loudness; the last window is padded with silence."""
        count = max(2, -(-(len(samples) + LEAD - WINDOW) // STRIDE) + 1)
        padded = np.zeros((count - 1) * STRIDE + WINDOW, np.float32)
        padded[LEAD : LEAD + len(samples)] = samples[: len(padded) - LEAD]
        windows = [padded[k * STRIDE : k * STRIDE + WINDOW] for k in range(count)]
        return np.stack([self._embed(w)[0][0] for w in windows]), np.stack([loudness(w) for w in windows])

    def scores(self, embeddings: Array) -> Array:
        """Float32 [windows, 521]."""
        logits = embeddings @ self._weights.T + self._bias
        return np.asarray(1.0 / (1.0 + np.exp(-np.maximum(logits, -80.0))))


def constant(interpreter: Interpreter, detail: dict[str, Any]) -> Array:
    """A weight tensor as real numbers."""
    values = interpreter.get_tensor(detail["index"]).astype(np.float32)
    scales = detail["quantization_parameters"]["scales"]
    return values * scales.reshape(-1, *[1] * (values.ndim - 1)) if len(scales) else values


def by_class(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scores [521] as an opinion about this plugin's labels, speech and background: [11], each 0 to 1.

    Labels of a family share their highest score: it says that there was a cough or a sneeze, not which of the two.
    """
    grouped = {label: scores[list(group)].max() for label, group in GROUPS.items()}
    for labels, classes in FAMILIES:
        grouped.update(dict.fromkeys(labels, scores[list(classes)].max()))
    told = [*(grouped[label] for label in LABELS), scores[list(SPEECH)].max()]
    return np.array([*told, 1.0 - max(told)], np.float32)


def loudness(window: Array) -> np.float32:
    """Root mean square."""
    return np.float32(np.sqrt(np.mean(window**2)))


def overall(embeddings: npt.NDArray[np.float32], levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean of ``embeddings`` [n, 1024] by the loudness ``levels`` [n] of their windows.

    Silence has no say beside a sound.
    """
    return np.average(embeddings, axis=0, weights=levels + _SILENCE).astype(np.float32)


# ---------------------------------------------------------------------- reading the file


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
