"""Every no of a broker is told and retried; another agent of our name is noticed: against real brokers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edge_agent.delivery import DeliveryService, InboundMessage, flow_control
from edge_agent.delivery import mqtt as link
from edge_agent.settings import Settings
from edge_agent.summary.summariser import merge_summaries
from tests.support.certificates import Authority
from tests.support.fixtures import MakeBroker, MakeDelivery
from tests.support.mosquitto import Mosquitto
from tests.support.proxy import FaultProxy
from tests.support.scripted import ScriptedBroker
from tests.support.subscriber import Subscriber
from tests.support.windows import EarlyClock, a_summary

BASE = "edge-agent/kiosk-1/"


def test_a_refused_subscription_is_reported_retried_and_then_works(
    make_delivery: MakeDelivery, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A18: commands never arrived, and health was fine."""
    monkeypatch.setattr(link, "SUBSCRIBE_S", (0.2, 0.4))
    with ScriptedBroker(suback=lambda wanted, times: 0x87 if "cmd" in wanted and times < 3 else 1) as broker:
        delivery = make_delivery(broker.port)
        delivery.subscribe(BASE + "cmd/+", lambda _message: None)
        lines = eventually(lambda: delivery.stats().refusals)
        assert lines == (f"the broker refuses the subscription to {BASE}cmd/+: not authorised (0x87)",)
        eventually(lambda: delivery.stats().refusals == ())
        assert broker.subscriptions.count(BASE + "cmd/+") == 3
        assert broker.connections == 1


def test_a_subscription_without_an_answer_costs_the_connection(
    make_delivery: MakeDelivery, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.delivery.session.ANSWER_S", 0.5)
    with ScriptedBroker(suback=lambda _filter, times: None if times == 1 else 1) as broker:
        delivery = make_delivery(broker.port)
        eventually(lambda: broker.connections >= 2)
        eventually(lambda: delivery.stats().connected)
        assert "no answer to the subscription to" in delivery.stats().refusals[0]


@pytest.mark.parametrize(("code", "words"), [(0x97, "quota exceeded"), (0x98, "administrative action")])
def test_the_reason_of_a_disconnect_is_reported_after_reconnecting(
    make_delivery: MakeDelivery, eventually: Any, code: int, words: str
) -> None:
    with ScriptedBroker() as broker:
        delivery = make_delivery(broker.port)
        eventually(lambda: delivery.stats().connected)
        broker.disconnect(code)
        eventually(lambda: broker.connections == 2 and delivery.stats().connected)
        assert words in delivery.stats().refusals[0]


def test_a_refused_login_is_reported_after_it_succeeds(
    make_broker: MakeBroker, make_delivery: MakeDelivery, eventually: Any, tmp_path: Path
) -> None:
    broker = make_broker(password="right")
    file = tmp_path / "password"
    file.write_text("wrong")
    delivery = make_delivery(broker.port, username="agent", password_file=str(file))
    assert "Not authorized" in eventually(lambda: delivery.stats().trouble)
    file.write_text("right")
    eventually(lambda: delivery.stats().connected, timeout=60)
    assert "recently refused the connection" in delivery.stats().refusals[0]


def test_a_missing_client_certificate_is_called_so(
    make_broker: MakeBroker, make_delivery: MakeDelivery, eventually: Any, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    broker = make_broker(tls=authority.issue("127.0.0.1"), client_ca=authority.ca.cert)
    delivery = make_delivery(broker.port, tls={"enabled": True, "ca_file": str(authority.ca.cert)})
    trouble = eventually(lambda: delivery.stats().trouble)
    assert re.search("requires? a client certificate", trouble)
    assert "user name" not in trouble


def test_an_outage_ends_soon_on_the_real_clock(broker: Mosquitto, make_delivery: MakeDelivery, eventually: Any) -> None:
    with FaultProxy(broker.port) as proxy:
        delivery = make_delivery(proxy.port)
        eventually(lambda: delivery.stats().connected)
        proxy.away = True
        proxy.cut()
        eventually(lambda: proxy.turned_away >= 3, timeout=flow_control.REACHED_S)
        proxy.away = False
        eventually(lambda: delivery.stats().connected, timeout=flow_control.REACHED_S)


def _agent(folder: Path, port: int, boot_id: str, client_id: str, protocol: str) -> DeliveryService:
    settings = Settings(
        device={"id": "kiosk-1", "state_dir": str(folder / boot_id)},
        mqtt={"host": "127.0.0.1", "port": port, "client_id": client_id, "protocol": protocol},
    )
    return DeliveryService(settings, EarlyClock(), boot_id, {"version": "0"}, merge_summaries)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_agents_of_one_name_notice_each_other_and_that_one_has_left(
    broker: Mosquitto,
    subscriber: Subscriber,
    tmp_path: Path,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
) -> None:
    """A20: with the same device.id and different client ids the topics of both mixed unseen."""
    monkeypatch.setattr("edge_agent.delivery.service.QUIET_S", 1.0)
    first, second = (_agent(tmp_path, broker.port, name, name, protocol) for name in ("boot-a", "boot-b"))
    first.start()
    first.submit_summary(a_summary(0.0))
    subscriber.wait_for(BASE + "summary")
    try:
        eventually(lambda: first.stats().outbox.pending == 0)
        assert first.stats().namesakes == ()
        second.start()
        assert "'boot-b'" in eventually(lambda: first.stats().namesakes)[0]
        first.submit_summary(a_summary(10.0))
        assert "'boot-a'" in eventually(lambda: second.stats().namesakes)[0]
        seen = len(subscriber.on(BASE + "status"))
        second.stop()
        # The one that left said offline for both: the other one corrects it.
        subscriber.wait(lambda messages: [m for m in messages if m.topic == BASE + "status"][seen:][-1:])
        eventually(lambda: subscriber.on(BASE + "status")[-1].payload == b"online")
        monkeypatch.setattr(first._namesakes, "_quiet_s", 0.2)
        eventually(lambda: first.stats().namesakes == ())
    finally:
        first.stop()
        second.stop()
    assert subscriber.wait(lambda messages: messages[-1].payload == b"offline")


def test_detection_of_namesakes_can_be_disabled_without_read_permission(
    make_delivery: MakeDelivery, eventually: Any
) -> None:
    heard: list[InboundMessage] = []
    with ScriptedBroker() as broker:
        delivery = make_delivery(broker.port, detect_namesakes=False)
        delivery.subscribe(BASE + "cmd/+", heard.append)
        eventually(lambda: broker.subscriptions)
        delivery.submit_summary(a_summary(0.0))
        eventually(lambda: delivery.stats().outbox.pending == 0)
        assert broker.subscriptions == [BASE + "cmd/+"]
