"""What makes many devices one fleet, over real mosquittos: site and labels, and the age of messages."""

from __future__ import annotations

import time
from typing import Any

from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.mqtt import listening
from edge_agent.settings import MqttSettings
from tests.support.fixtures import MakeBroker, MakeDelivery
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.payloads import validated
from tests.support.subscriber import Subscriber
from tests.support.windows import a_summary

BASE = "edge-agent/kiosk-1/"


def test_what_waited_keeps_the_place_of_its_time(
    make_broker: MakeBroker, make_delivery: MakeDelivery, eventually: Any
) -> None:
    """A device is moved while messages wait: payload and user properties of each agree."""
    port = free_port()
    before = make_delivery(port, boot_id="b0071d01", device={"site": "Köln", "labels": {"floor": "2"}})
    before.submit_summary(a_summary(0.0))
    eventually(lambda: before.stats().outbox.pending == 1)
    before.stop(1.0)
    with Subscriber(make_broker(port=port).port) as subscriber:
        after = make_delivery(port, boot_id="b0071d02", device={"site": "Bonn"})
        after.submit_summary(a_summary(0.0))
        late, live = subscriber.wait_for(BASE + "backfill/summary"), subscriber.wait_for(BASE + "summary")
        info = subscriber.wait_for(BASE + "info")
        status = subscriber.wait_for(BASE + "status")
    old, new = validated(late.payload), validated(live.payload)
    assert (old["site"], old["labels"], new["site"], new.get("labels")) == ("Köln", {"floor": "2"}, "Bonn", None)
    assert late.about[:2] == (("site", "Köln"), ("label_floor", "2"))
    assert live.about[0] == info.about[0] == status.about[0] == ("site", "Bonn")
    assert info.json["site"] == "Bonn"


def test_the_last_will_says_where_the_device_was(broker: Mosquitto, make_delivery: MakeDelivery) -> None:
    with Subscriber(broker.port) as subscriber:
        delivery = make_delivery(broker.port, device={"site": "Bonn"})
        subscriber.wait_for(BASE + "status", b"online")
        delivery._link.drop("cut")  # without DISCONNECT
        will = subscriber.wait_for(BASE + "status", b"offline")
    assert will.about == (("site", "Bonn"),)


def test_a_subscriber_reads_the_age_of_a_message(broker: Mosquitto, make_delivery: MakeDelivery) -> None:
    """The broker keeps the summary; who comes later is told how long, without a clock of its own."""
    delivery = make_delivery(broker.port)
    with Subscriber(broker.port) as early:
        delivery.submit_summary(a_summary(0.0))
        early.wait_for(BASE + "summary")
        time.sleep(2.1)  # what is shown is how long it waited
    heard: list[InboundMessage] = []
    with listening(MqttSettings(host="127.0.0.1", port=broker.port), BASE + "#", heard.append):
        deadline = time.monotonic() + 20
        while not (found := [m for m in list(heard) if m.topic == BASE + "summary"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert found[0].waited_s in (2, 3)
    assert InboundMessage("a", b"", False, 0.0, expiry_s=5).waited_s is None
    assert InboundMessage("a", b"", False, 0.0, expiry_s=5, about=(("expiry_s", "x"),)).waited_s is None
    assert InboundMessage("a", b"", False, 0.0, about=(("expiry_s", "9"),)).waited_s is None
