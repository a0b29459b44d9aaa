"""A running agent measures how long a picture takes to be looked at, and converts no picture that nobody looks at."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder
from edge_agent.capture.picture import Picture
from edge_agent.domain.media import Frame
from edge_agent.domain.summary import StreamSums, Summary
from edge_agent.runtime.lifecycle import Stop
from edge_agent.settings import ConfigText
from tests.support.recordings import write


def run_until(folder: Path, monkeypatch: pytest.MonkeyPatch, camera: str, looks: int) -> list[StreamSums]:
    """Run an agent on ``camera`` until one window has more than ``looks`` looks; the stream of each window."""
    text = (
        f'[device]\nid = "kiosk-1"\nstate_dir = "{folder}"\n[plugins]\nallow = ["quality", "face"]\n'
        f'[camera]\n{camera}\n[microphone]\nsource = "none"\n[mqtt]\nhost = "127.0.0.1"\nport = 1\n'
        "[summary]\nwindow_s = 2\n"
    )
    config = ConfigText("test", text)
    settings = config.settings()
    builder = PipelineBuilder(config, settings)
    builder.activate()
    told: list[StreamSums] = []
    stop, enough = Stop(), threading.Event()

    def on_summary(summary: Summary) -> None:
        told.append(summary.window.stream)
        if told[-1].analysed > looks:
            enough.set()

    monkeypatch.setattr(builder.plugins, "on_summary", on_summary)
    running = threading.Thread(target=Agent(settings, builder).run, args=(stop,))
    running.start()
    try:
        assert enough.wait(30)
    finally:
        stop.request("the test is over")
        running.join(10)
    return told


def test_latency_is_measured_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = max(run_until(tmp_path, monkeypatch, 'source = "demo"', 2), key=lambda one: one.analysed)
    assert 0.0 < stream.latency / stream.analysed <= stream.slowest < 2.0


def test_pictures_between_two_looks_are_not_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write(tmp_path / "room.mp4", ((n / 20, np.full((120, 160, 3), 90, np.uint8)) for n in range(60)), fps=20)
    converted, real = [], Picture.to_frame

    def to_frame(picture: Picture, time: float, *, live: bool = False) -> Frame | None:
        converted.append(time)
        return real(picture, time, live=live)

    monkeypatch.setattr(Picture, "to_frame", to_frame)
    streams = run_until(tmp_path / "state", monkeypatch, f'source = "{film}"\nloop = true', 2)
    looks, captured = sum(one.analysed for one in streams), sum(one.captured for one in streams)
    assert captured > 3 * looks, "a still room is looked at twice a second"
    assert len(converted) <= looks + 3, "one may be under way at the end, and one more at each start"
    assert sum(one.dropped for one in streams) <= captured / 4
