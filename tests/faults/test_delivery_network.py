"""Faults between the agent and its broker: delivery's part of rows 12 to 20, 28 and 34 of the fault table."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.delivery import flow_control
from edge_agent.delivery.mqtt import Dispatcher
from edge_agent.domain.clock import ManualClock
from tests.support.certificates import Authority
from tests.support.drain import drain, fill, measure
from tests.support.fixtures import MakeBroker, MakeDelivery
from tests.support.mosquitto import Mosquitto
from tests.support.outboxes import query
from tests.support.payloads import key, validated
from tests.support.proxy import FaultProxy
from tests.support.scripted import Publish, ScriptedBroker
from tests.support.subscriber import Received, Subscriber
from tests.support.windows import a_summary, empty

BASE = "edge-agent/kiosk-1/"
CANARY = "c4n4ry-s3cret-of-the-tests"


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between connections of at most 0.2 s: the length of the pauses is tested elsewhere."""
    monkeypatch.setattr(flow_control, "NEVER_REACHED_S", 0.2)
    monkeypatch.setattr(flow_control, "REACHED_S", 0.2)


def _keys(messages: list[Received]) -> list[tuple[str, str, int]]:
    return [key(validated(m.payload)) for m in messages if m.topic.endswith("summary")]


def _settled(delivery: Any, produced: int) -> bool:
    outbox = delivery.stats().outbox
    return outbox.counters.produced == produced and outbox.pending == 0


# -- rows 12 and 13: the broker is away -------------------------------------------------------------------------------


def test_a_day_without_broker_drains_whole_and_in_order(broker: Mosquitto, tmp_path: Path) -> None:
    """Row 12: the windows of a day all arrive, in order. ``benchmarks/drain.py`` measures the rate, compared with plain
    paho; ``scripts/torture week`` does seven days.
    """
    outcome = measure(tmp_path, broker.port, 8_640, max_mb=64.0)
    assert outcome.in_order
    assert outcome.rows == outcome.windows == 8_640


def test_a_long_outage_with_little_space_is_merged_and_all_of_it_arrives(
    broker: Mosquitto, subscriber: Subscriber, tmp_path: Path
) -> None:
    """Row 12: 4,320 windows (half a day) in a 2 MB outbox arrive merged, in order, and every second is
    accounted for.
    """
    waiting = fill(tmp_path / "state", 4_320, max_mb=2.0)
    assert len(waiting) < 2_000
    drain(tmp_path / "state", broker.port, max_mb=2.0)
    subscriber.wait(lambda messages: sum("backfill" in m.topic for m in messages) == len(waiting))
    documents = [validated(m.payload) for m in subscriber.on(BASE + "backfill/summary")]
    assert sum(document.get("merged", 1) for document in documents) == 4_320
    assert sum(document["seconds"] for document in documents) == pytest.approx(43_200)
    starts = [document["start"] for document in documents]
    assert starts == sorted(starts)


def test_a_broker_that_restarts_while_draining_loses_nothing(
    make_broker: MakeBroker,
    make_delivery: MakeDelivery,
    tmp_path: Path,
    eventually: Any,
    quick_retries: None,
    record_property: Callable[[str, object], None],
) -> None:
    """Row 13: three broker restarts, one by SIGKILL, while 6,000 rows are sent: all are acknowledged in the end."""
    broker = make_broker()
    fill(tmp_path / "state", 6_000, max_mb=64.0)
    delivery = make_delivery(broker.port)
    for number in range(3):
        target = 6_000 - 1_200 * (number + 1)
        eventually(lambda: delivery.stats().outbox.pending <= target)  # noqa: B023
        broker.restart(kill=number == 1)
    eventually(lambda: _settled(delivery, 6000), 60)
    stats = delivery.stats().outbox
    assert stats.balanced
    record_property("runs", 3)
    record_property("lost", 6_000 - stats.counters.acked)
    assert (stats.counters.acked, stats.counters.dropped, stats.counters.dead_lettered) == (6_000, 0, 0)


