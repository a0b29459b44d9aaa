"""Check what a plugin registers, makes and gives back. Pure, so that a plugin's mistake stays the plugin's.

Everything behind the analyzers (summaries, payloads) relies on finite numbers, complete distributions and real types; a
``nan`` that got through would fail far from its cause. The core checks every result, and the contract suite uses the
same rules.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, Event
from edge_agent.domain.face import Face
from edge_agent.domain.observation import ATTENTION, EMOTION, EMOTIONS, Observation
from edge_agent.plugin.spec import AnalyzerSpec, Isolation, Kind

_WORD = re.compile(r"[a-z][a-z0-9_]*")


_METHODS: Mapping[Kind, Mapping[str, Sequence[str]]] = {
    Kind.DETECTOR: {"detect": ("frame",)},
    Kind.FACE: {"analyze": ("frame", "faces")},
    Kind.SCENE: {"analyze": ("frame",)},
    Kind.AUDIO: {"analyze": ("block",), "finish": ()},
}
"""What a lane calls on each kind, and with which arguments."""


def check_spec(spec: Any, settings: type[BaseModel]) -> None:
    """What the type of a spec does not guarantee at run time.

    Raises:
        TypeError: its settings or kind are of the wrong type.
        ValueError: its name cannot be a table of the config file.
    """
    if not isinstance(spec.name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", spec.name):
        raise ValueError(f"{spec.name!r} cannot be a name: use lower-case letters, digits and _")
    if not (isinstance(spec.settings, type) and issubclass(spec.settings, settings)):
        raise TypeError(f"the settings of {spec.name!r} are no subclass of {settings.__name__}")
    if isinstance(spec, AnalyzerSpec) and not isinstance(spec.kind, Kind):
        raise TypeError(f"the kind of {spec.name!r} is {spec.kind!r}, expected a member of Kind")
    if isinstance(spec, AnalyzerSpec) and spec.isolation not in get_args(Isolation):
        raise ValueError(f"the isolation of {spec.name!r} is {spec.isolation!r}, expected one of {get_args(Isolation)}")


def check_shape(kind: Kind, analyzer: object) -> None:
    """Whether ``analyzer`` can be called as its kind is, so that not every call fails once it runs.

    Raises:
        TypeError: a method is missing, or takes other arguments.
    """
    made = type(analyzer).__name__
    for method, arguments in {**_METHODS[kind], "self_check": (), "close": ()}.items():
        found = getattr(analyzer, method, None)
        call = f"{method}({', '.join(arguments)})"
        if not callable(found):
            raise TypeError(f"the factory made a {made}, which has no method {call}")
        try:
            inspect.signature(found).bind(*arguments)
        except TypeError as error:
            raise TypeError(f"{made}.{method} cannot be called as {call}: {error}") from None
        except ValueError:
            continue  # a native function that does not tell its arguments


def check_output(kind: Kind, found: object) -> tuple[Any, ...]:
    """What an analyzer of ``kind`` returned, as a tuple.

    Raises:
        TypeError: not a collection, or of the wrong things.
        ValueError: a number that is not finite or out of its range, or an incomplete distribution.
    """
    if not isinstance(found, Iterable):
        raise TypeError(f"returned {type(found).__name__}, expected a sequence")
    items = tuple(found)
    for item in items:
        if kind is Kind.DETECTOR and isinstance(item, Face):
            _check_face(item)
        elif kind is not Kind.DETECTOR and isinstance(item, Observation):
            _check_observation(item, about_a_face=kind is Kind.FACE)
        elif kind is not Kind.DETECTOR and isinstance(item, Event):
            _check_event(item, kind)
        else:
            raise TypeError(f"a {kind.value} analyzer returned a {type(item).__name__}")
    return items


def _check_face(face: Face) -> None:
    box, points = face.box, face.keypoints
    _finite("box", box.x, box.y, box.w, box.h)
    if box.w < 0 or box.h < 0:
        raise ValueError(f"a face's box has the size {box.w} x {box.h}")
    _probability("a face's score", face.score)
    if points is not None:
        for point in (points.right_eye, points.left_eye, points.nose, points.mouth, points.right_ear, points.left_ear):
            _finite("key point", point.x, point.y)


def _check_observation(observation: Observation, *, about_a_face: bool) -> None:
    name, values = observation.name, observation.values
    if not isinstance(name, str) or not _WORD.fullmatch(name):
        raise ValueError(f"observation name {name!r}: use lower-case letters, digits and _")
    if not all(isinstance(term, str) and _WORD.fullmatch(term) for term in values):
        raise ValueError(f"terms {list(values)} of observation {name!r}: use lower-case letters, digits and _")
    _finite(f"time of {name}", observation.time)
    _finite(name, *values.values())
    if about_a_face and observation.track is None:
        raise ValueError(f"observation {name!r} does not say which track it is about")
    if name == EMOTION and (
        set(values) != set(EMOTIONS) or min(values.values()) < 0 or abs(sum(values.values()) - 1) > 1e-3
    ):
        raise ValueError(f"observation {name!r} is not a distribution over {', '.join(EMOTIONS)}")
    if name == ATTENTION and not {"score", "looking"} <= set(values):
        raise ValueError(f"observation {name!r} needs the terms score and looking, it has {', '.join(values)}")


def _check_event(event: Event, kind: Kind) -> None:
    taken = {ARRIVAL, DEPARTURE} if kind is Kind.AUDIO else {ARRIVAL, DEPARTURE, BURST}
    if event.kind in taken:
        raise TypeError(f"a {kind.value} analyzer returned a Event of kind {event.kind!r}: choose another word")
    for word in (event.kind, event.label):
        if not isinstance(word, str) or not _WORD.fullmatch(word):
            raise ValueError(f"event kind or label {word!r}: use lower-case letters, digits and _")
    _finite(f"event {event.label}", event.start, event.seconds)
    _probability(f"score of event {event.label}", event.score)
    if event.seconds < 0:
        raise ValueError(f"event {event.label} lasts {event.seconds} s")


def _finite(what: str, *numbers: float) -> None:
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{what} is not finite: {numbers}")


def _probability(what: str, number: float) -> None:
    if not 0 <= number <= 1:  # false for nan, too
        raise ValueError(f"{what} is {number}, not a probability")
