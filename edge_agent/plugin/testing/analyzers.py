"""Contract suite for analyzers: one function per rule."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.domain.errors import ModelError
from edge_agent.domain.event import Event
from edge_agent.domain.face import Face
from edge_agent.domain.media import AudioBlock
from edge_agent.domain.observation import Observation
from edge_agent.domain.speech import Utterance
from edge_agent.plugin.isolation import isolate
from edge_agent.plugin.running import check_output
from edge_agent.plugin.spec import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, Kind, isolation_of
from edge_agent.plugin.testing.harness import (
    in_time,
    require,
    require_cheap_import,
    require_name,
    require_settings,
    told,
    watched,
)
from edge_agent.plugin.testing.inputs import SOUND, Question, everyday, odd


class _NoModels:
    """Locator that has no model."""

    def locate(self, name: str) -> Path:
        raise ModelError(f"the test's context has no models: give the Subject one that has {name!r}")


NO_MODELS = AnalyzerContext(_NoModels())
"""Context of analyzers that load no model of the agent's."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Analyzer under test.

    ``entry_point`` is what the package's entry point names, ``module`` or ``module:object``. ``settings`` are the
    defaults unless given. ``patience`` is how many seconds one VGA picture, one second of sound or one sentence may
    take, ``deadline`` how many one check.
    """

    entry_point: str
    spec: AnalyzerSpec
    context: AnalyzerContext = NO_MODELS
    settings: AnalyzerSettings | None = None
    patience: float = 0.5
    deadline: float = 60.0

    @contextmanager
    def analyzer(self, *, here: bool = False) -> Iterator[Any]:
        """A new analyzer, closed at the end; in a process of its own where it asks for that, unless ``here``."""
        settings = self.settings or self.spec.settings()
        isolated = isolation_of(self.spec, settings) == "process" and not here
        spec = isolate(self.spec, self.entry_point) if isolated else self.spec
        made: Any = spec.factory(settings, self.context)
        try:
            yield made
        finally:
            made.close()


# ---------------------------------------------------------------------- rules


def check_settings(subject: Subject) -> None:
    """Settings are frozen, refuse unknown keys, describe every option and have a default for each."""
    require_settings(subject.spec.settings, AnalyzerSettings)


def check_spec(subject: Subject) -> None:
    """The spec describes itself in one line, under a name that can be a table of the configuration."""
    spec = subject.spec
    require_name(spec.name, spec.summary)
    require(spec.max_fps is None or spec.max_fps > 0, f"max_fps is {spec.max_fps}")
    models = spec.models(subject.settings or spec.settings())
    require(
        not isinstance(models, str) and all(isinstance(name, str) for name in models),
        f"models(settings) gives {models!r}, not a sequence of names",
    )


def check_cheap_import(subject: Subject) -> None:
    """Loading the plugin and reading its specs imports nothing heavy: that is the factory's job."""
    require_cheap_import(subject.entry_point, "edge_agent_register_analyzers")


def check_self_check(subject: Subject) -> None:
    """The self-check passes, and twice: the agent runs it at every start."""
    with subject.analyzer() as analyzer:
        analyzer.self_check()
        analyzer.self_check()


def check_answers(subject: Subject) -> None:
    """Edge cases give results of the right type, with finite numbers, about the input."""
    with subject.analyzer() as analyzer:
        _perform(subject.spec.kind, analyzer)


def check_finish(subject: Subject) -> None:
    """Sound may end and continue: a second ``finish`` in a row returns nothing, and later blocks start afresh."""
    kind = subject.spec.kind
    if kind not in SOUND:
        return
    with subject.analyzer() as analyzer, subject.analyzer() as fresh:
        _perform(kind, analyzer)
        again = check_output(kind, analyzer.finish())
        require(again == (), f"a second finish() in a row returns {again}, not an empty sequence")
        later, first = _perform(kind, analyzer), _perform(kind, fresh)
    require(later == first, "after finish() the same sound gives another result than at the start: drop the context")


def check_determinism(subject: Subject) -> None:
    """The same input gives the same results, also beside another instance: nothing is shared."""
    with subject.analyzer() as one, subject.analyzer() as other:
        first, second = _perform(subject.spec.kind, one), _perform(subject.spec.kind, other)
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        require(a == b, f"answer {number} differs between two analyzers given the same input: {a} and {b}")


def check_manners(subject: Subject) -> None:
    """Neither building nor calling the analyzer starts threads, sleeps, uses the network or writes files.

    Checked in this process even when the analyzer asks for a process of its own, which could not be watched.
    """
    with watched() as deeds, subject.analyzer(here=True) as analyzer:
        analyzer.self_check()
        _perform(subject.spec.kind, analyzer)
    require(not deeds, f"an analyzer must only compute, but this one {'; '.join(sorted(set(deeds)))}")


