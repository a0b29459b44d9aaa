"""Reports of devices made from what brokers keep: ages, states, versions, groups, and devices that talk nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cli.fleet import ago
from edge_agent.delivery.link import InboundMessage
from edge_agent.fleet.operations import config_differences
from edge_agent.fleet.registry import DeviceReport, parse_group, reports, version_key

WALL = 1_780_000_000.0
AT = "2026-05-28T20:26:40.000Z"
"""``WALL``."""


def said(topic: str, payload: Any, *, waited: int | None = None, retain: bool = True) -> InboundMessage:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    aged = {} if waited is None else {"expiry_s": 90 - waited, "about": (("expiry_s", "90"),)}
    return InboundMessage(f"edge-agent/k/{topic}", data, retain, 0.0, **aged)


def one(*messages: InboundMessage) -> DeviceReport:
    (report,) = reports(messages, "edge-agent", WALL)
    return report


@pytest.mark.parametrize(
    ("messages", "state", "seen"),
    [
        ([said("status", b"online", waited=10)], "online", 10.0),
        ([said("status", b"online", waited=10), said("health", {}, waited=70)], "online", 10.0),
        ([said("status", b"online", retain=False)], "online", 0.0),
        ([said("status", b"offline"), said("health", {}, waited=70)], "offline", 70.0),
        ([said("health", {}, waited=70)], "silent", 70.0),
        ([said("status", b"nonsense")], "silent", None),
        # MQTT 3.1.1: no age but the clocks
        ([said("status", b"online")], "online", None),
        ([said("status", b"online"), said("health", {"at": AT})], "online", 0.0),
        ([said("status", b"online"), said("health", {"at": AT.replace("28T20", "28T19")})], "silent", 3600.0),
        ([said("status", b"online"), said("health", {"at": "9999-99"})], "online", None),
    ],
)
def test_states_and_ages(messages: list[InboundMessage], state: str, seen: float | None) -> None:
    report = one(*messages)
    assert (report.state, report.seen_s) == (state, seen)


def test_the_oldest_message_is_compared_with_the_clock_of_its_device() -> None:
    health = {"at": AT, "delivery": {"outbox": {"pending": 3, "oldest": WALL - 60}}}
    assert (one(said("health", health)).backlog, one(said("health", health)).oldest_s) == (3, 60.0)


anything = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("version", "name", "site", "labels", "config", "status", "problems", "delivery", "at", "options", "hardware")


@given(st.sampled_from(["info", "health", "config"]), st.dictionaries(st.sampled_from(FIELDS), anything))
def test_nonsense_of_a_device_counts_as_not_said(topic: str, document: dict[str, Any]) -> None:
    report = one(said(topic, document))
    json.dumps(report.as_dict())
    assert all(isinstance(text, str) for text in (report.version, report.site, *report.labels.values()))


@pytest.mark.parametrize("payload", [b"", b"[" * 100_000, b"\xff", b"null", b"7"])
def test_what_is_no_document_tells_nothing(payload: bytes) -> None:
    found = reports([said("info", payload), said("other", b"{}")], "edge-agent", WALL)
    assert [report.version for report in found] == ([""] if payload else [])


def test_versions_are_sorted_by_number() -> None:
    rising = ["", "0.2.0", "0.9.1", "0.10.0rc1", "0.10.0", "0.10.0.1", "1.0", "2"]
    assert sorted(rising, key=version_key) == rising
    assert version_key("0.2.0+local") == version_key("0.2.0")


@pytest.mark.parametrize(
    ("group", "holds"),
    [
        ("all", True),
        ("k", True),
        ("j", False),
        ("device=k*", True),
        ("site=Köln Mitte,floor=2", True),
        ("site=Köln Mitte, floor=3", False),
        ("kind=kiosk", False),
        ("version=0.2.*", True),
    ],
)
def test_groups(group: str, holds: bool) -> None:
    report = DeviceReport("k", "online", site="Köln Mitte", labels={"floor": "2"}, version="0.2.0")
    assert parse_group(group).holds(report) is holds


def test_differences_fall_back_to_hashes_where_one_device_keeps_its_options_back() -> None:
    open_ = DeviceReport("a", "online", config_hash="1", tables={"mqtt": "x", "log": "y"}, options={"mqtt.port": 1})
    closed = DeviceReport("b", "online", config_hash="2", tables={"mqtt": "z", "log": "y"})
    (found,) = config_differences([open_, closed])
    assert (found.what, found.values, found.hashed) == ("mqtt", {"a": "x", "b": "z"}, True)
    assert config_differences([open_, open_]) == []


def test_how_long_ago() -> None:
    told = [ago(s) for s in (None, 0.0, 59.0, 60.0, 119.0, 3600.0, 7200.0, 86_400.0, 200_000.0)]
    assert told == ["", "now", "now", "1 min", "2 min", "60 min", "2 h", "24 h", "2 d"]