def test_connections_cut_while_draining_lose_nothing_at_the_subscriber(
    broker: Mosquitto,
    make_delivery: MakeDelivery,
    tmp_path: Path,
    eventually: Any,
    quick_retries: None,
    record_property: Callable[[str, object], None],
) -> None:
    """Row 13: the connection is closed or reset six times while 3,000 rows are sent: every key arrives."""
    fill(tmp_path / "state", 3_000, max_mb=64.0)
    with FaultProxy(broker.port) as proxy, Subscriber(broker.port, BASE + "#") as subscriber:
        delivery = make_delivery(proxy.port)
        for number in range(6):
            target = 3_000 - 400 * (number + 1)
            eventually(lambda: delivery.stats().outbox.pending <= target)  # noqa: B023
            before = proxy.accepted
            (proxy.reset if number % 2 else proxy.cut)()
            eventually(lambda: proxy.accepted > before)  # noqa: B023
        eventually(lambda: _settled(delivery, 3000), 60)
        subscriber.wait(lambda messages: len(set(_keys(messages))) == 3_000)
        record_property("runs", 6)
        repeats = len(_keys(subscriber.messages)) - 3_000
        assert repeats <= 6 * 300
        assert proxy.accepted >= 7


# -- row 14: bad lines ------------------------------------------------------------------------------------------------


def test_a_half_open_connection_is_noticed_within_one_and_a_half_keepalives(
    broker: Mosquitto, make_delivery: MakeDelivery, eventually: Any, quick_retries: None
) -> None:
    """Row 14: packets are lost on an open connection, which ends within 1.5 keepalives; then the network recovers."""
    with FaultProxy(broker.port) as proxy, Subscriber(broker.port, BASE + "#") as subscriber:
        delivery = make_delivery(proxy.port, keepalive_s=5)
        subscriber.wait_for(BASE + "status", b"online")
        proxy.hole = True
        since = time.monotonic()
        delivery.submit_summary(a_summary(0.0))
        eventually(lambda: not delivery.stats().connected)
        assert time.monotonic() - since < 1.5 * 5 + 1.5
        delivery.submit_summary(a_summary(10.0))
        proxy.hole = False
        proxy.cut()
        subscriber.wait(lambda messages: len(set(_keys(messages))) == 2)
        eventually(lambda: _settled(delivery, 2))


def test_sliced_bytes_and_two_seconds_of_latency_only_slow_things_down(
    broker: Mosquitto, make_delivery: MakeDelivery, eventually: Any
) -> None:
    """Row 14: one to three bytes at a time, then a latency of 2 s each way: delivery is slower, submitting never
    blocks.
    """
    with FaultProxy(broker.port) as proxy, Subscriber(broker.port, BASE + "#") as subscriber:
        proxy.slice = 3
        delivery = make_delivery(proxy.port)
        for k in range(5):
            delivery.submit_summary(a_summary(10.0 * k))
        subscriber.wait(lambda messages: len(_keys(messages)) == 5)
        proxy.slice, proxy.latency = 0, 2.0
        started = time.monotonic()
        delivery.submit_summary(a_summary(50.0))
        assert time.monotonic() - started < 0.2
        subscriber.wait(lambda messages: len(_keys(messages)) == 6)
        eventually(lambda: _settled(delivery, 6))
        assert delivery.stats().connected
        proxy.latency = 0.0


# -- row 15: names, passwords, certificates; row 34: secrets ----------------------------------------------------------


def test_a_host_name_that_cannot_be_resolved_is_reported_and_rows_are_kept(
    make_delivery: MakeDelivery, eventually: Any
) -> None:
    """Row 15: a host name that cannot be resolved: reported on health, and rows are kept."""
    delivery = make_delivery(1883, host="no-such-broker.invalid")
    delivery.submit_summary(a_summary(0.0))
    eventually(lambda: "cannot be resolved" in (delivery.stats().trouble or ""))
    eventually(lambda: delivery.stats().outbox.pending == 1)


def test_a_wrong_password_is_reported_with_back_off_and_rows_are_kept(
    make_broker: MakeBroker, make_delivery: MakeDelivery, eventually: Any
) -> None:
    """Row 15: a wrong password: reported on health, back-off with jitter, and rows are kept."""
    broker = make_broker(password="right")
    delivery = make_delivery(broker.port, username="agent", password="wrong")
    delivery.submit_summary(a_summary(0.0))
    eventually(lambda: "refused" in (delivery.stats().trouble or ""))
    time.sleep(3.0)
    attempts = broker.log().count("New connection from")
    assert attempts <= 12
    assert delivery.stats().outbox.pending == 1


@pytest.mark.parametrize("problem", ["expired", "another host", "another authority"])
def test_an_invalid_certificate_is_refused(
    problem: str, make_broker: MakeBroker, make_delivery: MakeDelivery, tmp_path: Path, eventually: Any
) -> None:
    """Row 15: an expired certificate, one for another host, and one of an untrusted authority are refused."""
    authority = Authority(tmp_path / "ca")
    certificate = authority.issue(
        "broker.example" if problem == "another host" else "127.0.0.1", expired=problem == "expired"
    )
    broker = make_broker(tls=certificate)
    trusted = Authority(tmp_path / "other", "other CA") if problem == "another authority" else authority
    delivery = make_delivery(broker.port, tls={"enabled": True, "ca_file": str(trusted.ca.cert)})
    delivery.submit_summary(a_summary(0.0))
    eventually(lambda: "certificate is not accepted" in (delivery.stats().trouble or ""))
    assert not delivery.stats().connected
    eventually(lambda: delivery.stats().outbox.pending == 1)


