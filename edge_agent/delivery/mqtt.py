"""The connection to the broker: one thread, one paho client per connection, and no memory of messages.

The only module that knows paho. All of paho runs on this thread over its external-loop interface, so a callback that
raises ends one connection and not the client, and nothing is written from two threads. What must not be lost is kept
by the outbox: whatever was not acknowledged when a connection ends is offered again by the sender. Connecting, waiting
and backing off happen here and block nobody.
"""

from __future__ import annotations

import logging
import os
import random
import select
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.delivery.backoff import Backoff
from edge_agent.delivery.credentials import password, tls_context
from edge_agent.delivery.departures import Departures
from edge_agent.delivery.link import Connected, Disconnected, InboundMessage, Outgoing, Report
from edge_agent.delivery.topics import check_filter
from edge_agent.delivery.trouble import ConnectionFailed, explain
from edge_agent.domain.errors import ConfigError
from edge_agent.settings.mqtt import MqttSettings

log = logging.getLogger(__name__)

CONNECT_S = 10.0
"""Patience with name resolution excepted: TCP and TLS, and then the broker's answer."""

STABLE_S = 30.0
"""A connection that stood this long was a good one: the back-off starts over."""

FLAPPING = 3
"""So many short connections in a row are an alarm: most brokers do not say that another client took our id."""

LONGEST_PAUSE_S = 120.0
TAKEN_OVER_PAUSE_S = 30.0
"""Least pause after another client took our id, or the two would throw each other out for ever."""

INBOUND_BYTES = 64 * 1024
"""Larger messages from the broker are not read."""

SESSION_TAKEN_OVER = 0x8E
KEEP_ALIVE_TIMEOUT = 0x8D
TOPIC_NAME_INVALID = 0x90
UNSUPPORTED_VERSION = 0x84
PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker tells others (retained) when we vanish."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class _Session:
    """One connection. Callbacks only fill this in; the loop reads it."""

    client: Client
    number: int
    protocol: str
    sent: dict[int, Outgoing] = field(default_factory=dict)
    acks: list[tuple[Outgoing, int]] = field(default_factory=list)
    connected: Connected | None = None
    refused: ConnectionFailed | None = None
    ended: ConnectionFailed | None = None


