"""An analyzer in a process of its own really crashes, hangs and is killed: the agent and the other analyzers go on."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest

from edge_agent.domain.errors import ModelError, PluginError
from edge_agent.domain.media import Frame
from edge_agent.domain.retry import Budget
from edge_agent.plugin import AnalyzerContext, AnalyzerSpec
from edge_agent.plugin.isolation import ChildLimits, isolate
from edge_agent.plugin.isolation.host import IsolatedAnalyzer
from edge_agent.plugin.manager import PluginManager, Status
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.settings import ConfigText
from tests.support import faulty
from tests.support.soak import family

MODULE = "tests.support.faulty"
QUICK = ChildLimits(start=60.0, answer=2.0, budget=Budget(restarts=2, window=60.0, first=0.01, longest=0.02))
(SPEC,) = faulty.edge_agent_register_analyzers()


class NoModels:
    def locate(self, name: str) -> Path:
        raise ModelError(f"{name} is not installed")


def make(limits: ChildLimits = QUICK, **options: object) -> IsolatedAnalyzer:
    made = isolate(SPEC, MODULE, limits).factory(faulty.FaultySettings(**options), AnalyzerContext(NoModels()))  # type: ignore[arg-type]
    assert isinstance(made, IsolatedAnalyzer)
    return made


@pytest.fixture
def analyzer() -> Iterator[IsolatedAnalyzer]:
    made = make()
    yield made
    made.close()


def picture(fault: Callable[[], None] | None = None, side: int = 8) -> Frame:
    data = np.full((side, side, 3), 40, np.uint8)
    data.flat[0] = 0 if fault is None else faulty.FAULTS.index(fault) + 1
    return Frame.from_bgr(data, 5.0, 0)


def until(condition: Callable[[], bool], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether the process ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


REASONS = {
    faulty.segfault: "its process died of SIGSEGV",
    faulty.leave: "its process ended itself with exit code 3",
    faulty.hang: "no answer within 2 s",
    faulty.fail: "ValueError: it is dark",
    faulty.be_killed: "its process died of SIGKILL (is memory short?)",
    faulty.exhaust: "MemoryError",
    faulty.babble: "it answered nonsense",
    faulty.mumble: "it answered nonsense",
}


@pytest.mark.parametrize("fault", faulty.FAULTS, ids=lambda fault: fault.__name__)
def test_a_child_that_goes_wrong_is_replaced(
    fault: Callable[[], None], analyzer: IsolatedAnalyzer, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 26: an isolated analyzer with a null pointer, ``os._exit``, a native call that never returns and keeps the
    interpreter lock, an exception, SIGKILL, no memory left, nonsense on its channel (two kinds): its process is
    replaced, with the reason.
    """
    first = analyzer.pid
    assert first
    assert analyzer.analyze(picture()), "it works before"
    began = time.monotonic()
    assert analyzer.analyze(picture(fault)) == ()
    assert time.monotonic() - began < QUICK.answer + 5.0
    assert gone(first)
    assert f"analyzer faulty: {REASONS[fault]}" in caplog.text
    until(lambda: bool(analyzer.analyze(picture())))
    assert analyzer.pid not in (None, first)


def test_calls_do_not_wait_for_the_new_child(analyzer: IsolatedAnalyzer) -> None:
    analyzer.analyze(picture(faulty.leave))
    time.sleep(0.05)
    waits = []
    while True:
        began = time.monotonic()
        found = analyzer.analyze(picture())
        waits.append(time.monotonic() - began)
        if found:
            break
        time.sleep(0.01)
    assert sum(waits) < 0.5 * 0.01 * len(waits) + 1.0
    assert len(waits) > 3, "it was there at once: that is no new process"


def test_a_used_up_budget_is_a_crash_with_its_reason() -> None:
    """Row 26: an isolated analyzer that crashes each time: given up when its budget is used up, nothing is left
    behind.
    """
    crashes: list[str] = []
    active = ActiveAnalyzer(SPEC, make(), crashes.append)
    while active.alive:
        active.call(lambda a: a.analyze(picture(faulty.segfault)), ())
        time.sleep(0.02)
    assert crashes == ["its process died of SIGSEGV; more than 2 failures in 60 s"]
    assert active.call(lambda a: a.analyze(picture()), ()) == ()
    assert len(family(os.getpid())) == 1, "a child was left"


