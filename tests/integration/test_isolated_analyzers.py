"""Our own analyzers in processes of their own: the same contract, the same readings, and a real agent that goes on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.app.builder import PipelineBuilder
from edge_agent.app.offline import Run
from edge_agent.capture import iter_media
from edge_agent.domain.media import Frame
from edge_agent.models import ModelStore
from edge_agent.plugin import AnalyzerContext
from edge_agent.plugin.testing import CHECKS, Subject
from edge_agent.plugin.testing.analyzers import check_manners
from edge_agent.settings import ConfigText
from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto
from tests.support.soak import family
from tests.support.subscriber import Subscriber

ANALYZERS = ("face", "emotion", "attention", "burst")
BEGIN, END = 5.0, 8.0
"""Seconds of the recording in which two people are seen and one is heard."""


APART = [check for check in CHECKS[3:] if check is not check_manners]
"""The rules that use an analyzer; its manners can only be watched in this process."""


@pytest.mark.parametrize("check", APART, ids=lambda check: check.__name__.removeprefix("check_"))
def test_an_isolated_analyzer_keeps_the_contract(check: Callable[[Subject], None], model_store: ModelStore) -> None:
    (entry_point,) = importlib.metadata.entry_points(group="edge_agent", name="emotion")
    (spec,) = entry_point.load().edge_agent_register_analyzers()
    check(Subject(entry_point.value, replace(spec, isolation="process"), AnalyzerContext(model_store)))


def read_through(media: Path, store: ModelStore, isolation: str) -> tuple[list[Any], int]:
    """Everything found in some seconds of ``media``, without its random identities; and how many children ran."""
    tables = "".join(f'[analyzers.{name}]\nisolation = "{isolation}"\n' for name in ANALYZERS)
    text = ConfigText("test", f'[models]\ndir = "{store.directory}"\nauto_pull = false\n{tables}')
    builder = PipelineBuilder(text, text.settings())
    builder.activate()
    try:
        children = len(family(os.getpid())) - 1
        run = Run(builder, fps=5.0)
        for item in iter_media(media):
            if item.time > END:
                break
            if item.time < BEGIN:
                continue
            if isinstance(item, Frame):
                run.frame(item)
            else:
                run.sound(item)
        analysis = run.finish("test")
    finally:
        builder.close()
    names: dict[str, int] = {}
    rows = []
    for row in analysis.faces:
        name = str(names.setdefault(row.face_id, len(names)))
        observations = tuple(replace(observation, track=name) for observation in row.observations)
        rows.append(replace(row, face_id=name, observations=observations))
    return [*rows, *analysis.summaries, *analysis.events], children


def test_isolated_analyzers_read_exactly_what_they_read_otherwise(media: Path, model_store: ModelStore) -> None:
    media = media / "kiosk.mp4"
    here, none = read_through(media, model_store, "none")
    apart, children = read_through(media, model_store, "process")
    assert (none, children) == (0, len(ANALYZERS))
    assert apart == here
    assert sum(getattr(row, "emotion", None) is not None for row in here) > 10
    assert len(family(os.getpid())) == 1, "a child was left"


CONFIG = """
[device]
id = "kiosk-1"
[camera]
source = "demo"
[microphone]
source = "none"
[summary]
window_s = 2
[analyzers.face]
isolation = "process"
[mqtt]
host = "127.0.0.1"
port = {port}
"""


def children_called(agent: int, name: str) -> list[int]:
    found = []
    for pid in family(agent)[1:]:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
    return found


def test_the_agent_goes_on_when_a_child_dies_and_leaves_none_when_it_is_killed(cli: Cli, tmp_path: Path) -> None:
    """Row 26: SIGSEGV to the face detector's process of a running agent: summaries go on, a new process; then the
    agent is killed: no orphan.
    """
    if not Mosquitto.available():
        pytest.skip("needs the Debian package mosquitto")
    base = "edge-agent/kiosk-1"
    with Mosquitto(tmp_path / "mosquitto") as broker, Subscriber(broker.port) as subscriber:
        config = tmp_path / "config.toml"
        config.write_text(CONFIG.format(port=broker.port))
        state = str(tmp_path / "state")
        agent = cli.start("run", "--config", str(config), EDGE_AGENT__DEVICE__STATE_DIR=state)
        try:
            subscriber.wait_for(f"{base}/summary", timeout=60)
            (first,) = children_called(agent.pid, "ea-face")
            os.kill(first, signal.SIGSEGV)
            deadline = time.monotonic() + 30
            while children_called(agent.pid, "ea-face") in ([], [first]):
                assert time.monotonic() < deadline, "no new process"
                time.sleep(0.1)
            count = len(subscriber.on(f"{base}/summary"))
            summary = subscriber.wait_for(f"{base}/summary", count=count + 2).json
            assert summary["seconds"] == 2
            (second,) = children_called(agent.pid, "ea-face")
            assert agent.poll() is None
        finally:
            agent.kill()
            output, _ = agent.communicate(timeout=10)
    assert "analyzer face: its process died of SIGSEGV; a new process in 0.5 s" in output
    assert "analyzer face: runs again" in output
    deadline = time.monotonic() + 5
    while Path(f"/proc/{second}").exists():
        assert time.monotonic() < deadline, "an orphan was left"
        time.sleep(0.05)
