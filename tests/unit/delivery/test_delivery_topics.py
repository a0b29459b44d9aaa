"""MQTT topics and topic filters."""

from __future__ import annotations

import pytest

from edge_agent.delivery import topics
from edge_agent.domain.errors import ConfigError


def test_topics_lie_below_prefix_and_device() -> None:
    names = topics.Topics("shop/edge-agent/", "kiosk-1")
    assert names.full(topics.STATUS) == "shop/edge-agent/kiosk-1/status"
    assert names.full(topics.backfill("event")) == "shop/edge-agent/kiosk-1/backfill/event"
    assert names.relative("shop/edge-agent/kiosk-1/cmd/privacy") == "cmd/privacy"
    assert names.relative("shop/edge-agent/kiosk-2/cmd/privacy") is None


@pytest.mark.parametrize(
    ("kind", "topic"), [("burst", "event/burst"), ("a/b#+", "event/a-b-"), ("", "event/-"), ("ünï", "event/-n-")]
)
def test_event_kinds_cannot_leave_their_level(kind: str, topic: str) -> None:
    assert topics.event(kind) == topic


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matching"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("+/+", "a/b/c", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
    ],
)
def test_filters(topic_filter: str, topic: str, matching: bool) -> None:
    assert topics.matches(topic_filter, topic) is matching


def test_prefixes_may_end_in_a_slash_wherever_topics_are_built() -> None:
    assert topics.of_device("home/edge/", "+") == "home/edge/+/#"
    assert topics.discovery("homeassistant/", "device", "kiosk-1") == "homeassistant/device/kiosk-1/config"
    assert topics.birth("homeassistant/") == "homeassistant/status"


@pytest.mark.parametrize("device", ["#", "", "a/b", "++", "a+", "ä", "a" * 65, "a\n"])
def test_an_invalid_device_id_is_refused_in_one_line(device: str) -> None:
    with pytest.raises(ConfigError, match="no device id"):
        topics.of_device("edge-agent", device)


@pytest.mark.parametrize("topic_filter", ["", "a/#/b", "a#", "+a", "a/b+/c", "##", "a\0"])
def test_invalid_topic_filters_are_refused(topic_filter: str) -> None:
    with pytest.raises(ValueError, match="no topic filter"):
        topics.check_filter(topic_filter)


def test_valid_topic_filters_are_accepted() -> None:
    for topic_filter in ("#", "+", "a/+/b/#", "+/+", "$SYS/#", "/"):
        assert topics.check_filter(topic_filter) == topic_filter