@pytest.mark.parametrize("right", [True, False])
def test_the_password_is_nowhere_but_in_its_file(
    right: bool,
    make_broker: MakeBroker,
    make_delivery: MakeDelivery,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    eventually: Any,
) -> None:
    """Row 34: a canary password, accepted or refused, with full logging: not in logs, outbox, payloads or stats."""
    caplog.set_level(logging.DEBUG)
    broker = make_broker(password=CANARY if right else "another")
    secret = tmp_path / "password"
    secret.write_text(CANARY + "\n", encoding="utf-8")
    delivery = make_delivery(broker.port, username="agent", password_file=str(secret))
    delivery.submit_summary(a_summary(0.0))
    eventually(lambda: delivery.stats().connected is right and (right or delivery.stats().trouble))
    eventually(lambda: delivery.stats().outbox.counters.produced == 1)
    stats = repr(delivery.stats())
    delivery.stop(3.0)
    for file in (tmp_path / "state").rglob("*"):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes()
    assert CANARY not in caplog.text
    assert CANARY not in stats
    assert CANARY not in repr(delivery.__dict__)


# -- row 16: what a broker may answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0x87, 0x97, 0x80, 0x83])
def test_a_refused_row_is_kept_and_tried_again_later(code: int, make_delivery: MakeDelivery, eventually: Any) -> None:
    """Row 16: not authorised, quota exceeded and the like: the row is kept, its topic backs off, other topics go on."""
    refusing = True

    def puback(publish: Publish) -> int:
        return code if refusing and "summary" in publish.topic else 0

    clock = ManualClock()
    with ScriptedBroker(puback=puback) as broker:
        delivery = make_delivery(broker.port, clock=clock)
        for k in range(30):
            delivery.submit_summary(a_summary(10.0 * k))
        eventually(lambda: delivery.stats().refused_topics)
        delivery.publish_state("health", "well")
        eventually(lambda: broker.on("/health"))
        first = len(broker.on("summary"))
        assert first <= 40, "one window of attempts at most, and one more as late data"
        for _ in range(20):
            clock.advance(0.1)
            time.sleep(0.02)
        assert len(broker.on("summary")) <= first + 4, "probed one at a time"
        stats = delivery.stats().outbox
        assert (stats.pending, stats.counters.acked) == (30, 0)
        refusing = False

        def delivered() -> bool:
            clock.advance(5.0)
            return _settled(delivery, 30)

        eventually(delivered)
        assert delivery.stats().outbox.counters.acked == 30
        delivery.submit_summary(a_summary(300.0))
        eventually(lambda: delivery.stats().refused_topics == ())


def test_receive_maximum_is_honoured(make_delivery: MakeDelivery, tmp_path: Path, eventually: Any) -> None:
    """Row 16: Receive Maximum 1 and 3: never more unacknowledged messages, and the in-flight window is used in full."""
    produced = 0
    for maximum in (1, 3):
        produced += 15
        with ScriptedBroker(receive_maximum=maximum, hold=maximum + 5) as broker:
            delivery = make_delivery(broker.port, boot_id=f"b{maximum}")
            for k in range(15):
                delivery.submit_summary(a_summary(10.0 * k))
            eventually(lambda: _settled(delivery, produced))  # noqa: B023
            assert broker.most_unacknowledged == maximum
            delivery.stop(2.0)


def test_a_packet_too_large_becomes_a_dead_letter_and_the_queue_moves(
    make_delivery: MakeDelivery, tmp_path: Path, eventually: Any
) -> None:
    """Row 16: a packet above the broker's Maximum Packet Size becomes a dead letter, and the next rows are sent."""
    with ScriptedBroker(maximum_packet=480) as broker:
        delivery = make_delivery(broker.port)
        for k in range(6):
            delivery.submit_summary(a_summary(10.0 * k) if k % 2 else empty(a_summary(10.0 * k)))
        eventually(lambda: _settled(delivery, 6))
        counters = delivery.stats().outbox.counters
        assert (counters.acked, counters.dead_lettered) == (3, 3)
        assert [validated(p.payload)["seq"] for p in broker.on("/summary")] == [1, 3, 5]
    assert {row[0] for row in query(tmp_path / "state" / "outbox", "SELECT reason FROM dead")} == {"packet too large"}


