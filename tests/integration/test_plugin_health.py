"""A stranger's analyzer in a running agent: named when it is slow, published what it tells, seen when it crashes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.live_agent import BASE, live

PLUGIN = """
import time
from pathlib import Path
from edge_agent.domain.event import Event
from edge_agent.domain.observation import Observation
from edge_agent.plugin import AnalyzerSpec, Kind, SceneAnalyzer, hookimpl


class Slow(SceneAnalyzer):
    def analyze(self, frame):
        time.sleep(0.7)
        if Path({stop!r}).exists():
            raise ValueError("out of paper")
        return [Observation("door", {{"opened": 3.0}}, frame.time), Event("door", "opened", 0.9, frame.time, 0.5)]


@hookimpl
def edge_agent_register_analyzers():
    return [AnalyzerSpec("acme_door", Kind.SCENE, "a door", factory=lambda settings, context: Slow())]
"""


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs the Debian package mosquitto")
def test_a_slow_analyzer_is_named_its_events_published_and_its_crash_reported(tmp_path: Path) -> None:
    site, stop = tmp_path / "site", tmp_path / "stop"
    (site / "acme-1.0.dist-info").mkdir(parents=True)
    (site / "acme_door.py").write_text(PLUGIN.format(stop=str(stop)))
    (site / "acme-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (site / "acme-1.0.dist-info" / "entry_points.txt").write_text("[edge_agent]\nacme_door = acme_door\n")
    more = '[plugins]\nallow = ["acme_door"]\n[models]\nauto_pull = false\n'
    with live(tmp_path, more=more, python_path=site) as agent:
        heard = agent.subscriber
        assert heard is not None

        def told(topic: str, holds: Callable[[Any], object]) -> Any:
            """The first document on ``topic`` for which ``holds``; the agent is asked to report meanwhile."""
            for _ in range(60):
                heard.publish(f"{BASE}/cmd/status", "{}")
                with contextlib.suppress(AssertionError):
                    return heard.wait(lambda m: [d.json for d in m if d.topic == topic and holds(d.json)], 1.0)[0]
            raise AssertionError(f"not told on {topic}: {heard.on(topic)[-1].json}")

        assert told(f"{BASE}/event/door", bool)["label"] == "opened"
        _, summary = agent.summary(lambda s: "door.opened" in s.get("measures", {}))
        door = summary["measures"]["door.opened"]
        assert door["sum"] == 3 * door["n"]
        slow = told(f"{BASE}/health", lambda d: any("slow" in p for p in d["problems"]))
        (line,) = [p for p in slow["problems"] if p.startswith("plugin acme_door: slow: ")]
        assert float(line.split()[3]) >= 0.5
        assert slow["analyzers"]["acme_door"]["mean_ms"] >= 500
        stop.touch()
        told(f"{BASE}/info", lambda d: d["analyzers"]["acme_door"] == "crashed")
        crashed = told(f"{BASE}/health", lambda d: any("crashed" in p for p in d["problems"]))
        assert [p for p in crashed["problems"] if "ValueError: out of paper (site/acme_door.py:13)" in p]
