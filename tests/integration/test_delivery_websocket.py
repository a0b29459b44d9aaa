"""MQTT inside of WebSockets: through a real WebSocket server in front of a real mosquitto."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from edge_agent.delivery import InboundMessage
from tests.support.certificates import Authority
from tests.support.fixtures import MakeDelivery
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Subscriber
from tests.support.websocket import WebSocketFront
from tests.support.windows import a_summary

BASE = "edge-agent/kiosk-1/"


@pytest.mark.parametrize(("protocol", "slice_"), [("5", 0), ("3.1.1", 3)])
def test_summaries_and_commands_pass_through_a_websocket(
    broker: Mosquitto, subscriber: Subscriber, make_delivery: MakeDelivery, eventually: Any, protocol: str, slice_: int
) -> None:
    heard: list[InboundMessage] = []
    with WebSocketFront(broker.port, path="/edge/mqtt", slice_=slice_) as front:
        delivery = make_delivery(front.port, transport="websockets", websocket_path="/edge/mqtt", protocol=protocol)
        delivery.subscribe(BASE + "cmd/+", heard.append)
        for k in range(60):
            delivery.submit_summary(a_summary(10.0 * k))
        subscriber.wait(lambda messages: sum("summary" in m.topic for m in messages) >= 60)
        eventually(lambda: delivery.stats().outbox.pending == 0)
        eventually(lambda: delivery.stats().connected)
        subscriber.publish(BASE + "cmd/privacy", b"x" * 5000)
        eventually(lambda: [len(m.payload) for m in heard] == [5000])


def test_tls_and_websocket_together(
    tmp_path: Path, broker: Mosquitto, subscriber: Subscriber, make_delivery: MakeDelivery
) -> None:
    authority = Authority(tmp_path / "ca")
    server = authority.issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    with WebSocketFront(broker.port, tls=context) as front:
        tls = {"enabled": True, "ca_file": str(authority.ca.cert)}
        delivery = make_delivery(front.port, transport="websockets", tls=tls)
        delivery.submit_summary(a_summary(0.0))
        subscriber.wait_for(BASE + "summary")


@pytest.mark.parametrize("listener", ["wrong path", "no websocket"])
def test_what_is_no_websocket_is_called_so(
    broker: Mosquitto, make_delivery: MakeDelivery, eventually: Any, listener: str
) -> None:
    with WebSocketFront(broker.port, path="/elsewhere") as front:
        port = front.port if listener == "wrong path" else broker.port
        delivery = make_delivery(port, transport="websockets")
        trouble = eventually(lambda: delivery.stats().trouble)
    assert "no WebSocket there" in trouble
    assert "mqtt.websocket_path" in trouble
