"""A subscriber that records what a broker sends it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions


@dataclass(frozen=True, slots=True)
class Received:
    """One message. ``at`` is monotonic seconds of this machine; ``retain`` as the publisher set it (MQTT 5); ``expiry``
    what was left of its message expiry in seconds; ``about`` its user properties.
    """

    topic: str
    payload: bytes
    retain: bool
    at: float
    expiry: int | None = None
    about: tuple[tuple[str, str], ...] = ()

    @property
    def json(self) -> Any:
        """The payload parsed."""
        return json.loads(self.payload)


class Subscriber:
    """Records everything matching ``topic``; survives restarts of the broker. Use as a context manager."""

    def __init__(
        self,
        port: int,
        topic: str = "#",
        *,
        host: str = "127.0.0.1",
        password: str | None = None,
        ca: Path | None = None,
        client_id: str = "",
        version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    ) -> None:
        self.messages: list[Received] = []
        self.port = port
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._topic = topic
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version)
        self._version = version
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        if password is not None:
            self._client.username_pw_set("agent", password)
        if ca is not None:
            self._client.tls_set(str(ca))
        self._address = host, port

    def __enter__(self) -> Subscriber:
        self._client.connect(*self._address, keepalive=60)
        self._client.loop_start()
        assert self._subscribed.wait(15), "the subscriber could not subscribe"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(
        self,
        topic: str,
        payload: bytes | str,
        *,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        """Publish QoS 1 and wait until the broker has it."""
        properties = Properties(PacketTypes.PUBLISH)
        if response_topic:
            properties.ResponseTopic = response_topic
        if correlation:
            properties.CorrelationData = correlation
        self._client.publish(topic, payload, 1, retain, properties).wait_for_publish(10)

    def on(self, topic: str) -> list[Received]:
        """What was received on ``topic``."""
        with self._changed:
            return [message for message in self.messages if message.topic == topic]

    def wait(self, condition: Callable[[list[Received]], Any], timeout: float = 20.0) -> Any:
        """The first true value of ``condition(messages)``; fails the test after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                value = condition(list(self.messages))
                if value:
                    return value
                left = deadline - time.monotonic()
                topics = [(m.topic, m.payload[:60]) for m in self.messages[-10:]]
                assert left > 0, f"not received within {timeout} s; {len(self.messages)} messages, the last: {topics}"
                self._changed.wait(left)

    def wait_for(self, topic: str, payload: bytes | None = None, *, count: int = 1, timeout: float = 20.0) -> Received:
        """The ``count``-th message on ``topic`` (with ``payload``)."""

        def matching(messages: list[Received]) -> list[Received] | None:
            found = [m for m in messages if m.topic == topic and payload in (None, m.payload)]
            return found if len(found) >= count else None

        found: list[Received] = self.wait(matching, timeout)
        return found[count - 1]

    def _on_connect(self, client: Client, *_: Any) -> None:
        if self._version != MQTTProtocolVersion.MQTTv5:
            client.subscribe(self._topic, qos=1)
            return
        client.subscribe(self._topic, options=SubscribeOptions(qos=1, retainAsPublished=True))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        with self._changed:
            expiry = getattr(message.properties, "MessageExpiryInterval", None)
            about = tuple(getattr(message.properties, "UserProperty", ()))
            received = Received(message.topic, bytes(message.payload), message.retain, time.monotonic(), expiry, about)
            self.messages.append(received)
            self._changed.notify_all()
