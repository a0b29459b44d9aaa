"""Call analyzers guarded and timed, and check what they return.

Everything behind the analyzers (summaries, payloads) relies on finite numbers, complete distributions and real types; a
``nan`` that got through would fail far from its cause. The core therefore checks every result, and the contract suite
applies the same rules. The first failure closes an analyzer and marks it crashed. The time its calls take is recorded,
so that a slow one can be named.
"""

from __future__ import annotations

import inspect
import logging
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from edge_agent.domain.errors import PluginError, reason, where
from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, UTTERANCE, Event
from edge_agent.domain.face import Face
from edge_agent.domain.media import AudioBlock
from edge_agent.domain.observation import (
    ATTENTION,
    EMOTION,
    EMOTIONS,
    IDENTITY,
    LANGUAGE,
    LANGUAGE_EMOTIONS,
    VOICE,
    Observation,
)
from edge_agent.domain.speech import Utterance, Word
from edge_agent.plugin.isolation import IsolatedAnalyzer
from edge_agent.plugin.spec import WORDED, Analyzer, AnalyzerSpec, FaceRecognizer, Kind

# ---------------------------------------------------------------------- checking what a plugin makes and returns


_WORD = re.compile(r"[a-z][a-z0-9_]*")
_CUSTOM = re.compile(r"custom:[a-z][a-z0-9_-]*")


_METHODS: Mapping[Kind, Mapping[str, Sequence[str]]] = {
    Kind.DETECTOR: {"detect": ("frame",)},
    Kind.FACE: {"analyze": ("frame", "faces")},
    Kind.SCENE: {"analyze": ("frame",)},
    Kind.AUDIO: {"analyze": ("block",), "finish": ()},
    Kind.SPEECH: {"analyze": ("block",), "finish": ()},
    Kind.TEXT: {"analyze": ("utterance",)},
}
"""Methods that a lane calls on each kind, with their arguments."""


_RETURNED: Mapping[Kind, type[Any]] = {Kind.DETECTOR: Face, Kind.SPEECH: Utterance, Kind.TEXT: Observation}
"""Type that a kind returns; the others return observations and events."""