@pytest.mark.parametrize(("code", "reason"), [(0x90, "topic name invalid"), (0x99, "payload format invalid")])
def test_a_message_refused_for_good_becomes_a_dead_letter(
    code: int, reason: str, make_delivery: MakeDelivery, tmp_path: Path, eventually: Any
) -> None:
    """Row 16: reason codes that mean refused for good: the row becomes a dead letter, and the next rows are sent."""

    def puback(publish: Publish) -> int:
        return code if publish.topic.endswith("/summary") and b'"seq":2,' in publish.payload else 0

    with ScriptedBroker(puback=puback) as broker:
        delivery = make_delivery(broker.port)
        for k in range(4):
            delivery.submit_summary(a_summary(10.0 * k))
        eventually(lambda: _settled(delivery, 4))
        counters = delivery.stats().outbox.counters
        assert (counters.acked, counters.dead_lettered) == (3, 1)
    assert query(tmp_path / "state" / "outbox", "SELECT seq, reason FROM dead") == [(2, f"{reason} (0x{code:02x})")]


def test_a_poison_message_becomes_a_dead_letter(
    make_delivery: MakeDelivery, tmp_path: Path, eventually: Any, quick_retries: None
) -> None:
    """Row 16: an MQTT 3.1.1 broker closes the connection on a poison message, which becomes a dead letter after four
    times.
    """

    def puback(publish: Publish) -> int:
        if b'"seq":5,' in publish.payload:
            raise ConnectionAbortedError
        return 0

    with ScriptedBroker(puback=puback, only_311=True) as broker:
        delivery = make_delivery(broker.port, protocol="3.1.1")
        for k in range(10):
            delivery.submit_summary(a_summary(10.0 * k))
        eventually(lambda: _settled(delivery, 10), 30)
        counters = delivery.stats().outbox.counters
        assert (counters.acked, counters.dead_lettered) == (9, 1)
    assert query(tmp_path / "state" / "outbox", "SELECT seq FROM dead") == [(5,)]


def test_the_connection_to_a_broker_that_never_acknowledges_is_dropped(
    make_delivery: MakeDelivery, eventually: Any, quick_retries: None
) -> None:
    """Row 16: the broker answers pings but acknowledges nothing: a new connection is made, the row kept."""
    clock = ManualClock()
    with ScriptedBroker(puback=lambda publish: None if "summary" in publish.topic else 0) as broker:
        delivery = make_delivery(broker.port, clock=clock)
        delivery.submit_summary(a_summary(0.0))
        eventually(lambda: broker.on("summary"))
        clock.advance(40)
        eventually(lambda: broker.connections >= 2)
        assert delivery.stats().outbox.pending == 1


# -- rows 17 to 20 ----------------------------------------------------------------------------------------------------


def test_a_session_taken_over_raises_an_alarm_and_backs_off(make_delivery: MakeDelivery, eventually: Any) -> None:
    """Row 17: the broker reports a session taken over: an alarm, and the agent waits at least 30 s."""
    with ScriptedBroker() as broker:
        delivery = make_delivery(broker.port, client_id="twins")
        eventually(lambda: delivery.stats().connected)
        broker.disconnect(0x8E)
        eventually(lambda: delivery.stats().client_id_in_use)
        assert "client id" in (delivery.stats().trouble or "")
        delivery.submit_summary(a_summary(0.0))
        time.sleep(2.0)
        assert broker.connections == 1
        assert delivery.stats().outbox.pending == 1


def test_a_second_client_with_our_id_raises_the_alarm_without_a_reason_code(
    broker: Mosquitto, make_delivery: MakeDelivery, eventually: Any, quick_retries: None
) -> None:
    """Row 17: mosquitto 2.0 closes the older connection without a reason: flapping connections raise the alarm."""
    delivery = make_delivery(broker.port, client_id="twins")
    eventually(lambda: delivery.stats().connected)
    rival = Client(CallbackAPIVersion.VERSION2, client_id="twins", protocol=MQTTProtocolVersion.MQTTv5)
    rival.connect("127.0.0.1", broker.port)
    rival.loop_start()
    try:
        eventually(lambda: delivery.stats().client_id_in_use)
    finally:
        rival.disconnect()
        rival.loop_stop()
    assert "'twins'" in (delivery.stats().trouble or "'twins'")
    eventually(lambda: delivery.stats().connected)


