"""What analyzers may give back, kind by kind, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_agent.domain.event import Event
from edge_agent.domain.face import Box, Face, KeyPoints, Point
from edge_agent.domain.observation import (
    EMOTION,
    EMOTIONS,
    LANGUAGE,
    LANGUAGE_EMOTIONS,
    LANGUAGE_UNKNOWN,
    VOICE,
    Observation,
)
from edge_agent.domain.speech import Utterance, Word
from edge_agent.plugin.running import check_output
from edge_agent.plugin.spec import Kind

NAN, INF = float("nan"), float("inf")
POINT = Point(0.5, 0.5)
FACE = Face(Box(-0.1, 0.2, 0.3, 1.4), 0.9, KeyPoints(POINT, POINT, POINT, POINT, POINT, POINT))
EVENT = Event("burst", "throat_clearing", 1.0, -0.5, 0.0)
EVEN = dict.fromkeys(EMOTIONS, 1 / len(EMOTIONS))
READING = Observation(EMOTION, EVEN, 1.0, "t1")
PROBABLE = dict.fromkeys(LANGUAGE_EMOTIONS, 0.9)
LEVEL = Observation("loudness", {"dbfs": np.float32(-3)}, 1.0)


@pytest.mark.parametrize(
    ("kind", "items"),
    [
        (Kind.DETECTOR, [FACE, Face(FACE.box, 0.0)]),
        (Kind.FACE, [READING, Observation("attention", {"score": 1, "looking": 0.0}, 0.0, "t2")]),
        (Kind.SCENE, [LEVEL, Observation("flag", {}, 0.0)]),
        (Kind.AUDIO, [LEVEL, EVENT]),
        (Kind.AUDIO, ()),
        (
            Kind.AUDIO,
            [Observation(VOICE, {"seconds": 2.0}, 1.0), Observation(VOICE, {"seconds": 0, "arousal": -1}, 1.0)],
        ),
        (
            Kind.SPEECH,
            [Utterance("so"), Utterance("so so", 1.0, 2.0, 0.5, (Word("so", 1.0, 1.5), Word("so", 1.5, 2.0, 1.0)))],
        ),
        (Kind.TEXT, [Observation(LANGUAGE, PROBABLE, 1.0), Observation(LANGUAGE_UNKNOWN, {"too_short": 1.0}, 0.0)]),
        (Kind.TEXT, [Observation("politeness", {"score": 0.5}, 0.0)]),
    ],
)
def test_what_is_right_passes(kind: Kind, items: list[object]) -> None:
    assert check_output(kind, iter(items)) == tuple(items)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (Kind.DETECTOR, LEVEL),
        (Kind.FACE, FACE),
        (Kind.SCENE, EVENT),
        (Kind.FACE, EVENT),
        (Kind.AUDIO, FACE),
        (Kind.AUDIO, None),
        (Kind.AUDIO, Utterance("so")),
        (Kind.SPEECH, LEVEL),
        (Kind.TEXT, EVENT),
        (Kind.TEXT, Utterance("so")),
    ],
)
def test_the_wrong_type_is_refused(kind: Kind, item: object) -> None:
    with pytest.raises(TypeError, match=rf"a {kind.value} analyzer returned a {type(item).__name__}"):
        check_output(kind, [item])


@pytest.mark.parametrize(
    "face",
    [
        replace(FACE, score=NAN),
        replace(FACE, score=1.01),
        replace(FACE, score=-0.01),
        replace(FACE, box=Box(NAN, 0, 1, 1)),
        replace(FACE, box=Box(0, 0, INF, 1)),
        replace(FACE, box=Box(0, 0, 1, -0.1)),
        replace(FACE, keypoints=KeyPoints(POINT, POINT, Point(0, NAN), POINT, POINT, POINT)),
    ],
)
def test_an_impossible_face_is_refused(face: Face) -> None:
    with pytest.raises(ValueError, match=r"finite|probability|size"):
        check_output(Kind.DETECTOR, [FACE, face])


@pytest.mark.parametrize(
    "observation",
    [
        replace(LEVEL, values={"dbfs": NAN}),
        replace(LEVEL, values={"dbfs": -INF}),
        replace(LEVEL, time=NAN),
        replace(LEVEL, name=""),
        replace(LEVEL, name="loud/ness"),
        replace(LEVEL, values={"a b": 1.0}),
        replace(READING, track=None),
        replace(READING, values={"happiness": 1.0}),
        replace(LEVEL, name="attention", values={"score": 1.0}),
        replace(LEVEL, name="attention", values={"score": 1.0, "looking": 1.0, "eyes": 2.0}),
        replace(READING, values={**EVEN, "joy": 0.0}),
        replace(READING, values={**EVEN, "happiness": 0.5}),
        replace(READING, values={**EVEN, "happiness": -0.125, "fear": 0.375}),
    ],
)
def test_an_impossible_observation_is_refused(observation: Observation) -> None:
    with pytest.raises(ValueError, match=r"finite|lower-case|distribution|which track|score and looking|probability"):
        check_output(Kind.FACE, [observation if observation.name == EMOTION else replace(observation, track="t")])


def test_text_is_no_number() -> None:
    with pytest.raises(TypeError):
        check_output(Kind.SCENE, [replace(LEVEL, values={"dbfs": "loud"})])  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "event",
    [
        replace(EVENT, score=NAN),
        replace(EVENT, score=2.0),
        replace(EVENT, start=NAN),
        replace(EVENT, seconds=INF),
        replace(EVENT, seconds=-1.0),
        replace(EVENT, kind="burst/#"),
        replace(EVENT, label=""),
    ],
)
def test_an_impossible_event_is_refused(event: Event) -> None:
    with pytest.raises(ValueError, match=r"finite|probability|lasts|lower-case"):
        check_output(Kind.AUDIO, [event])


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (Kind.SPEECH, Utterance("canary", 2.0, 1.0)),
        (Kind.SPEECH, Utterance("canary", NAN, 1.0)),
        (Kind.SPEECH, Utterance("canary", 0.0, 1.0, 1.5)),
        (Kind.SPEECH, Utterance("canary", 0.0, 1.0, None, (Word("canary", 1.0, 0.0),))),
        (Kind.SPEECH, Utterance("canary", 0.0, 1.0, None, (Word("canary", 0.0, 1.0, -1.0),))),
        (Kind.SPEECH, Utterance(b"canary")),  # type: ignore[arg-type]
        (Kind.TEXT, Observation("said", {"Canary!": 1.0}, 0.0)),
        (Kind.TEXT, Observation("said", {"canary": NAN}, 0.0)),
        (Kind.TEXT, Observation(LANGUAGE, {"joy": 1.0}, 0.0)),
        (Kind.TEXT, Observation(LANGUAGE, PROBABLE | {"joy": 1.1}, 0.0)),
        (Kind.TEXT, Observation(LANGUAGE, PROBABLE | {"canary": 0.1}, 0.0)),
        (Kind.AUDIO, Observation(VOICE, {"arousal": 0.5}, 0.0)),
        (Kind.AUDIO, Observation(VOICE, {"seconds": -1.0}, 0.0)),
        (Kind.AUDIO, Observation(VOICE, {"seconds": 1.0, "arousal": -1.5}, 0.0)),
    ],
)
def test_wrong_words_are_refused_without_quoting_them(kind: Kind, item: object) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        check_output(kind, [item])
    assert "canary" not in str(refused.value).lower()


def test_text_does_not_show_in_a_repr() -> None:
    said = Utterance("canary", 0.0, 1.0, 0.5, (Word("canary", 0.0, 1.0),))
    assert "canary" not in repr(said)
    assert said.count == 1
