"""Analyzers and hooks that fail while the agent runs: they are put aside, the rest goes on."""

from __future__ import annotations

import logging
import threading

import pytest

from edge_agent.domain.event import Event
from edge_agent.domain.observation import Observation
from edge_agent.domain.summary import Summary, Window
from edge_agent.plugin.manager import Status
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.plugin.spec import AnalyzerSpec, Kind, SceneAnalyzer

LIGHT = Observation("light", {"level": 1.0}, 0.0)


class Scene(SceneAnalyzer):
    """Answers with what it is given, raising exceptions."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.closed = 0

    def analyze(self, frame):  # type: ignore[no-untyped-def]
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1


def guard(scene: Scene) -> tuple[ActiveAnalyzer, list[str]]:
    crashes: list[str] = []
    spec = AnalyzerSpec("scene", Kind.SCENE, "test", factory=lambda settings, context: scene)
    return ActiveAnalyzer(spec, scene, crashes.append), crashes


def ask(active: ActiveAnalyzer):
    return active.call(lambda a: a.analyze(None), ())


def test_what_an_analyzer_finds_is_passed_on() -> None:
    active, crashes = guard(Scene([LIGHT], [], (o for o in [LIGHT])))
    assert [list(ask(active)) for _ in range(3)] == [[LIGHT], [], [LIGHT]]
    assert active.alive
    assert crashes == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ValueError("dark"), "ValueError: dark"),
        (SystemExit(3), "SystemExit: 3"),
        (type("Panic", (BaseException,), {})("native"), "Panic: native"),
        (MemoryError(), "MemoryError: "),
        (None, "TypeError: returned NoneType, expected a sequence"),
        ([3], "TypeError: a scene analyzer returned a int"),
        (
            [Event("burst", "cough", 0.5, 0.0, 1.0)],
            "TypeError: a scene analyzer returned a Event of kind 'burst': choose another word",
        ),
        ([Observation("light", {"level": float("nan")}, 0.0)], "ValueError: light is not finite: (nan,)"),
        ((1 / 0 for _ in "x"), "ZeroDivisionError: division by zero"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else type(value).__name__,
)
def test_the_first_failure_ends_it_and_later_calls_give_the_default(answer: object, reason: str) -> None:
    """Row 26: an analyzer that raises or answers nonsense, in nine ways: ended, with the reason."""
    scene = Scene(answer, [LIGHT])
    active, crashes = guard(scene)
    assert list(ask(active)) == []
    assert crashes == [reason]
    assert (active.alive, scene.closed) == (False, 1)
    assert list(ask(active)) == []
    assert len(scene.answers) == 1, "a crashed analyzer was called again"
    active.close()
    assert scene.closed == 1


def test_ctrl_c_is_not_taken_for_a_crash() -> None:
    active, crashes = guard(Scene(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        ask(active)
    assert crashes == []


def test_a_failing_close_is_logged_only(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Scene):
        def close(self) -> None:
            raise SystemExit("jammed")

    active, _ = guard(Stuck())
    active.close()
    assert not active.alive
    assert "failed to close: SystemExit: jammed" in caplog.text


def test_an_analyzer_that_hangs_in_a_call_is_not_closed_under_it(caplog: pytest.LogCaptureFixture) -> None:
    """Row 26: an analyzer that hangs does not hold up the end."""
    inside, release = threading.Event(), threading.Event()

    class Hanging(Scene):
        def analyze(self, frame):  # type: ignore[no-untyped-def]
            inside.set()
            assert release.wait(30)
            return []

    scene = Hanging()
    active, crashes = guard(scene)
    caller = threading.Thread(target=ask, args=(active,))
    caller.start()
    try:
        assert inside.wait(30)
        active.close()
        assert scene.closed == 0
        assert not active.alive
        assert "is stuck in a call and was not closed" in caplog.text
    finally:
        release.set()
        caller.join(30)
    assert list(ask(active)) == []
    assert crashes == []


def test_a_crash_shows_in_the_status_and_in_the_log(site, discover, context, caplog) -> None:
    site.install(
        "acme_lamp",
        """
        class Dark(Quiet):
            def analyze(self, frame):
                raise ValueError("dark")

        @hookimpl
        def edge_agent_register_analyzers():
            return [spec(factory=lambda s, c: Dark()), spec("other")]
        """,
    )
    manager = discover()
    dark, other = manager.activate(context)
    assert list(ask(dark)) == list(ask(other)) == []
    assert {r.name: (r.status, r.detail) for r in manager.reports()} == {
        "lamp": (Status.CRASHED, "ValueError: dark"),
        "other": (Status.ENABLED, "nothing"),
    }
    assert "analyzer lamp crashed" in caplog.text
    assert "ValueError: dark" in caplog.text


# ---------------------------------------------------------------- hooks


EVENT = Event("burst", "cough", 0.9, 1.0, 0.5)
SUMMARY = Summary(0.0, "synced", Window(0.0, 10.0))

LISTENER = """
heard = []

@hookimpl
def edge_agent_on_event(event):
    heard.append(event)

@hookimpl
def edge_agent_on_summary():
    heard.append("summary")
"""


def heard(module: str) -> list[object]:
    return __import__(module).heard


def test_hooks_get_the_arguments_they_declare(site, discover) -> None:
    site.install("acme_lamp", LISTENER)
    manager = discover()
    manager.on_event(EVENT)
    manager.on_summary(SUMMARY)
    assert heard("acme_lamp") == [EVENT, "summary"]
    (report,) = manager.reports()
    assert (report.name, report.kind, report.status) == ("lamp", "hook", Status.ENABLED)
    assert report.detail == "told about events and told about summaries"


def test_a_failing_hook_is_disabled_and_the_others_run(site, discover, context, caplog) -> None:
    site.install("acme_lamp", LISTENER)
    site.install(
        "bad_lamp",
        """
        heard = []

        @hookimpl
        def edge_agent_on_event(event):
            heard.append(event)
            raise SystemExit("burnt out")

        @hookimpl
        def edge_agent_on_summary(summary):
            heard.append(summary)

        @hookimpl
        def edge_agent_register_analyzers():
            return [spec("bad")]
        """,
        "bad",
        "bad",
    )
    manager = discover(allow=("*",))
    (active,) = manager.activate(context)
    with caplog.at_level(logging.ERROR):
        manager.on_event(EVENT)
    manager.on_summary(SUMMARY)
    manager.on_event(EVENT)
    assert heard("bad_lamp") == [EVENT]
    assert heard("acme_lamp") == [EVENT, "summary", EVENT]
    reports = {(r.kind, r.name): r for r in manager.reports()}
    failed = reports["hook", "bad"]
    assert (failed.status, failed.detail) == (Status.CRASHED, "edge_agent_on_event: SystemExit: burnt out")
    assert failed.distribution == "bad 1.2"
    assert reports["scene", "bad"].status is Status.ENABLED, "its analyzer had no part in it"
    assert active.alive
    assert "plugin bad failed in edge_agent_on_event" in caplog.text