def test_short_connections_do_not_reset_the_back_off(make_delivery: MakeDelivery) -> None:
    """Row 17: short connections, as of a session taken over without MQTT 5, do not reset the back-off."""
    with ScriptedBroker(puback=lambda _: (_ for _ in ()).throw(ConnectionAbortedError())) as broker:
        make_delivery(broker.port)
        time.sleep(5.0)
        assert 2 <= broker.connections <= 15


def test_a_callback_that_raises_costs_one_connection(
    broker: Mosquitto, make_delivery: MakeDelivery, monkeypatch: pytest.MonkeyPatch, quick_retries: None
) -> None:
    """Row 19: an exception in a callback on the network thread costs one connection; delivery goes on."""
    failed: list[int] = []
    offer = Dispatcher.offer

    def raise_once(self: Dispatcher, message: Any) -> None:
        if not failed:
            failed.append(1)
            raise RuntimeError("on purpose")
        offer(self, message)

    monkeypatch.setattr(Dispatcher, "offer", raise_once)
    with Subscriber(broker.port) as subscriber:
        delivery = make_delivery(broker.port)
        got: list[bytes] = []
        delivery.subscribe(BASE + "cmd/x", lambda message: got.append(message.payload))
        subscriber.wait_for(BASE + "status", b"online")
        subscriber.publish(BASE + "cmd/x", "boom")
        subscriber.wait_for(BASE + "status", b"online", count=2)
        assert failed
        delivery.submit_summary(a_summary(0.0))
        subscriber.wait_for(BASE + "summary")

        def heard(_: list[Received]) -> bool:
            subscriber.publish(BASE + "cmd/x", "well")
            return b"well" in got

        deadline = time.monotonic() + 15
        while not heard([]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert b"well" in got


@pytest.mark.parametrize("silent", [False, True], ids=["killed", "line dead as well"])
def test_the_last_will_is_published_in_time(broker: Mosquitto, tmp_path: Path, repository: Path, silent: bool) -> None:
    """Row 20: SIGKILL: the last will, a retained ``offline``, at once; with a silent network, within 1.5 keepalives."""
    with FaultProxy(broker.port) as proxy, Subscriber(broker.port, BASE + "status") as subscriber:
        agent = subprocess.Popen(
            [sys.executable, "-m", "tests.support.agent_process", "--state", str(tmp_path / "state"), "--port",
             str(proxy.port), "--boot", "k1", "--keepalive", "5"],
            cwd=repository, stdout=subprocess.PIPE,
        )  # fmt: skip
        subscriber.wait_for(BASE + "status", b"online", timeout=40)
        if silent:
            proxy.hole = True
        agent.kill()
        agent.wait()
        since = time.monotonic()
        offline = subscriber.wait_for(BASE + "status", b"offline")
        assert offline.at - since < (1.5 * 5 + 1.0 if silent else 2.0)
    with Subscriber(broker.port, BASE + "status") as later:
        assert later.wait_for(BASE + "status").payload == b"offline", "retained"


# -- row 28: time -----------------------------------------------------------------------------------------------------


def test_a_boot_before_time_is_known_is_repaired_before_delivery(
    broker: Mosquitto, subscriber: Subscriber, make_delivery: MakeDelivery, eventually: Any, quick_retries: None
) -> None:
    """Row 28: rows stored in 1970 are unsynced; once the clock is set, before the broker is reached, they get the right
    start. A jump of ten years forward and one day back afterwards loses nothing.
    """
    with FaultProxy(broker.port) as proxy:
        proxy.away = True
        clock = ManualClock(wall=50.0, monotonic=50.0, synced=False)
        delivery = make_delivery(proxy.port, clock=clock)
        delivery.submit_summary(a_summary(20.0, wall=0.0, clock="unsynced"))
        eventually(lambda: delivery.stats().outbox.pending == 1)
        clock.set_wall(1_795_165_250.0)
        eventually(lambda: delivery.stats().outbox.oldest == 1_795_165_220.0)
        for wall in (1_795_165_250.0 + 10 * 365 * 86_400, 1_795_165_250.0 - 86_400):
            clock.set_wall(wall)
            time.sleep(1.2)
        assert delivery.stats().outbox.pending == 1
        proxy.away = False
        subscriber.wait(lambda messages: any(m.topic.endswith("summary") for m in messages))
        eventually(lambda: _settled(delivery, 1))
    (late,) = (m for m in subscriber.messages if m.topic.endswith("summary"))
    document = validated(late.payload)
    assert (document["start"], document["clock"]) == ("2026-11-20T09:00:20.000Z", "synced")
