"""The health document: what is wrong is named, and what was switched off is not wrong."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.app.health import Vitals, document, problems
from edge_agent.capture import SourceStatus
from edge_agent.plugin.manager import PluginReport, Status
from edge_agent.plugin.running import Use
from edge_agent.plugin.spec import Kind
from edge_agent.runtime.machine import ProcessUse, process_use
from edge_agent.runtime.supervisor import ComponentHealth

FINE: dict[str, Any] = {
    "uptime_s": 12.4,
    "components": [ComponentHealth("camera", True, 1, 0.1, "")],
    "stale": [],
    "sources": {"camera": SourceStatus(True, 0, "")},
    "plugins": [PluginReport("face", "face", "detector", Status.ENABLED)],
    "process": process_use(),
    "delivery": {"connected": True},
}


def test_when_all_is_well_nothing_is_wrong() -> None:
    told = document(Vitals(**FINE, commands={"done": 3}))
    assert (told["status"], told["problems"], told["uptime_s"]) == ("ok", [], 12)
    assert told["commands"] == {"done": 3}
    assert told["replaced"] == {}
    assert told["sources"]["camera"] == {"available": True, "reopens": 0, "off": False, "unknown": None}


def test_processes_of_analyzers_that_were_replaced_are_counted() -> None:
    replaced = PluginReport("pose", "acme", "scene", Status.ENABLED, replaced=2)
    told = document(Vitals(**{**FINE, "plugins": [*FINE["plugins"], replaced]}))
    assert (told["status"], told["replaced"]) == ("ok", {"pose": 2})


def test_events_are_counted_by_kind_and_label() -> None:
    assert "events" not in document(Vitals(**FINE))
    counted = {"burst": {"laughter": 2}}
    assert document(Vitals(**FINE, events=counted))["events"] == counted


@pytest.mark.parametrize(
    ("kind", "use", "named"),
    [
        (Kind.SCENE, Use(10, 2.5, 3.0, 0.9), True),
        (Kind.FACE, Use(15, 0.3, 3.0, 0.9), False),  # a slow machine, not a slow analyzer
        (Kind.DETECTOR, Use(2, 2.5, 3.0, 0.1), False),
        (Kind.AUDIO, Use(300, 0.09, 0.2, 0.9), True),
        (Kind.AUDIO, Use(300, 0.02, 0.2, 0.2), False),
    ],
)
def test_the_analyzer_that_takes_the_time_of_the_others_is_named(kind: Kind, use: Use, named: bool) -> None:
    told = document(Vitals(**FINE, analyzers={"acme": (kind, use), "face": (Kind.DETECTOR, Use(9, 0.01, 0.02, 0.01))}))
    assert [line.startswith("plugin acme: slow") for line in told["problems"]] == [True] * named
    assert told["analyzers"]["acme"]["mean_ms"] == pytest.approx(1000 * use.mean_s)


def test_a_lost_source_is_a_problem_and_one_that_was_switched_off_is_none() -> None:
    lost = {**FINE, "sources": {"camera": SourceStatus(False, 2, "unplugged")}}
    assert problems(Vitals(**lost, unknown={"camera": "missing"})) == ["camera: unplugged"]
    for why in ("off", "paused", "privacy", "schedule"):
        told = document(Vitals(**lost, unknown={"camera": why}))
        assert (told["status"], told["sources"]["camera"]["off"]) == ("ok", True)
        assert told["sources"]["camera"]["unknown"] == why


def test_a_source_that_is_being_opened_is_no_problem() -> None:
    """M5: the first health said "microphone: not available" for 30 s after each start."""
    opening = {**FINE, "sources": {"microphone": SourceStatus(False, 0, "")}}
    told = document(Vitals(**opening, unknown={"microphone": "starting"}))
    assert (told["status"], told["problems"]) == ("starting", [])
    worse = document(Vitals(**opening, unknown={"microphone": "starting"}, config_problem="no"))
    assert worse["status"] == "degraded"


def test_every_other_problem_is_reported() -> None:
    bad = {
        **FINE,
        "stale": ["vision"],
        "plugins": [
            PluginReport("x", "x", "face", Status.CRASHED, "boom"),
            PluginReport("y", "y", "", Status.DISABLED),
        ],
        "process": ProcessUse(
            **{
                **_fields(process_use()),
                "descriptors": 95,
                "descriptor_limit": 100,
                "rss_mb": 330.0,
                "memory_limit_mb": 400.0,
            }
        ),
    }
    found = problems(Vitals(**bad, config_problem="line 3: no\nline 4: no", choice_problem="not written"))
    assert found == [
        "config: line 3: no",
        "config: line 4: no",
        "choices: not written",
        "vision: no heartbeat",
        "plugin x: crashed: boom",
        "process: 95 of 100 file descriptors in use",
        "process: 330 of 400 MB of memory in use",
    ]
    assert document(Vitals(**bad))["status"] == "degraded"


def test_problems_of_delivery_are_reported() -> None:
    delivery = {
        "client_id_in_use": True,
        "refusals": ("the broker refuses a/b: not authorised (0x87)",),
        "namesakes": ("another agent (boot_id 'b2') publishes as this device",),
        "enabled": True,
        "connected": False,
        "trouble": "h:1883: timed out",
        "outbox": {"degraded": "disk I/O error"},
        "sinks": {"jsonl": {"written": 0, "trouble": "OSError: no space"}, "fine": {"written": 3, "trouble": None}},
    }
    found = problems(Vitals(**{**FINE, "delivery": delivery}))
    assert [line.split(":")[0] for line in found] == ["outbox", "mqtt", "mqtt", "mqtt", "mqtt", "sink jsonl"]
    assert "mqtt: no connection: h:1883: timed out" in found
    connected = delivery | {"connected": True}
    assert not any("no connection" in line for line in problems(Vitals(**{**FINE, "delivery": connected})))


def _fields(use: ProcessUse) -> dict[str, Any]:
    return {name: getattr(use, name) for name in ProcessUse.__dataclass_fields__}
