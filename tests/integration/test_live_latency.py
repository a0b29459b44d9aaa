"""A running agent measures how long a picture takes from its capture to what was found in it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder
from edge_agent.domain.summary import Summary
from edge_agent.runtime.lifecycle import Stop
from edge_agent.settings import ConfigText


def test_latency_is_measured_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        f'[device]\nid = "kiosk-1"\nstate_dir = "{tmp_path}"\n[plugins]\nallow = ["quality"]\n'
        '[camera]\nsource = "demo"\n[microphone]\nsource = "none"\n[mqtt]\nhost = "127.0.0.1"\nport = 1\n'
        "[summary]\nwindow_s = 2\n"
    )
    config = ConfigText("test", text)
    settings = config.settings()
    builder = PipelineBuilder(config, settings)
    builder.activate()
    told: list[Summary] = []
    stop, enough = Stop(), threading.Event()

    def on_summary(summary: Summary) -> None:
        told.append(summary)
        if summary.window.stream.analysed > 2:
            enough.set()

    monkeypatch.setattr(builder.plugins, "on_summary", on_summary)
    running = threading.Thread(target=Agent(settings, builder).run, args=(stop,))
    running.start()
    try:
        assert enough.wait(30)
    finally:
        stop.request("the test is over")
        running.join(10)
    stream = told[-1].window.stream if told[-1].window.stream.analysed > 2 else told[-2].window.stream
    assert 0.0 < stream.latency / stream.analysed <= stream.slowest < 2.0
