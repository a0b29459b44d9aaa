"""YAMNet's 521 AudioSet scores, grouped into the labels of this plugin.

The network (Google, Apache-2.0) judges 0.975 s at a time. Its classes are AudioSet's, in the order of the model's class
map; the highest score of a group counts. Its embedding is a tensor that the file computes and does not return:
:func:`with_inner_output` makes it an output. A TFLite file is a FlatBuffer; only its tables of tensors, operators and
outputs are read. The copy gets a new list of outputs at its end, and the offset of the old list is overwritten. Field
numbers are those of TensorFlow Lite's ``schema.fbs``, which are never reassigned.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.domain.media import AUDIO_RATE
from edge_agent_burst import LABELS, Label
from edge_agent_burst.events import LabelPolicy, Reading


class Windows:
    """Every ``hop`` samples the latest ``length`` samples, as soon as they are known."""

    def __init__(self, length: int, hop: int) -> None:
        self._length = length
        self._hop = hop
        self._buffer = np.zeros(0, np.float32)
        self._begin = 0
        self._fresh = 0

    def feed(self, samples: npt.NDArray[np.float32]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Append float32 [n]; yields (index of the first sample since the start, float32 [length])."""
        self._buffer = np.concatenate([self._buffer, samples])
        self._fresh += len(samples)
        while len(self._buffer) >= self._length:
            yield self._begin, self._buffer[: self._length]
            self._buffer = self._buffer[self._hop :]
            self._begin += self._hop
            self._fresh = max(0, len(self._buffer) - self._length + self._hop)

    def drain(self) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """A last window, padded with silence, when samples are left that no window has shown."""
        if self._fresh > 0:
            window = np.zeros(self._length, np.float32)
            window[: len(self._buffer)] = self._buffer
            self._fresh = 0
            yield self._begin, window


MODEL = "yamnet"
"""Name in the model catalogue."""
WINDOW = 15_600
"""Samples the network takes, float32 in [-1, 1]."""
EMBEDDING = 1_024
"""Values of the inner tensor from which the scores are computed."""

GROUPS: Mapping[Label, Sequence[int]] = {
    "laughter": (13, 14, 15, 16, 17, 18),
    "crying": (19, 20, 21, 22),
    "scream": (6, 7, 9, 11),
    "sigh": (23,),
    "gasp": (39, 40),
    "groan": (33, 34),
    "cough": (42,),
    "throat_clearing": (43,),
    "sneeze": (44,),
}

FAMILIES: Sequence[tuple[Sequence[Label], Sequence[int]]] = (
    (("cough", "throat_clearing", "sneeze"), (42, 43, 44)),
    (("sigh", "gasp"), (23, 36, 39, 40)),
)
"""Labels that the network takes for each other, and its classes for any of them: breathing and panting among these."""
SPEECH = (0, 1, 2, 3)
"""Its classes of speech, by adults and children, alone and in conversation."""

POLICIES: Mapping[Label, LabelPolicy] = {
    "laughter": LabelPolicy(on=0.35, off=0.15),
    "crying": LabelPolicy(on=0.3, off=0.15),
    "scream": LabelPolicy(on=0.4, off=0.2),
    "sigh": LabelPolicy(on=0.35, off=0.2, longest=5.0),
    "gasp": LabelPolicy(on=0.3, off=0.15, longest=5.0),
    "groan": LabelPolicy(on=0.35, off=0.2, longest=10.0),
    "cough": LabelPolicy(on=0.3, off=0.15, longest=10.0),
    "throat_clearing": LabelPolicy(on=0.5, off=0.25, longest=5.0),
    "sneeze": LabelPolicy(on=0.2, off=0.1, longest=5.0),
}
"""Chosen on the clean recordings and on speech; see the model card."""

Network = Callable[[npt.NDArray[np.float32]], Sequence[npt.NDArray[np.float32]]]
"""The model: float32 [15600] to a list whose first member is float32 [1, 521]."""


def by_class(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scores [521] as an opinion about this plugin's labels, speech and background: [11], each 0 to 1.

    Labels of a family share their highest score: it says that there was a cough or a sneeze, not which of the two.
    """
    grouped = {label: scores[list(group)].max() for label, group in GROUPS.items()}
    for labels, classes in FAMILIES:
        grouped.update(dict.fromkeys(labels, scores[list(classes)].max()))
    told = [*(grouped[label] for label in LABELS), scores[list(SPEECH)].max()]
    return np.array([*told, 1.0 - max(told)], np.float32)


class YamnetEngine:
    """YAMNet on a window every ``hop`` samples."""

    def __init__(self, network: Network, hop: int) -> None:
        self._network = network
        self._hop = hop
        self._windows = Windows(WINDOW, hop)

    @property
    def policies(self) -> Mapping[Label, LabelPolicy]:
        return POLICIES

    def feed(self, samples: npt.NDArray[np.float32]) -> Iterable[Reading]:
        for begin, window in self._windows.feed(samples):
            yield self._read(begin, window)

    def drain(self) -> Iterable[Reading]:
        for begin, window in self._windows.drain():
            yield self._read(begin, window)

    def reset(self) -> None:
        self._windows = Windows(WINDOW, self._hop)

    def _read(self, begin: int, window: npt.NDArray[np.float32]) -> Reading:
        scores = np.asarray(self._network(window)[0]).reshape(-1)
        grouped: dict[str, float] = {
            label: float(max(scores[index] for index in group)) for label, group in GROUPS.items()
        }
        # The network calls every sneeze a cough too, but hardly ever a cough a sneeze.
        grouped["cough"] *= 1.0 - grouped["sneeze"]
        return Reading(begin / AUDIO_RATE, (begin + WINDOW) / AUDIO_RATE, grouped)


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