def check_discretion(subject: Subject) -> None:
    """What is said in the input of kind ``text`` is neither printed nor logged, nor part of an answer's names."""
    if subject.spec.kind is not Kind.TEXT:
        return
    said = "quokka wombat numbat"
    with subject.analyzer(here=True) as analyzer, told() as lines:
        found = _asker(Kind.TEXT, analyzer)(Utterance(f"{said}, {said}.", 100.0, 103.0))
    names = [word for item in found for word in (item.name, *item.values)]
    require(not _quoted(said, names), "the answer's names hold words of the text: they would be published")
    require(not _quoted(said, lines), "words of the text are printed or logged")


def _quoted(said: str, lines: Sequence[str]) -> bool:
    return any(word in line for word in said.split() for line in lines)


def check_speed(subject: Subject) -> None:
    """One VGA picture, second of sound or sentence is answered within ``patience`` (the median of several)."""
    with subject.analyzer() as analyzer:
        ask = _asker(subject.spec.kind, analyzer)
        times = []
        for question in everyday(subject.spec.kind):
            began = time.perf_counter()
            ask(question)
            times.append(time.perf_counter() - began)
    median = statistics.median(times[1:])
    require(median <= subject.patience, f"an answer takes {median:.2f} s, more than {subject.patience} s")


def check_close(subject: Subject) -> None:
    """Closing is possible at any time, and twice."""
    with subject.analyzer() as analyzer:
        analyzer.close()
    with subject.analyzer() as analyzer:
        ask = _asker(subject.spec.kind, analyzer)
        ask(everyday(subject.spec.kind)[0])
        analyzer.close()


_ALL: tuple[Callable[[Subject], None], ...] = (
    check_settings,
    check_spec,
    check_cheap_import,
    check_self_check,
    check_answers,
    check_finish,
    check_determinism,
    check_manners,
    check_discretion,
    check_speed,
    check_close,
)
CHECKS = tuple(map(in_time, _ALL))
"""All rules, each within the subject's deadline; the first three need no model."""


def check_analyzer(subject: Subject) -> None:
    """Run all :data:`CHECKS`, the first failure ends it."""
    for check in CHECKS:
        check(subject)


# ---------------------------------------------------------------------- calling the analyzer


def _asker(kind: Kind, analyzer: Any) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that calls the analyzer once and checks the result and that the input is unchanged."""

    def ask(question: Question) -> tuple[Any, ...]:
        if isinstance(question, Utterance):
            found = check_output(kind, analyzer.analyze(question))
            _check_sense(found, question)
            return found
        data = question.samples if isinstance(question, AudioBlock) else question[0].data
        before = data.tobytes()
        if isinstance(question, AudioBlock):
            found = check_output(kind, analyzer.analyze(question))
        elif kind is Kind.DETECTOR:
            found = check_output(kind, analyzer.detect(question[0]))
        elif kind is Kind.FACE:
            found = check_output(kind, analyzer.analyze(*question))
        else:
            found = check_output(kind, analyzer.analyze(question[0]))
        require(data.tobytes() == before, "the analyzer changed its input: others are given the same array")
        _check_sense(found, question)
        return found

    return ask


def _check_sense(found: Sequence[Any], question: Question) -> None:
    now = question[0].time if isinstance(question, tuple) else question.end
    spoken = [item.start for item in found if isinstance(item, Utterance)]
    require(spoken == sorted(spoken), "utterances are not in the order in which they began")
    faces = [item for item in found if isinstance(item, Face)]
    require(faces == sorted(faces, key=lambda f: -f.score), "faces are not ordered by score, most certain first")
    for item in found:
        if isinstance(item, Observation):
            require(item.time <= now + 0.1, f"observation {item.name!r} is of {item.time}, after its input ({now})")
            if item.track is not None and isinstance(question, tuple):
                known = [tracked.track for tracked in question[1]]
                require(item.track in known, f"observation {item.name!r} is about {item.track!r}, who was not given")
        elif isinstance(item, Utterance):
            require(item.end <= now + 0.1, f"an utterance ends at {item.end:.2f}, after its input ({now:.2f})")
        elif isinstance(item, Event):
            end = item.start + item.seconds
            require(end <= now + 0.1, f"event {item.label!r} ends at {end:.2f}, after its input ({now:.2f})")


def _perform(kind: Kind, analyzer: Any) -> list[tuple[Any, ...]]:
    """Run all edge cases in order; for sound, also its end."""
    ask = _asker(kind, analyzer)
    answers = [ask(question) for question in odd(kind)]
    if kind in SOUND:
        answers.append(check_output(kind, analyzer.finish()))
    return answers
