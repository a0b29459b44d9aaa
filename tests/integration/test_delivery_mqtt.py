"""The delivery service against a real mosquitto: topics, order, live and late, retained state, commands, stopping."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from typing import Any

import pytest

from edge_agent.delivery import InboundMessage
from edge_agent.delivery.outbox import Outbox
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.event import Event
from tests.support.certificates import Authority
from tests.support.fixtures import MakeBroker, MakeDelivery
from tests.support.mosquitto import Mosquitto
from tests.support.payloads import key, validated
from tests.support.proxy import FaultProxy
from tests.support.scripted import ScriptedBroker
from tests.support.subscriber import Received, Subscriber
from tests.support.windows import a_summary

BASE = "edge-agent/kiosk-1/"
COUGH = Event("burst", "cough", 0.97, 3.1, 0.8)


def test_every_message_arrives_on_its_documented_topic(
    broker: Mosquitto, subscriber: Subscriber, make_delivery: MakeDelivery
) -> None:
    delivery = make_delivery(broker.port)
    delivery.publish_state("health", {"temperature": 51.5})
    delivery.submit_summary(a_summary(0.0))
    delivery.submit_event(COUGH, 1_780_000_003.1, "synced")
    summary = subscriber.wait_for(BASE + "summary")
    event = subscriber.wait_for(BASE + "event/burst")
    health = subscriber.wait_for(BASE + "health")
    assert (summary.retain, event.retain, health.retain) == (True, False, True)
    assert key(validated(summary.payload)) == ("kiosk-1", "b0071d00", 1)
    assert validated(event.payload)["label"] == "cough"
    assert "replayed" not in validated(event.payload)
    assert health.json == {"temperature": 51.5}
    assert subscriber.wait_for(BASE + "status").payload == b"online"
    assert subscriber.wait_for(BASE + "info").json == {"version": "0", "boot_id": "b0071d00", "expiry_s": 60 * 86_400}
    stats = delivery.stats()
    assert (stats.connected, stats.protocol, stats.trouble) == (True, "5", None)
    assert delivery.events.counts() == {"burst": {"cough": 1}}
    started = time.monotonic()
    delivery.stop(5.0)
    assert time.monotonic() - started < 3.0
    offline = subscriber.wait_for(BASE + "status", b"offline")
    assert offline.retain


def test_mosquitto_sub_reads_it_too(broker: Mosquitto, make_delivery: MakeDelivery) -> None:
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("needs mosquitto_sub (Debian: apt install mosquitto-clients)")
    delivery = make_delivery(broker.port)
    delivery.submit_summary(a_summary(0.0))
    command = ["mosquitto_sub", "-p", str(broker.port), "-t", BASE + "summary", "-C", "1", "-W", "15"]
    done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    assert validated(done.stdout)["seq"] == 1


def test_late_data_goes_to_backfill_in_order_and_live_data_before_it(
    broker: Mosquitto, subscriber: Subscriber, make_delivery: MakeDelivery, eventually: Any
) -> None:
    with FaultProxy(broker.port) as proxy:
        proxy.away = True
        clock = ManualClock()
        delivery = make_delivery(proxy.port, clock=clock)
        for k in range(40):
            delivery.submit_summary(a_summary(10.0 * k))
        delivery.submit_event(COUGH, 1_780_000_003.1, "synced")
        eventually(lambda: delivery.stats().outbox.pending == 41)
        clock.advance(600)
        proxy.away = False
        delivery.submit_summary(a_summary(600.0))
        live = subscriber.wait_for(BASE + "summary")
        subscriber.wait(lambda messages: sum("backfill" in m.topic for m in messages) == 41)
        late = [validated(m.payload) for m in subscriber.on(BASE + "backfill/summary")]
        assert validated(live.payload)["seq"] == 42
        assert "replayed" not in validated(live.payload)
        assert [document["seq"] for document in late] == list(range(1, 41))
        assert all(document["replayed"] for document in late)
        (event,) = subscriber.on(BASE + "backfill/event")
        assert validated(event.payload)["replayed"]
        assert not event.retain
        assert not any(m.retain for m in subscriber.on(BASE + "backfill/summary"))
        assert subscriber.on(BASE + "event/burst") == []
        eventually(lambda: delivery.stats().outbox.pending == 0)
        assert delivery.stats().outbox.balanced


def test_a_live_summary_does_not_wait_behind_the_backlog(
    make_broker: MakeBroker, make_delivery: MakeDelivery, eventually: Any
) -> None:
    """3,000 late rows, 10 ms each way: live messages submitted meanwhile pass them."""
    broker = make_broker()
    clock = ManualClock()
    with FaultProxy(broker.port) as proxy, Subscriber(broker.port) as subscriber:
        broker_down = make_delivery(1, clock=clock)  # nobody listens on port 1
        for k in range(3000):
            broker_down.submit_summary(a_summary(10.0 * k))
        eventually(lambda: broker_down.stats().outbox.pending == 3000)
        broker_down.stop(1.0)
        clock.advance(60_000)
        proxy.latency = 0.01
        delivery = make_delivery(proxy.port, clock=clock, boot_id="b2")
        subscriber.wait(lambda messages: sum("backfill" in m.topic for m in messages) > 100)
        delays = []
        for k in range(5):
            sent = time.monotonic()
            delivery.submit_summary(a_summary(60_000.0 + 10 * k))
            delays.append(subscriber.wait_for(BASE + "summary", count=k + 1).at - sent)
            clock.advance(1)
        assert len(subscriber.on(BASE + "backfill/summary")) < 3000, "the backlog was still there"
        assert max(delays) < 1.0
        assert [validated(m.payload)["seq"] for m in subscriber.on(BASE + "summary")] == [1, 2, 3, 4, 5]


def test_state_is_published_again_on_every_connection_the_latest_only(
    make_broker: MakeBroker, make_delivery: MakeDelivery, eventually: Any
) -> None:
    broker = make_broker()
    with Subscriber(broker.port) as subscriber:
        delivery = make_delivery(broker.port)
        delivery.publish_state("health", "one")
        delivery.publish_state("homeassistant/device/x/config", "discovery", absolute=True)
        subscriber.wait_for(BASE + "health", b"one")
        subscriber.wait_for("homeassistant/device/x/config", b"discovery")
        broker.stop()
        eventually(lambda: not delivery.stats().connected)
        delivery.publish_state("health", "two")
        delivery.publish_state("health", "three")
        broker.start()
        subscriber.wait_for(BASE + "health", b"three")
        subscriber.wait_for("homeassistant/device/x/config", b"discovery", count=2)
        subscriber.wait_for(BASE + "status", b"online", count=2)
        assert b"two" not in [m.payload for m in subscriber.on(BASE + "health")]


def test_commands_reach_their_handler_with_all_they_carry_and_are_answered(
    broker: Mosquitto, make_delivery: MakeDelivery
) -> None:
    with Subscriber(broker.port) as subscriber:
        subscriber.publish(BASE + "cmd/old", "stale", retain=True)
        delivery = make_delivery(broker.port)
        got: list[InboundMessage] = []
        threads: set[str] = set()

        def handle(message: InboundMessage) -> None:
            threads.add(threading.current_thread().name)
            got.append(message)
            delivery.reply(message, "cmd/privacy/response", {"ok": True})

        delivery.subscribe(BASE + "cmd/+", handle)
        subscriber.wait_for(BASE + "cmd/privacy/response")
        subscriber.publish(BASE + "cmd/privacy", "on", response_topic="answers/7", correlation=b"\x01\x02")
        subscriber.wait_for("answers/7")
        stale, fresh = got
        assert (stale.topic, stale.payload, stale.retain) == (BASE + "cmd/old", b"stale", True)
        assert (fresh.payload, fresh.retain) == (b"on", False)
        assert (fresh.response_topic, fresh.correlation) == ("answers/7", b"\x01\x02")
        assert threads == {"mqtt-inbound"}


def test_an_answer_that_cannot_be_published_costs_nothing(
    broker: Mosquitto, subscriber: Subscriber, make_delivery: MakeDelivery, eventually: Any
) -> None:
    """Some brokers pass on a request with a response topic that nobody may publish to."""
    delivery = make_delivery(broker.port)
    subscriber.wait_for(BASE + "status", b"online")
    for topic in ("answers/#", "a" * 70_000, "answers/+/x"):
        request = InboundMessage("cmd/x", b"", False, 0.0, response_topic=topic)
        delivery.reply(request, "cmd/x/response", "no")
    delivery.reply(InboundMessage("cmd/x", b"", False, 0.0), "cmd/x/response", "yes")
    subscriber.wait_for(BASE + "cmd/x/response", b"yes")
    eventually(lambda: delivery.stats().in_flight == 0)
    assert len(subscriber.on(BASE + "status")) == 1, "the connection stood"


def test_a_handler_that_hangs_or_raises_stops_nothing_and_the_queue_is_bounded(
    broker: Mosquitto, make_delivery: MakeDelivery, eventually: Any
) -> None:
    release, seen = threading.Event(), []

    def handle(message: InboundMessage) -> None:
        seen.append(message.payload)
        if len(seen) == 1:
            raise RuntimeError("on purpose")
        release.wait(30)

    with Subscriber(broker.port) as subscriber:
        delivery = make_delivery(broker.port)
        delivery.subscribe(BASE + "cmd/#", handle)
        eventually(lambda: delivery.stats().connected)
        for k in range(200):
            subscriber.publish(BASE + "cmd/flood", str(k))
        subscriber.publish(BASE + "cmd/huge", b"x" * 70_000)
        eventually(lambda: delivery.stats().inbound_dropped > 100)
        delivery.submit_summary(a_summary(0.0))
        subscriber.wait_for(BASE + "summary")
        release.set()
        eventually(lambda: len(seen) > 60)


def test_tls_with_a_client_certificate_and_a_password_file(
    make_broker: MakeBroker, make_delivery: MakeDelivery, tmp_path: Any
) -> None:
    authority = Authority(tmp_path / "ca")
    client = authority.issue("kiosk-1")
    broker = make_broker(password="correct horse", tls=authority.issue("127.0.0.1"), client_ca=authority.ca.cert)
    secret = tmp_path / "password"
    secret.write_text("correct horse\nignored\n", encoding="utf-8")
    tls = {
        "enabled": True,
        "ca_file": str(authority.ca.cert),
        "cert_file": str(client.cert),
        "key_file": str(client.key),
    }
    delivery = make_delivery(broker.port, username="agent", password_file=str(secret), tls=tls)
    delivery.submit_summary(a_summary(0.0))
    deadline = time.monotonic() + 20
    while delivery.stats().outbox.counters.acked < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert delivery.stats().connected, delivery.stats().trouble
    assert delivery.stats().outbox.counters.acked == 1


def test_the_systemd_credential_is_used(
    make_broker: MakeBroker, make_delivery: MakeDelivery, tmp_path: Any, monkeypatch: Any, eventually: Any
) -> None:
    broker = make_broker(password="from systemd")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "mqtt-password").write_text("from systemd\n", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    delivery = make_delivery(broker.port, username="agent")
    eventually(lambda: delivery.stats().connected)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_both_protocols_when_asked_for(
    broker: Mosquitto, subscriber: Subscriber, make_delivery: MakeDelivery, protocol: str
) -> None:
    delivery = make_delivery(broker.port, protocol=protocol)
    delivery.submit_summary(a_summary(0.0))
    subscriber.wait_for(BASE + "summary")
    assert delivery.stats().protocol == protocol


def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(make_delivery: MakeDelivery, eventually: Any) -> None:
    with ScriptedBroker(only_311=True) as broker:
        delivery = make_delivery(broker.port)
        delivery.submit_summary(a_summary(0.0))
        eventually(lambda: broker.on("/summary"))
        assert broker.protocols == [5, 4]
        eventually(lambda: delivery.stats().outbox.counters.acked == 1)
        assert delivery.stats().protocol == "3.1.1"


def test_submitting_never_blocks_without_a_broker_and_with_a_busy_disk(
    make_delivery: MakeDelivery, eventually: Any
) -> None:
    delivery = make_delivery(1)
    slowest = 0.0
    for k in range(500):
        started = time.perf_counter()
        delivery.submit_summary(a_summary(10.0 * k))
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < 0.5
    eventually(lambda: delivery.stats().outbox.pending == 500)
    assert not delivery.stats().connected


def test_switched_off_means_nothing_stored_and_nothing_sent(make_delivery: MakeDelivery, tmp_path: Any) -> None:
    delivery = make_delivery(1, enabled=False)
    delivery.submit_summary(a_summary(0.0))
    delivery.publish_state("health", "x")
    assert delivery.stats().outbox is None
    delivery.stop()
    assert not (tmp_path / "state").exists()


def test_what_was_submitted_just_before_stopping_is_kept(
    broker: Mosquitto, make_delivery: MakeDelivery, subscriber: Subscriber
) -> None:
    delivery = make_delivery(broker.port)
    subscriber.wait_for(BASE + "status", b"online")
    for k in range(10):
        delivery.submit_summary(a_summary(10.0 * k))
    delivery.stop(5.0)

    def all_ten(messages: list[Received]) -> bool:
        return sum(m.topic == BASE + "summary" for m in messages) == 10

    subscriber.wait(all_ten)
    offline = make_delivery(1, boot_id="b2")
    for k in range(10):
        offline.submit_summary(a_summary(10.0 * k))
    offline.stop(2.0)
    again = make_delivery(1, boot_id="b3")
    assert again.stats().outbox.pending == 10


def test_what_is_submitted_while_the_thread_is_busy_is_kept_by_a_stop(
    make_delivery: MakeDelivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, released, maintain = threading.Event(), threading.Event(), Outbox.maintain

    def slow(outbox: Outbox) -> None:
        busy.set()
        assert released.wait(10)
        maintain(outbox)

    monkeypatch.setattr(Outbox, "maintain", slow)
    delivery = make_delivery(1)
    assert busy.wait(10)
    for k in range(10):
        delivery.submit_summary(a_summary(10.0 * k))
    stopper = threading.Thread(target=delivery.stop)
    stopper.start()
    time.sleep(0.1)  # it waits for the thread now
    released.set()
    stopper.join(10)
    assert make_delivery(1, boot_id="b2").stats().outbox.pending == 10
