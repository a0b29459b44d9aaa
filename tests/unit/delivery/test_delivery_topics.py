"""Topic names and filters."""

from __future__ import annotations

import pytest

from edge_agent.delivery import topics


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
