"""What an isolated analyzer may answer: whatever the agent takes from one that is not isolated."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pytest

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


@pytest.mark.parametrize(
    "values",
    [MappingProxyType({"level": 0.1}), Level()],
    ids=["frozen", "own"],
)
def test_any_mapping_of_numbers_is_taken(values: Mapping[str, float]) -> None:
    assert across(observation(values)) == observation({"level": 0.1})


def test_a_subclass_arrives_as_its_base_class() -> None:
    assert across(Louder("room", {"level": 0.1}, 1.0, "track", trace=object())) == observation({"level": 0.1})


def test_anything_else_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Level is no face, observation, event or utterance"):
        wire.found([Level()])


def test_an_answer_above_the_message_limit_is_an_error() -> None:
    """The child would die of it otherwise, and nobody would know of what."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.settimeout(1.0)
        send(theirs, b"x" * 5_000_000)
        assert wire.read_answer(ours.recv(1 << 18)) == {
            "failed": "an answer of 5000000 bytes does not fit into a message"
        }
