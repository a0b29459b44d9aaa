"""What passes between agent and child arrives exactly, whatever its layout; and what is no answer is refused."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.domain.event import Event
from edge_agent.domain.face import Box, Face, KeyPoints, Point
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.observation import Observation
from edge_agent.domain.speech import Utterance, Word
from edge_agent.plugin.isolation import wire
from edge_agent.plugin.isolation.host import Area, View

numbers = st.floats(allow_nan=False)
points = st.builds(Point, numbers, numbers)
keypoints = st.builds(KeyPoints, *[points] * 6)
faces = st.builds(Face, st.builds(Box, *[numbers] * 4), numbers, st.none() | keypoints)
words = st.text(max_size=8)
observations = st.builds(
    Observation, words, st.dictionaries(words, numbers, max_size=3), numbers, st.none() | words, st.booleans()
)
events = st.builds(Event, words, words, numbers, numbers, numbers)
spoken = st.builds(Word, words, numbers, numbers, st.none() | numbers)
utterances = st.builds(
    Utterance, st.text(), numbers, numbers, st.none() | numbers, st.lists(spoken, max_size=3).map(tuple)
)


@given(st.lists(faces | observations | events | utterances, max_size=4).map(tuple))
def test_answers_arrive_exactly(items: tuple[Any, ...]) -> None:
    message = wire.read_answer(wire.answer(found=wire.found(items)))
    assert wire.read_found(message["found"]) == items


def test_numbers_of_numpy_arrive_as_numbers() -> None:
    observation = Observation("room", {"level": np.float32(0.1), "count": np.int64(3)}, np.float64(1.5))  # type: ignore[dict-item]
    (found,) = wire.read_found(wire.read_answer(wire.answer(found=wire.found([observation])))["found"])
    assert isinstance(found, Observation)
    assert (found.values, found.time) == ({"level": float(np.float32(0.1)), "count": 3}, 1.5)


@pytest.mark.parametrize(
    "message", [b"", b"\x80\x04", b"[]", b"3", b'"found"', pytest.param(b"[" * 100_000, id="deep")]
)
def test_what_is_no_answer_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer|Expecting|codec|decode"):
        wire.read_answer(message)


@pytest.mark.parametrize(
    "items",
    [3, [3], [{}], [{"is": "Frame"}], [{"is": "Face"}], [{"is": "Event", "kind": "burst"}],
     [{"is": "Observation", "name": "x", "values": {}, "time": 0.0, "spare": 1}]],
)  # fmt: skip
def test_other_values_than_those_of_an_analyzer_are_refused(items: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        wire.read_found(items)


def test_arrays_of_every_layout_go_through_the_memory_and_it_grows() -> None:
    noise = np.random.default_rng(0)
    wide = noise.integers(0, 256, (40, 60, 3), np.uint8)
    area = Area()
    view = View(area.fd)
    try:
        for data in (wide[:, ::2], wide, wide[:0], wide[::-1], noise.normal(size=20_000).astype(np.float32)):
            area.put(data)
            taken = view.take(data.shape, data.dtype.str)
            assert taken.dtype == data.dtype
            assert np.array_equal(taken, data)
            kept = taken.copy()
            area.put(np.zeros_like(data))
            assert np.array_equal(taken, kept), "what was taken changes with the next picture"
        with pytest.raises(PermissionError):
            os.ftruncate(area.fd, 0)
    finally:
        area.close()


def test_a_question_carries_everything_but_the_pixels() -> None:
    frame = Frame.from_bgr(np.ones((480, 640, 3), np.uint8), 2.5, 7)
    message = wire.pack(wire.question("detect", frame))
    assert len(message) < 2000
    asked = wire.unpack(message)
    again = wire.with_array(asked.medium, frame.data)
    assert (again.time, again.index, again.width, again.format) == (2.5, 7, 640, frame.format)
    assert (asked.shape, asked.dtype) == ((480, 640, 3), "|u1")
    block = wire.unpack(wire.pack(wire.question("analyze", AudioBlock(np.ones(160, np.float32), 1.0, 0.25))))
    assert (block.medium.gap, block.shape) == (0.25, (160,))


@given(utterances)
def test_an_utterance_of_any_length_goes_through_the_memory(utterance: Utterance) -> None:
    long = Utterance(
        utterance.text + "\ud83d and so on " * 100_000, utterance.start, utterance.end, None, utterance.words
    )
    for said in (utterance, long):
        asked = wire.unpack(wire.pack(wire.question("analyze", said)))
        assert asked.medium == Utterance("")
        assert wire.with_array(asked.medium, wire.array_of(said)) == said


def test_half_a_surrogate_pair_comes_back() -> None:
    said = Utterance("half \ud83d of a pair", 1.0, 2.0)
    assert wire.read_found(wire.read_answer(wire.answer(found=wire.found([said])))["found"]) == (said,)
