"""Message format between agent and child. Pure.

To the child: pickled values that the agent made. Back: JSON, so that a broken child can send nothing worse than an
invalid message. Both preserve numbers exactly.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from edge_agent.domain.event import Event
from edge_agent.domain.face import Box, Face, KeyPoints, Point
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.observation import Observation
from edge_agent.domain.speech import Utterance, Word

Medium = Frame | AudioBlock | Utterance
Found = Face | Observation | Event | Utterance


@dataclass(frozen=True, slots=True)
class Order:
    """First message to a child: build analyzer ``name`` of the plugin at ``entry_point`` (``module:object``).

    ``options`` are those of its settings that were given.
    """

    entry_point: str
    name: str
    options: Mapping[str, Any]
    threads: int


@dataclass(frozen=True, slots=True)
class Question:
    """Call of method ``verb``. ``medium`` comes without its array, which has ``shape`` and ``dtype``."""

    verb: str
    medium: Medium | None = None
    shape: tuple[int, ...] = ()
    dtype: str = ""
    more: tuple[Any, ...] = ()


def question(verb: str, medium: Medium, *more: Any) -> Question:
    """Build the call ``analyzer.verb(medium, *more)`` without the array in ``medium``."""
    data = array_of(medium)
    return Question(verb, with_array(medium, data[:0].reshape(-1)), data.shape, data.dtype.str, more)


def array_of(medium: Medium) -> np.ndarray[Any, Any]:
    """Return the array of a frame or a block; an utterance as a whole, encoded, since a text may be long."""
    if isinstance(medium, Utterance):
        return np.frombuffer(pack(medium), np.uint8)
    return medium.samples if isinstance(medium, AudioBlock) else medium.data


def with_array(medium: Medium, data: Any) -> Medium:
    """Replace the array of a frame or a block; an utterance is decoded from it, and without words when it is empty."""
    if isinstance(medium, Utterance):
        decoded: Utterance = unpack(data.tobytes()) if data.size else Utterance("")
        return decoded
    return replace(medium, samples=data) if isinstance(medium, AudioBlock) else replace(medium, data=data)


def pack(value: object) -> bytes:
    """Encode a message to the child."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def unpack(message: bytes) -> Any:
    """Decode a message of :func:`pack`, in the child."""
    return pickle.loads(message)


def answer(**parts: object) -> bytes:
    """Encode a message of the child: one of ``ready``, ``locate`` (a model), ``found`` and ``failed`` (a reason)."""
    return json.dumps(parts, default=_plain).encode()


def found(items: Iterable[object]) -> list[dict[str, Any]]:
    """Convert what an analyzer found to JSON values; subclasses of plugins are sent as their base class.

    Raises:
        ValueError: an item that is no face, observation, event or utterance.
    """
    return [_tell(item) for item in items]


def read_answer(message: bytes) -> dict[str, Any]:
    """Decode a message of :func:`answer`, in the agent.

    Raises:
        ValueError: the message is invalid.
    """
    try:
        read = json.loads(message)
    except RecursionError as error:
        raise ValueError("an answer nested too deeply") from error
    if not isinstance(read, dict):
        raise ValueError(f"an answer of type {type(read).__name__}")
    return read


def read_found(items: Sequence[Mapping[str, Any]]) -> tuple[Found, ...]:
    """Decode the values of :func:`found`.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: the values are invalid.
    """
    return tuple(_READ[item["is"]]({k: v for k, v in item.items() if k != "is"}) for item in items)


def _face(parts: Mapping[str, Any]) -> Face:
    points = parts["keypoints"]
    keypoints = None if points is None else KeyPoints(**{name: Point(**at) for name, at in points.items()})
    return Face(Box(**parts["box"]), parts["score"], keypoints)


def _utterance(parts: Mapping[str, Any]) -> Utterance:
    return Utterance(**{**parts, "words": tuple(Word(**word) for word in parts["words"])})


_READ: dict[str, Callable[[Mapping[str, Any]], Found]] = {
    "Face": _face,
    "Utterance": _utterance,
    "Observation": lambda parts: Observation(**parts),
    "Event": lambda parts: Event(**parts),
}


def _tell(item: object) -> dict[str, Any]:
    for kind in (Face, Observation, Event, Utterance):
        if isinstance(item, kind):
            return {"is": kind.__name__, **{field.name: getattr(item, field.name) for field in fields(kind)}}
    raise ValueError(f"{type(item).__name__} is no face, observation, event or utterance")


def _plain(value: object) -> object:
    """Convert numpy numbers to Python's, any mapping to a dict, and a dataclass to its fields."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} cannot be sent")