class MqttLink:
    """Keeps a connection to the broker of ``settings`` up.

    ``report`` and ``inbound`` are called on the link's thread and must only enqueue.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        will: Will | None,
        report: Callable[[Report], None],
        inbound: Callable[[InboundMessage], None],
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._report = report
        self._inbound = inbound
        self._departures = Departures(settings.in_flight)
        self._filters: dict[str, None] = {}
        self._new_filters: deque[str] = deque()
        self._wake = -1
        self._drop: str | None = None
        self._stopping = threading.Event()
        self._backoff = Backoff(1.0, LONGEST_PAUSE_S, random.Random())
        self._number = 0
        self._short = 0
        self.refused = 0
        """Inbound messages that were not passed on."""
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    # -- called from other threads ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread.start()

    def publish(self, session: int, messages: Iterable[Outgoing]) -> None:
        """Send on connection ``session``, as soon as the window allows; forgotten without a word when that is over."""
        self._departures.add(session, messages)
        self._nudge()

    def subscribe(self, topic_filter: str) -> None:
        """Receive messages matching ``topic_filter``, now and after every reconnect. Raises ValueError: it is none."""
        if check_filter(topic_filter) not in self._filters:
            self._filters[topic_filter] = None
            self._new_filters.append(topic_filter)
            self._nudge()

    def drop(self, reason: str) -> None:
        """Give the present connection up and make a new one."""
        self._drop = reason
        self._nudge()

    def stop(self, timeout: float) -> bool:
        """Say goodbye and end; False when the thread hangs (in name resolution, say) and was left behind."""
        self._stopping.set()
        self._nudge()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1
        return True

    def _nudge(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            since: list[float] = []
            try:
                self._connect_and_serve(since)
                ending = ConnectionFailed("closed")
            except ConnectionFailed as error:
                ending = error
            except (OSError, ssl.SSLError, ConfigError) as error:
                ending = ConnectionFailed(explain(error, self._settings))
            except Exception as error:  # a bug in paho or in a callback costs this connection, not delivery
                log.exception("mqtt: the connection broke on an unexpected error")
                ending = ConnectionFailed(f"internal error: {type(error).__name__}")
            if not self._stopping.is_set():
                self._pause(ending, time.monotonic() - since[0] if since else None)

    def _pause(self, ending: ConnectionFailed, lasted: float | None) -> None:
        if lasted is not None and lasted >= STABLE_S:
            self._backoff.reset()
        self._short = self._short + 1 if lasted is not None and lasted < STABLE_S else 0
        reason, flapping = str(ending), self._short >= FLAPPING
        if flapping and not ending.taken_over:
            reason += f"; is there another client with the id {self._client_id!r}?"
        delay = self._backoff.next(TAKEN_OVER_PAUSE_S if ending.taken_over else 0.0)
        self._departures.clear()
        self._report(Disconnected(reason, delay, ending.taken_over, flapping))
        deadline = time.monotonic() + delay
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            self._wait_for(None, left)

    def _connect_and_serve(self, since: list[float]) -> None:
        wanted = self._settings.protocol
        try:
            self._serve("5" if wanted == "auto" else wanted, since)
        except ConnectionFailed as error:
            if wanted != "auto" or not error.protocol or self._stopping.is_set():
                raise
            log.debug("mqtt: no luck with MQTT 5 (%s), trying 3.1.1", error)
            self._serve("3.1.1", since)

    def _serve(self, protocol: str, since: list[float]) -> None:
        """One connection from beginning to end; always ends with an exception, unless stopping."""
        self._drop = None
        self._number += 1
        session = _Session(self._make_client(protocol), self._number, protocol)
        self._attach(session)
        try:
            self._open(session)
            self._await_connack(session)
            since.append(time.monotonic())
            self._loop(session)
        finally:
            close(session.client)

    def _make_client(self, protocol: str) -> Client:
        v5 = protocol == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if v5 else True,
            protocol=PROTOCOLS[protocol],
            transport=self._settings.transport,
            reconnect_on_failure=False,
        )
        if self._settings.transport == "websockets":
            client.ws_set_options(self._settings.websocket_path, _host_header(self._settings))
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages = 0  # the window is ours; paho's own would queue behind our back
        if self._settings.username is not None:
            client.username_pw_set(self._settings.username, password(self._settings))
        if self._settings.tls.enabled:
            client.tls_set_context(tls_context(self._settings.tls))
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=True)
        return client

    def _attach(self, session: _Session) -> None:
        """Callbacks for paho. They note what happened and return."""

        def on_connect(_client: Client, _data: Any, _flags: Any, code: Any, properties: Properties | None) -> None:
            if code.is_failure:
                wrong_version = code.value == UNSUPPORTED_VERSION
                session.refused = ConnectionFailed(f"refused: {code.getName()}", protocol=wrong_version)
                return
            session.connected = Connected(
                session.number,
                session.protocol,
                getattr(properties, "ReceiveMaximum", 65_535),
                getattr(properties, "MaximumPacketSize", None),
            )

        def on_disconnect(_client: Client, _data: Any, flags: Any, code: Any, _properties: Any) -> None:
            if session.ended is not None:
                return  # paho tells of one ending twice; the first time it knows why
            if not flags.is_disconnect_packet_from_server:
                reason = (
                    "no answer to pings" if code.value == KEEP_ALIVE_TIMEOUT else "the broker closed the connection"
                )
                session.ended = ConnectionFailed(reason)
            elif code.value == SESSION_TAKEN_OVER:
                session.ended = ConnectionFailed("another client uses our client id", taken_over=True)
            else:
                session.ended = ConnectionFailed(f"the broker closed the connection: {code.getName()}")

        def on_publish(_client: Client, _data: Any, mid: int, code: Any, _properties: Any) -> None:
            message = session.sent.pop(mid, None)
            if message is not None:
                session.acks.append((message, code.value))

        def on_message(_client: Client, _data: Any, message: MQTTMessage) -> None:
            received = _inbound(message)
            if received is None:
                self.refused += 1
            else:
                self._inbound(received)

        session.client.on_connect = on_connect
        session.client.on_disconnect = on_disconnect
        session.client.on_publish = on_publish
        session.client.on_message = on_message

    def _open(self, session: _Session) -> None:
        # paho notices a dead peer after two of its keepalives; three quarters make that one and a half of ours.
        keepalive = max(3, int(self._settings.keepalive_s * 0.75))
        properties = None
        if session.protocol == "5":
            properties = _properties(PacketTypes.CONNECT)
            properties.MaximumPacketSize = INBOUND_BYTES + 1024
        session.client.connect(self._settings.host, self._settings.effective_port, keepalive, properties=properties)

    def _await_connack(self, session: _Session) -> None:
        deadline = time.monotonic() + CONNECT_S
        while session.connected is None:
            if self._stopping.is_set():
                raise ConnectionFailed("stopping")
            if time.monotonic() > deadline:
                raise ConnectionFailed(f"no answer within {CONNECT_S:.0f} s")
            rc = self._step(session, 0.5)
            if session.refused is not None:
                raise session.refused
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS and session.connected is None:
                raise ConnectionFailed("closed before it was accepted", protocol=True)
        self._departures.start(session.number, session.connected.receive_maximum)
        self._report(session.connected)
        self._new_filters.clear()
        for topic_filter in list(self._filters):
            session.client.subscribe(topic_filter, qos=1)

    def _loop(self, session: _Session) -> None:
        while True:
            stopping = self._stopping.is_set()
            self._send(session)
            if stopping:
                self._goodbye(session)
                return
            rc = self._step(session, 1.0)
            acks, session.acks = session.acks, []
            if (news := self._departures.settle(acks)) is not None:
                self._report(news)
            if session.ended is not None or rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise session.ended or ConnectionFailed(f"connection lost: {MQTTErrorCode(rc).name}")
            if self._drop is not None:
                raise ConnectionFailed(self._drop)

    def _send(self, session: _Session) -> None:
        while self._new_filters:
            session.client.subscribe(self._new_filters.popleft(), qos=1)
        while (message := self._departures.next(len(session.sent))) is not None:
            properties = None
            if message.correlation is not None and session.protocol == "5":
                properties = _properties(PacketTypes.PUBLISH)
                properties.CorrelationData = message.correlation
            try:
                info = session.client.publish(message.topic, message.payload, 1, message.retain, properties)
            except ValueError:  # a topic that paho will not send: one that a request asked to be answered on, say
                session.acks.append((message, TOPIC_NAME_INVALID))
            else:
                session.sent[info.mid] = message

    def _goodbye(self, session: _Session) -> None:
        session.client.disconnect()
        deadline = time.monotonic() + 1.0
        while session.client.want_write() and time.monotonic() < deadline:
            if self._step(session, 0.2) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return

    def _step(self, session: _Session, timeout: float) -> int:
        """Wait for the socket or a nudge, and let paho do its reading, writing and pinging."""
        client = session.client
        sock = client.socket()
        if sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        # Not only TLS sockets hold back what was read ahead, but also paho's WebSocket over TLS.
        buffered = getattr(sock, "pending", _nothing)() > 0
        ready = self._wait_for(sock, 0.0 if buffered else timeout, write=client.want_write())
        if buffered or ready & (select.POLLIN | select.POLLHUP | select.POLLERR):
            rc = client.loop_read()
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return rc
        if ready & select.POLLOUT:
            rc = client.loop_write()
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return rc
        return client.loop_misc()

    def _wait_for(self, sock: Any, timeout: float, *, write: bool = False) -> int:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if sock is not None:
            poll.register(sock, select.POLLIN | (select.POLLOUT if write else 0))
        events = dict(poll.poll(max(0.0, timeout) * 1000))
        if events.pop(self._wake, 0):
            os.eventfd_read(self._wake)
        return next(iter(events.values()), 0)


def close(client: Client) -> None:
    """Shut the client's socket whatever state it is in."""
    sock = client.socket()
    if sock is not None:
        sock.close()


def _host_header(settings: MqttSettings) -> dict[str, str] | None:
    """The header as it must be for an IPv6 address, which paho writes without brackets."""
    return {"Host": f"[{settings.host}]:{settings.effective_port}"} if ":" in settings.host else None


def _nothing() -> int:
    return 0


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _inbound(message: MQTTMessage) -> InboundMessage | None:
    """The message as a value; None when it is too large, or its topic no UTF-8."""
    if len(message.payload) > INBOUND_BYTES:
        return None
    try:
        topic = message.topic
    except UnicodeDecodeError:
        return None
    properties = message.properties
    return InboundMessage(
        topic=topic,
        payload=bytes(message.payload),
        retain=bool(message.retain),
        received=time.monotonic(),
        response_topic=getattr(properties, "ResponseTopic", None),
        correlation=getattr(properties, "CorrelationData", None),
    )
