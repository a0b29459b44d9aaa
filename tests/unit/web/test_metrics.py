"""Metrics of what is known, and none of what is not."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.domain.summary import FaceSums, Presence, Summary, Window
from edge_agent.live.bus import EventBus
from edge_agent.payloads.rendering import presence_document, summary_document
from edge_agent.web import metrics


def samples(window: Window, presence: Presence) -> dict[str, Any]:
    bus = EventBus()
    bus.publish("summary", summary_document(Summary(0.0, "synced", window), "kiosk-1", "b", 1))
    bus.publish("presence", presence_document(presence, "kiosk-1"))
    text = metrics.render(bus).decode()
    return {
        s.name + "".join(f" {label}" for label in s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_an_empty_scene_is_zero_people() -> None:
    found = samples(Window(0, 10, FaceSums(seconds=10.0)), Presence(0))
    assert (found["edge_agent_people"], found["edge_agent_people_max"], found["edge_agent_people_in_view"]) == (0, 0, 0)
    assert not [name for name in found if "unknown" in name]


def test_what_is_unknown_has_no_sample_but_a_reason() -> None:
    window = Window(0, 10, unseen={"paused": 7.0, "covered": 3.0}, unheard={"paused": 7.0})
    found = samples(window, Presence(None, "covered"))
    assert not [name for name in found if "people" in name and "unknown" not in name]
    assert {name: value for name, value in found.items() if "unknown" in name} == pytest.approx(
        {
            "edge_agent_unknown_seconds people paused": 7.0,
            "edge_agent_unknown_seconds people covered": 3.0,
            "edge_agent_unknown_seconds sounds paused": 7.0,
        }
    )
