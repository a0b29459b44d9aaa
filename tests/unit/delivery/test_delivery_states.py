"""State topics over a real broker: published after reconnects and on refresh, and not once forgotten."""

from __future__ import annotations

from typing import Any

from tests.support.fixtures import MakeDelivery
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Subscriber


def count(messages: list[Any], topic: str) -> int:
    return sum(message.topic == topic for message in messages)


def test_states_are_refreshed_and_removed(
    make_delivery: MakeDelivery, broker: Mosquitto, subscriber: Subscriber
) -> None:
    delivery = make_delivery(broker.port)
    delivery.publish_state("ha/kept", b"1", absolute=True)
    delivery.publish_state("ha/gone", b"", absolute=True)
    subscriber.wait_for("ha/kept")
    subscriber.wait_for("ha/gone")
    delivery.publish_state("ha/kept", b"1", absolute=True)  # the same value again is no news
    delivery.refresh_state("ha/kept")
    delivery.refresh_state("ha/unknown")
    subscriber.wait_for("ha/kept", count=2)
    delivery.forget_state("ha/gone")
    broker.restart()
    subscriber.wait_for("edge-agent/kiosk-1/status", b"online", count=2, timeout=40)
    subscriber.wait(lambda messages: count(messages, "ha/kept") >= 3)
    assert count(subscriber.messages, "ha/gone") == 1
    assert count(subscriber.messages, "ha/unknown") == 0
