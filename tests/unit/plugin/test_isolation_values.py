"""What an isolated analyzer may answer: whatever the agent takes from one that is not isolated."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pytest

from edge_agent.domain.event import Event
from edge_agent.domain.face import Box, Face, KeyPoints, Point
from edge_agent.domain.observation import Observation
from edge_agent.plugin.isolation import wire
from edge_agent.plugin.isolation.child import send


class Level(Mapping[str, float]):
    """A plugin's own mapping."""

    def __getitem__(self, key: str) -> float:
        return {"level": 0.1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["level"])

    def __len__(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Louder(Observation):
    """A plugin's own observation."""

    trace: object = None


def across(item: object) -> object:
    message = wire.read_answer(wire.answer(found=wire.found([item])))
    (read,) = wire.read_found(message["found"])
    return read


def observation(values: Mapping[str, float]) -> Observation:
    return Observation("room", values, 1.0, "track")


POINTS = KeyPoints(*(Point(0.1 * n, 1 / 3) for n in range(6)))


@pytest.mark.parametrize(
    "item",
    [
        Face(Box(0.1, -0.2, 1 / 3, 0.4), 0.9, POINTS),
        Face(Box(0.1, 0.2, 0.3, 0.4), 0.9),
        Event("burst", "cough", 0.7, 12.25, 0.1),
        observation({"b": 1 / 3, "a": 1e-300}),
    ],
    ids=["face", "no_points", "event", "observation"],
)
def test_values_arrive_as_they_were_to_the_last_bit(item: object) -> None:
    assert across(item) == item


@pytest.mark.parametrize(
    "values",
    [MappingProxyType({"level": 0.1}), Level(), {"level": np.float64(0.1)}],
    ids=["frozen", "own", "numpy"],
)
def test_any_mapping_of_numbers_is_taken(values: Mapping[str, float]) -> None:
    assert across(observation(values)) == observation({"level": 0.1})


def test_a_subclass_arrives_as_what_the_agent_knows_of_it() -> None:
    assert across(Louder("room", {"level": 0.1}, 1.0, "track", trace=object())) == observation({"level": 0.1})


def test_anything_else_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Level is no face, observation or event"):
        wire.found([Level()])


@pytest.mark.parametrize(
    ("message", "why"),
    [(b"\x80junk", "decode"), (b"[" * 100_000, "nested too deeply"), (b"[]", "an answer of type list")],
    ids=["bytes", "deep", "list"],
)
def test_nonsense_is_a_value_error_however_deep_it_goes(message: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        wire.read_answer(message)


def test_an_answer_too_long_for_a_message_says_so() -> None:
    """The child would die of it otherwise, and nobody would know of what."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.settimeout(1.0)
        send(theirs, b"x" * 5_000_000)
        assert wire.read_answer(ours.recv(1 << 18)) == {
            "failed": "an answer of 5000000 bytes does not fit into a message"
        }