@pytest.mark.parametrize(
    ("build", "why"),
    [("segfault", "its process died of SIGSEGV"), ("fail", "ValueError: it is dark (support/faulty.py:")],
)
def test_an_analyzer_that_cannot_be_built_fails_at_once_with_the_reason(build: str, why: str) -> None:
    """Row 26: an isolated analyzer that crashes while it is made: refused at once, with the reason."""
    with pytest.raises(PluginError) as refused:
        make(build=build)
    assert str(refused.value).startswith(why)


def test_pictures_of_any_size_arrive_and_ours_stay_as_they_are(
    analyzer: IsolatedAnalyzer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_AGENT__MQTT__PASSWORD", "hunter2")
    for side in (1, 8, 700, 3):
        frame = picture(side=side)
        (seen,) = analyzer.analyze(frame)
        assert seen.values == {"level": pytest.approx(frame.data.mean(), abs=1e-3), "secrets": 0, "core": ANY}
        assert seen.values["core"] <= 1, "the kernel may write or pipe all memory when it crashes"
        assert frame.data.flat[-1] == 40
    spare = make()
    assert spare.analyze(picture())[0].values["secrets"] == 0
    spare.close()
    assert capfd.readouterr().out == "", "what a plugin prints got into our output"


def test_signals_for_the_agent_do_not_end_the_child(analyzer: IsolatedAnalyzer) -> None:
    """systemd and a terminal send them to every process of a service."""
    assert analyzer.pid
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(analyzer.pid, number)
    assert analyzer.analyze(picture())


def test_nothing_is_left_behind() -> None:
    def held() -> tuple[int, int, int]:
        gc.collect()
        memory = Path("/proc/self/maps").read_text().count("memfd:")  # what is in /dev/shm may be anybody's
        return len(os.listdir("/proc/self/fd")), len(family(os.getpid())), memory

    before = held()
    analyzer = make()
    analyzer.analyze(picture(faulty.leave))
    analyzer.close()
    analyzer.close()
    forgotten = make()
    pid = forgotten.pid
    del forgotten
    assert held() == before
    assert pid
    assert gone(pid)
    with pytest.raises(PluginError, match="closed"):
        analyzer.analyze(picture())


_PARENT = """
import sys
from tests.faults.test_plugin_isolation import ChildLimits, faulty, make, picture
analyzer = make(ChildLimits(answer=600.0))
print(analyzer.pid, flush=True)
if sys.argv[1] == "leave":
    sys.exit()
analyzer.analyze(picture(faulty.hang))
"""


@pytest.mark.parametrize("how", ["leave", "killed"])
def test_no_orphan_remains_when_the_agent_is_gone(how: str, repository: Path) -> None:
    """Row 26: the agent is killed while the child hangs in native code that keeps the interpreter lock, or just ends:
    no orphan.
    """
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, how], stdout=subprocess.PIPE, cwd=repository)
    assert parent.stdout
    child = int(parent.stdout.readline())
    if how == "killed":
        time.sleep(0.5)
        assert not gone(child)
        parent.kill()
    parent.communicate(timeout=30)
    until(lambda: gone(child), 5.0)


def test_the_kernel_takes_the_child_first_when_memory_is_short(analyzer: IsolatedAnalyzer) -> None:
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(Path(f"/proc/{analyzer.pid}/oom_score_adj").read_text()) > ours


def test_the_agent_counts_replaced_processes_and_reports_the_crash() -> None:
    """Through the manager, with the budget that operators get."""
    manager = PluginManager(["faulty"], {}, ConfigText("c.toml", "").describe)
    manager.discover([EntryPoint("faulty", MODULE, "edge_agent")])
    (active,) = manager.activate(AnalyzerContext(NoModels()))
    try:
        active.call(lambda a: a.analyze(picture(faulty.leave)), ())
        (report,) = manager.reports()
        assert (report.status, report.replaced) == (Status.ENABLED, 1)
        until(lambda: bool(active.call(lambda a: a.analyze(picture()), ())))
    finally:
        active.close()


def test_the_operator_may_overrule_the_plugin() -> None:
    from edge_agent.plugin.spec import isolation_of

    spec: AnalyzerSpec = SPEC
    assert isolation_of(spec, faulty.FaultySettings()) == "process"
    assert isolation_of(spec, faulty.FaultySettings(isolation="none")) == "none"