def check_shape(kind: Kind, analyzer: object) -> None:
    """Check that ``analyzer`` has the methods of its kind, with the right arguments.

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
            continue  # a native function without a signature


def check_output(kind: Kind, found: object) -> tuple[Any, ...]:
    """Check what an analyzer of ``kind`` returned, and return it as a tuple.

    Raises:
        TypeError: not a collection, or of the wrong things.
        ValueError: a number that is not finite or out of its range, or an incomplete distribution.
    """
    if not isinstance(found, Iterable):
        raise TypeError(f"returned {type(found).__name__}, expected a sequence")
    items = tuple(found)
    for item in items:
        if not isinstance(item, _RETURNED.get(kind, (Observation, Event))):
            raise TypeError(f"a {kind.value} analyzer returned a {type(item).__name__}")
        if isinstance(item, Face):
            _check_face(item)
        elif isinstance(item, Observation):
            _check_observation(item, kind)
        elif isinstance(item, Event):
            _check_event(item, kind)
        elif isinstance(item, Utterance):
            _check_utterance(item)
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


def _check_utterance(utterance: Utterance) -> None:
    """Check without naming the text: messages of these errors are logged."""
    if not isinstance(utterance.text, str) or not all(isinstance(word.text, str) for word in utterance.words):
        raise TypeError("the text of an utterance or a word is no str")
    parts: list[tuple[str, Utterance | Word]] = [("an utterance", utterance)]
    for what, part in (*parts, *(("a word", word) for word in utterance.words)):
        _finite(f"time of {what}", part.start, part.end)
        if part.end < part.start:
            raise ValueError(f"{what} ends at {part.end} s, before it begins at {part.start} s")
        if part.confidence is not None:
            _probability(f"confidence of {what}", part.confidence)


def _check_observation(observation: Observation, kind: Kind) -> None:
    name, values = observation.name, observation.values
    if not isinstance(name, str) or not (_WORD.fullmatch(name) or _CUSTOM.fullmatch(name)):
        raise ValueError(f"observation name {name!r}: use lower-case letters, digits and _")
    if not all(isinstance(term, str) and _WORD.fullmatch(term) for term in values):
        terms = "a term" if kind in WORDED else f"terms {list(values)}"  # which may be a word that somebody said
        raise ValueError(f"{terms} of observation {name!r}: use lower-case letters, digits and _")
    _finite(f"time of {name}", observation.time)
    _finite(name, *values.values())
    if kind is Kind.FACE and observation.track is None:
        raise ValueError(f"observation {name!r} does not say which track it is about")
    if name == IDENTITY and len(values) != 1:
        raise ValueError(f"observation {name!r} needs one term, who it is; it has {len(values)}")
    if name == EMOTION and (
        set(values) != set(EMOTIONS) or min(values.values()) < 0 or abs(sum(values.values()) - 1) > 1e-3
    ):
        raise ValueError(f"observation {name!r} is not a distribution over {', '.join(EMOTIONS)}")
    if name == ATTENTION and not {"score", "looking"} <= set(values):
        raise ValueError(f"observation {name!r} needs the terms score and looking, it has {', '.join(values)}")
    if name == ATTENTION:
        _probability("eyes of observation 'attention'", values.get("eyes", 0.0))
    if name == LANGUAGE:
        if set(values) != set(LANGUAGE_EMOTIONS):
            raise ValueError(f"observation {name!r} needs a probability for each of {', '.join(LANGUAGE_EMOTIONS)}")
        for term, value in values.items():
            _probability(f"{term} of observation {name!r}", value)
    if name == VOICE:
        _check_voice(values)


def _check_voice(values: Mapping[str, float]) -> None:
    if values.get("seconds", -1.0) < 0:
        raise ValueError(f"observation {VOICE!r} needs the term seconds, not below 0")
    if not -1 <= values.get("arousal", 0.0) <= 1:
        raise ValueError(f"arousal of observation {VOICE!r} is {values['arousal']}, not within -1..1")


def _check_event(event: Event, kind: Kind) -> None:
    taken = {ARRIVAL, DEPARTURE, UTTERANCE} | (set() if kind is Kind.AUDIO else {BURST})
    if event.kind in taken:
        raise TypeError(f"a {kind.value} analyzer returned a Event of kind {event.kind!r}: choose another word")
    for word in (event.kind, event.label):
        if not isinstance(word, str) or not _WORD.fullmatch(word):
            raise ValueError(f"event kind or label {word!r}: use lower-case letters, digits and _")
    _finite(f"event {event.label}", event.start, event.seconds)
    _probability(f"score of event {event.label}", event.score)
    if event.text:
        raise ValueError(f"event {event.label} has a text, which only utterances may have")
    if event.seconds < 0:
        raise ValueError(f"event {event.label} lasts {event.seconds} s")


def _finite(what: str, *numbers: float) -> None:
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{what} is not finite: {numbers}")


def _probability(what: str, number: float) -> None:
    if not 0 <= number <= 1:  # false for nan, too
        raise ValueError(f"{what} is {number}, not a probability")


log = logging.getLogger(__name__)

# ---------------------------------------------------------------------- calling an analyzer


T = TypeVar("T")

_BUSY_S = 1.0
"""Seconds that closing an analyzer waits for a call in another thread."""
_RECENT_S = 30.0
"""Period in seconds over which calls are counted."""


@dataclass(frozen=True, slots=True)
class Use:
    """Calls of the last half minute: number, ``mean_s`` and ``slowest_s`` duration, and their ``share`` of the time."""

    calls: int = 0
    mean_s: float = 0.0
    slowest_s: float = 0.0
    share: float = 0.0


class Timing:
    """Record of an analyzer's recent calls and their durations. One thread records, others may read."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._began = now()
        self._calls: deque[tuple[float, float]] = deque(maxlen=2_000)
        self._open: float | None = None
        self.total_s = 0.0
        """Duration of all calls that have ended."""

    @contextmanager
    def call(self) -> Iterator[None]:
        """Time one call; a context manager."""
        self._open = begin = self._now()
        try:
            yield
        finally:
            end, self._open = self._now(), None
            self._calls.append((end, end - begin))
            self.total_s += end - begin

    def durations(self) -> list[float]:
        """Return the durations of the latest calls, at most 2,000."""
        return [took for _, took in tuple(self._calls)]

    def use(self) -> Use:
        """Summarise the recent calls; an open call counts with its duration so far."""
        now, begin = self._now(), self._open
        took = [min(took, end - (now - _RECENT_S)) for end, took in tuple(self._calls) if end > now - _RECENT_S]
        if begin is not None:
            took.append(min(now - begin, _RECENT_S))
        if not took:
            return Use()
        whole = max(min(_RECENT_S, now - self._began), 1e-6)
        return Use(len(took), sum(took) / len(took), max(took), min(1.0, sum(took) / whole))


