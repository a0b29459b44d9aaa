"""While the process of an isolated detector is being replaced, the camera counts as not watched, not as empty."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.analysis.lanes import VisionLane
from edge_agent.analysis.pacing import Bounds
from edge_agent.capture import iter_media
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import UNSEARCHED, VisionReport
from edge_agent.domain.retry import Budget
from edge_agent.models import ModelStore
from edge_agent.plugin import AnalyzerContext
from edge_agent.plugin.isolation import ChildLimits, IsolatedAnalyzer, isolate
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.summary.window import WindowBuilder

FPS = 5.0
LIMITS = ChildLimits(start=60.0, budget=Budget(first=0.2))


def two_people(media: Path) -> Frame:
    return next(item for item in iter_media(media) if isinstance(item, Frame) and item.time > 6.0)


class _Watch:
    """One picture, again and again, in the pictures' own time."""

    def __init__(self, lane: VisionLane, still: Frame) -> None:
        self._lane, self._still, self._now = lane, still, 0.0
        self.builder = WindowBuilder(0.0, 1e6)
        self.reports: list[VisionReport] = []

    def look(self, seconds: float) -> None:
        for _ in range(round(seconds * FPS)):
            self._now += 1 / FPS
            report = self._lane.offer(replace(self._still, time=self._now, index=round(self._now * FPS)))
            if report:
                self.reports.append(report)
                self.builder.vision(report)


@pytest.mark.parametrize("bounds", [Bounds.at(FPS), Bounds.of("standard")], ids=["fixed", "adaptive"])
def test_a_detector_between_two_processes_has_not_looked(bounds: Bounds, media: Path, model_store: ModelStore) -> None:
    """Row 26: SIGKILL to the face detector's process: until the next is ready the time counts as not watched, not as
    an empty room.
    """
    (entry_point,) = importlib.metadata.entry_points(group="edge_agent", name="face")
    (spec,) = entry_point.load().edge_agent_register_analyzers()
    made = isolate(spec, entry_point.value, LIMITS).factory(spec.settings(), AnalyzerContext(model_store))
    assert isinstance(made, IsolatedAnalyzer)
    crashes: list[str] = []
    active = ActiveAnalyzer(spec, made, crashes.append)
    watch = _Watch(VisionLane([active], bounds), two_people(media / "kiosk.mp4"))
    watch.look(6.0)
    assert made.pid
    os.kill(made.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    watch.look(6.0)
    while not watch.reports[-1].faces:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        watch.look(1.0)
    watch.look(6.0)
    active.close()

    reports = watch.reports
    away = [report for report in reports if UNSEARCHED in report.flags]
    assert away
    assert not crashes
    assert not any(report.faces for report in away)
    assert {len(report.faces) for report in reports[-5:]} == {2}
    assert not reports[-1].flags
    window = watch.builder.flush(reports[-1].time)
    assert window
    assert UNSEARCHED in window.stream.flags
    lost = away[-1].time - away[0].time
    assert lost > 1.0
    assert window.faces.seconds <= reports[-1].time - lost
    assert window.faces.person_seconds / window.faces.seconds == pytest.approx(2.0, abs=0.25)
