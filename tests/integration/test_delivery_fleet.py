"""What makes many devices one fleet, over real mosquittos: site and labels, and the age of messages."""

from __future__ import annotations

import time
from typing import Any

import pytest

from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.mqtt import listening
from edge_agent.settings import MqttSettings
from tests.support.fixtures import MakeBroker, MakeDelivery
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.payloads import validated
from tests.support.proxy import FaultProxy
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


def _numbers(subscriber: Subscriber) -> list[int]:
    """``seq`` of the summaries in the order of their first arrival."""
    found = [validated(m.payload)["seq"] for m in list(subscriber.messages) if m.topic.endswith("summary")]
    return list(dict.fromkeys(found))


def test_the_next_broker_gets_what_the_first_did_not_and_the_first_comes_first_again(
    make_broker: MakeBroker, make_delivery: MakeDelivery, eventually: Any
) -> None:
    """The way to the first of two brokers is cut while messages are published: none is lost, the order is kept."""
    first, second = make_broker(), make_broker()
    with FaultProxy(first.port) as way, Subscriber(first.port) as one, Subscriber(second.port) as two:
        delivery = make_delivery(1, hosts=[f"127.0.0.1:{port}" for port in (way.port, second.port)], return_s=1)
        for k in range(120):
            delivery.submit_summary(a_summary(10.0 * k))
            if k == 60:
                one.wait(lambda _: len(_numbers(one)) > 20)
                way.away = True
                way.cut()
        two.wait(lambda _: {*_numbers(one), *_numbers(two)} == set(range(1, 121)))
        assert (delivery.stats().rank, delivery.stats().broker) == (1, f"127.0.0.1:{second.port}")
        assert _numbers(one) == sorted(_numbers(one))
        assert _numbers(two) == sorted(_numbers(two))
        way.away = False
        eventually(lambda: delivery.stats().connected and delivery.stats().rank == 0)
        delivery.submit_summary(a_summary(1200.0))
        one.wait(lambda _: 121 in _numbers(one))


def test_a_broker_that_is_left_on_purpose_publishes_no_last_will(
    make_broker: MakeBroker, make_delivery: MakeDelivery, eventually: Any
) -> None:
    port, second = free_port(), make_broker()
    with Subscriber(second.port) as two:
        delivery = make_delivery(1, hosts=[f"127.0.0.1:{port}", f"127.0.0.1:{second.port}"], return_s=1)
        two.wait_for(BASE + "status", b"online")
        with Subscriber(make_broker(port=port).port) as one:
            one.wait_for(BASE + "status", b"online")
            eventually(lambda: delivery.stats().rank == 0 and delivery.stats().connected)
        assert {m.payload for m in two.on(BASE + "status")} == {b"online"}


@pytest.mark.parametrize("topic", ["status", "presence"])
def test_what_holds_only_now_is_repeated_and_expires(
    broker: Mosquitto, make_delivery: MakeDelivery, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that hears no more of a device, whatever cut it off, forgets that it is online and who is there."""
    monkeypatch.setattr("edge_agent.delivery.service.BEAT_S", 0.5)
    monkeypatch.setattr("edge_agent.delivery.service.BEAT_EXPIRES_S", 2)
    with Subscriber(broker.port) as subscriber:
        delivery = make_delivery(broker.port)
        delivery.publish_now("presence", {"count": 1})
        assert subscriber.wait_for(BASE + topic, count=2).expiry == 2
    with Subscriber(broker.port) as late:
        late.wait_for(BASE + topic)


def test_info_says_who_it_is_also_when_it_changes(broker: Mosquitto, make_delivery: MakeDelivery) -> None:
    with Subscriber(broker.port) as subscriber:
        delivery = make_delivery(broker.port)
        subscriber.wait_for(BASE + "info")
        delivery.update_info({"version": "1"})
        told = subscriber.wait_for(BASE + "info", count=2).json
    assert (told["version"], told["boot_id"], told["expiry_s"]) == ("1", "b0071d00", 5_184_000)


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