def ask(kind: Kind, analyzer: Any, use: Callable[[Any], object]) -> object:
    """Call ``use(analyzer)`` to the end, without what an analyzer of words may quote in the message of an exception.

    Raises:
        PluginError: an analyzer of a kind in :data:`WORDED` failed; names type and place of its exception.
        BaseException: whatever another one raises.
    """
    try:
        found = use(analyzer)
        return tuple(found) if isinstance(found, Iterable) else found
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if kind not in WORDED or isinstance(analyzer, IsolatedAnalyzer):  # whose child has done this already
            raise
        what, place = type(error).__name__, where(error)
        at = f" at {place}" if place else ""
    raise PluginError(f"{what}{at}; its message is not shown, as it may quote what was said")


def _forget(analyzer: Any) -> Sequence[Any]:
    forget = getattr(analyzer, "forget", None)  # there since version 0.3 of the base class
    if forget is not None:
        forget()
    return ()


class ActiveAnalyzer:
    """Guard around a running analyzer: the first failure closes it and marks it crashed.

    One thread calls it; another may close it.
    """

    def __init__(
        self,
        spec: AnalyzerSpec,
        analyzer: Analyzer,
        on_crash: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.timing = Timing(now)
        """Durations of its calls."""
        self.where = ""
        """File and line where it crashed."""
        self.check_s = 0.0
        """Duration of its self-check in seconds, a measure of its speed on this machine."""
        self._analyzer: Analyzer | None = analyzer
        self._on_crash = on_crash
        self._busy = threading.RLock()

    @property
    def alive(self) -> bool:
        """False after a crash or close."""
        return self._analyzer is not None

    @property
    def answered(self) -> bool:
        """Whether the last call was answered: false after a crash and while a child process is being replaced."""
        analyzer = self._analyzer
        return analyzer is not None and (not isinstance(analyzer, IsolatedAnalyzer) or analyzer.answered)

    def call(self, use: Callable[[Any], Sequence[T]], default: Sequence[T]) -> Sequence[T]:
        """Call ``use(analyzer)`` and check its result; ``default`` after a crash, or when it fails or is invalid."""
        with self._busy:
            if self._analyzer is None:
                return default
            try:
                with self.timing.call():
                    found = ask(self.spec.kind, self._analyzer, use)
                return check_output(self.spec.kind, found)
            except BaseException as error:  # plugin code may raise anything; see reason()
                why, self.where = reason(error), where(error)
                log.exception("analyzer %s crashed", self.spec.name)
            self.close()
            self._on_crash(why)
            return default

    def borrow(self) -> FaceRecognizer:
        """Return the recogniser itself, for enrolment; only while no lane calls it.

        Raises:
            PluginError: it is none, or has crashed.
        """
        if not isinstance(self._analyzer, FaceRecognizer):
            raise PluginError(f"analyzer {self.spec.name} does not recognise people")
        return self._analyzer

    @property
    def recollects_s(self) -> float:
        """Seconds for which a recogniser of people may still report that a lost face has reappeared; else 0."""
        return self._analyzer.recollects_s if isinstance(self._analyzer, FaceRecognizer) else 0.0

    def self_check(self) -> None:
        """Run the analyzer's self-check; its exceptions are passed on."""
        if self._analyzer is not None:
            began = time.monotonic()
            self._analyzer.self_check()
            self.check_s = time.monotonic() - began

    def forget(self) -> None:
        """Let the analyzer forget what it has learned about people."""
        self.call(_forget, ())

    def try_out(self) -> None:
        """Call the analyzer with a sample picture, sound or sentence, as a lane would; nonsense marks it crashed.

        For an analyzer that is only inspected and then closed, as the sample becomes part of its state.
        """
        from edge_agent.plugin.testing.inputs import everyday

        question = everyday(self.spec.kind)[0]
        if isinstance(question, AudioBlock | Utterance):
            self.call(lambda a: a.analyze(question), ())
        elif self.spec.kind is Kind.FACE:
            self.call(lambda a: a.analyze(*question), ())
        else:
            verb = "detect" if self.spec.kind is Kind.DETECTOR else "analyze"
            self.call(lambda a: getattr(a, verb)(question[0]), ())

    def close(self) -> None:
        """Close the analyzer once; a failing close is logged only."""
        if not self._busy.acquire(timeout=_BUSY_S):
            # Freeing a model in use would crash the process, so it is left to the hanging call.
            log.warning("analyzer %s is stuck in a call and was not closed", self.spec.name)
            self._analyzer = None
            return
        try:
            analyzer, self._analyzer = self._analyzer, None
            if analyzer is not None:
                analyzer.close()
        except BaseException as error:  # noqa: BLE001 - nothing can be done about a plugin's failing close
            log.warning("analyzer %s failed to close: %s", self.spec.name, reason(error))
        finally:
            self._busy.release()
