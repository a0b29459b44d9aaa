"""Analyzers of speech and text as a stranger registers them: statuses, contract, isolation, and what a crash quotes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import numpy as np
import pytest

from edge_agent.domain.media import AudioBlock
from edge_agent.domain.observation import LANGUAGE, LANGUAGE_UNKNOWN
from edge_agent.domain.retry import Budget
from edge_agent.domain.speech import Utterance
from edge_agent.plugin import Kind
from edge_agent.plugin.isolation import ChildLimits, isolate
from edge_agent.plugin.manager import PluginManager, Status
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.plugin.testing import CHECKS, Subject
from tests.support import spoken

SPECS = {spec.name: spec for spec in spoken.edge_agent_register_analyzers()}
ONCE = ChildLimits(start=60.0, answer=5.0, budget=Budget(restarts=0, window=60.0))


def active(name: str, context, isolation: str, crashes: list[str], **options: object) -> ActiveAnalyzer:
    spec = SPECS[name] if isolation == "none" else isolate(SPECS[name], "tests.support.spoken", ONCE)
    return ActiveAnalyzer(spec, spec.factory(spec.settings(**options), context), crashes.append)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_double_keeps_the_contract(check: Callable[[Subject], None], context) -> None:
    for spec in SPECS.values():
        check(Subject("tests.support.spoken", spec, context))


def test_they_register_like_any_other(site, discover, context) -> None:
    site.install("stranger_spoken", "from tests.support.spoken import edge_agent_register_analyzers")
    manager = discover(reader={"enabled": False})
    made = manager.activate(context, try_out=True)
    statuses = {r.name: (r.kind, r.status) for r in manager.reports()}
    assert statuses["listener"] == ("speech", Status.ENABLED)
    assert statuses["reader"] == ("text", Status.DISABLED)
    assert {a.spec.name for a in made if a.alive} == {"listener", "ear"}


def test_a_reader_without_words_is_not_loaded_live_and_is_where_it_is_asked_for(site, discover, context) -> None:
    site.install("stranger_spoken", "from tests.support.spoken import edge_agent_register_analyzers")
    silent = discover(listener={"enabled": False})
    (reader,) = (r for r in silent.reports() if r.name == "reader")
    assert (reader.status, "no analyzer of speech" in reader.detail) == (Status.DISABLED, True)
    assert {a.spec.name for a in silent.activate(context)} == {"ear"}
    for options in ({"recorded": True}, {"only": {"reader": {}}}, {"kinds": {Kind.TEXT: True}}):
        manager = PluginManager(
            ("stranger_spoken", "spoken", "lamp", "*"), {"listener": {"enabled": False}}, str, **options
        )
        manager.discover()
        assert "reader" in {r.name for r in manager.reports() if r.status is Status.ENABLED}, options


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_sound_becomes_words_and_words_become_emotions(context, isolation: str) -> None:
    crashes: list[str] = []
    listener, reader = (active(name, context, isolation, crashes) for name in ("listener", "reader"))
    sound = np.concatenate([spoken.say(0), spoken.say(2, 0.6)])
    said = listener.call(lambda a: a.analyze(AudioBlock(sound, 50.0)), ())
    assert [u.text for u in said] == [spoken.SENTENCES[0], spoken.SENTENCES[2]]
    assert [(round(u.start, 2), round(u.end, 2), u.count) for u in said] == [(50.0, 51.0, 6), (51.5, 52.1, 4)]
    (thanks,) = reader.call(lambda a: a.analyze(said[0]), ())
    assert (thanks.name, max(thanks.values, key=thanks.values.get), thanks.time) == (LANGUAGE, "gratitude", 50.0)
    (unknown,) = reader.call(lambda a: a.analyze(Utterance("Vielen Dank " * 100_000)), ())
    assert (unknown.name, dict(unknown.values)) == (LANGUAGE_UNKNOWN, {"not_english": 1.0})
    listener.close()
    reader.close()
    assert crashes == []


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize("name", ["listener", "reader"])
def test_a_crash_quotes_nobody(context, caplog, capfd, name: str, isolation: str) -> None:
    caplog.set_level(logging.DEBUG)
    crashes: list[str] = []
    guard = active(name, context, isolation, crashes, fail_on="quokka")
    question = AudioBlock(spoken.say(0), 50.0) if name == "listener" else Utterance("my quokka")
    assert guard.call(lambda a: a.analyze(question), ()) == ()
    assert not guard.alive
    assert re.search(r"ValueError at \w+/\w+\.py:\d+; its message is not shown", crashes[0])
    printed = capfd.readouterr()
    for told in (*crashes, caplog.text, printed.out, printed.err):
        assert "quokka" not in told
