"""One connection to the broker over paho, from opening the socket to closing it, with its TLS context and password.

The only module that uses paho. Callbacks record what happened and return; the owner of the connection
(:class:`~edge_agent.delivery.mqtt.MqttLink`) calls :meth:`MqttSession.step` and reads the records. Nothing is retried
here, and no secret is part of an error or a log line.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.delivery.diagnostics import ConnectionFailed, reason, tls_reason
from edge_agent.delivery.link import Connected, InboundMessage, Keeping, Outgoing, Ticket, UserProperties
from edge_agent.domain.errors import ConfigError
from edge_agent.domain.files import read_secret
from edge_agent.settings.mqtt import MqttSettings, TlsSettings

CONNECT_S = 10.0
"""Timeout of TCP, TLS and WebSocket, and again of the broker's CONNACK; name resolution is not included."""

ANSWER_S = 30.0
"""The connection to a broker that answers pings but no subscription ends after this long."""

HELD_S = 0.05
"""Seconds after which it is asked again whether messages may be read."""

INBOUND_BYTES = 64 * 1024
"""Larger messages from the broker are discarded."""

SESSION_TAKEN_OVER = 0x8E
KEEP_ALIVE_TIMEOUT = 0x8D
TOPIC_NAME_INVALID = 0x90
UNSUPPORTED_VERSION = 0x84
PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}

Wait = Callable[[Any, float, bool], tuple[bool, bool]]
"""Waits until a socket is readable (or writable, if asked), at most so many seconds; whether it is each of them."""


@dataclass(frozen=True, slots=True)
class Will:
    """The last will: the retained message that the broker publishes when the connection breaks.

    ``about``: its user properties (MQTT 5 only).
    """

    topic: str
    payload: bytes
    about: UserProperties = ()


class MqttSession:
    """One connection to the host of ``settings``.

    ``number`` identifies it; ``inbound`` is called with every message from the broker.

    ``sent``: messages that wait for an acknowledgement; ``acks`` and ``answers``: acknowledgements and answers to
    subscriptions since the owner took them last, as ``(message, reason code)`` and ``(topic filter, reason code)``;
    ``unread``: number of messages from the broker that were discarded.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        will: Will | None,
        protocol: str,
        number: int,
        inbound: Callable[[InboundMessage], None],
        wait: Wait,
        keeping: Keeping | None = None,
    ) -> None:
        self._settings = settings
        self._keeping = keeping
        self._protocol = protocol
        self._number = number
        self._inbound = inbound
        self._wait = wait
        self._asked: dict[int, tuple[str, float]] = {}
        self._socket_error = ""
        self._refused: ConnectionFailed | None = None
        self.connected: Connected | None = None
        self.ended: ConnectionFailed | None = None
        self.sent: dict[int, Outgoing] = {}
        self.acks: list[tuple[Outgoing, int]] = []
        self.answers: list[tuple[str, int]] = []
        self.unread = 0
        self._client = self._make_client(client_id, will)
        self._attach()

    def _make_client(self, client_id: str, will: Will | None) -> Client:
        settings = self._settings
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self._protocol == "5" else True,
            protocol=PROTOCOLS[self._protocol],
            transport=settings.transport,
            reconnect_on_failure=False,
            manual_ack=self._keeping is not None,
        )
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages = 0  # the send queue keeps the window; paho's own queue stays unused
        if settings.transport == "websockets":
            # paho writes IPv6 addresses into the header without their brackets.
            host = {"Host": settings.address} if ":" in settings.host else None
            client.ws_set_options(settings.websocket_path, host)
        if settings.username is not None:
            client.username_pw_set(settings.username, password(settings))
        if settings.tls.enabled:
            client.tls_set_context(tls_context(settings.tls))
        if will is not None:
            properties = None
            if self._protocol == "5" and will.about:
                properties = _properties(PacketTypes.WILLMESSAGE)
                properties.UserProperty = list(will.about)
            client.will_set(will.topic, will.payload, qos=1, retain=True, properties=properties)
        return client

    def _attach(self) -> None:
        def on_publish(_client: Client, _data: Any, mid: int, code: Any, _properties: Any) -> None:
            message = self.sent.pop(mid, None)
            if message is not None:
                self.acks.append((message, code.value))

        def on_subscribe(_client: Client, _data: Any, mid: int, codes: Any, _properties: Any) -> None:
            topic_filter, _since = self._asked.pop(mid, ("", 0.0))
            self.answers += [(topic_filter, code.value) for code in codes]

        def on_message(_client: Client, _data: Any, message: MQTTMessage) -> None:
            keeping = self._keeping
            ticket = None if keeping is None else (self._number, message.mid)
            received = _received(message, INBOUND_BYTES if keeping is None else keeping.largest, ticket)
            if received is not None:
                self._inbound(received)
                return
            self.unread += 1
            self.acknowledge(message.mid)

        def on_log(_client: Client, _data: Any, level: int, text: str) -> None:
            if level == LogLevel.MQTT_LOG_ERR and "on socket" in text:
                self._socket_error = text

        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = on_publish
        self._client.on_subscribe = on_subscribe
        self._client.on_message = on_message
        self._client.on_log = on_log

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, code: Any, properties: Properties | None) -> None:
        if code.is_failure:
            elsewhere = _reference(properties)
            wrong_version = code.value == UNSUPPORTED_VERSION
            self._refused = ConnectionFailed(
                f"refused: {code.getName()}{elsewhere}", protocol=wrong_version, refusal=not wrong_version
            )
            return
        self.connected = Connected(
            self._number,
            self._protocol,
            getattr(properties, "ReceiveMaximum", 65_535),
            getattr(properties, "MaximumPacketSize", None),
            self._settings.address,
        )

    def _on_disconnect(self, _client: Client, _data: Any, flags: Any, code: Any, properties: Any) -> None:
        if self.ended is not None:
            return  # paho reports one end twice; only the first report has the reason
        if not flags.is_disconnect_packet_from_server:
            text = "no answer to pings" if code.value == KEEP_ALIVE_TIMEOUT else "the broker closed the connection"
            self.ended = ConnectionFailed(tls_reason(self._socket_error) or text)
        elif code.value == SESSION_TAKEN_OVER:
            self.ended = ConnectionFailed("another client uses our client id", taken_over=True)
        else:
            text = f"the broker closed the connection: {reason(code.value)}{_reference(properties)}"
            self.ended = ConnectionFailed(text, refusal=code.value >= 0x80)

    # -- called by the owner ------------------------------------------------------------------------------------------

    def open(self, stopping: Callable[[], bool]) -> Connected:
        """Connect and wait for the broker's CONNACK.

        Raises:
            ConnectionFailed: the broker refused the connection or did not answer.
            OSError: the broker cannot be reached.
        """
        # paho detects a dead peer after two keepalives; with three quarters that is one and a half of the setting.
        keepalive = max(3, int(self._settings.keepalive_s * 0.75))
        properties = None
        if self._protocol == "5":
            properties = _properties(PacketTypes.CONNECT)
            properties.MaximumPacketSize = INBOUND_BYTES + 1024
        clean: bool | Literal[3] = MQTT_CLEAN_START_FIRST_ONLY
        if properties is not None and self._keeping is not None:
            properties.MaximumPacketSize = self._keeping.largest + 1024
            properties.SessionExpiryInterval = self._keeping.expiry_s
            properties.ReceiveMaximum = self._keeping.receive_maximum
            clean = False
        settings = self._settings
        self._client.connect(settings.host, settings.effective_port, keepalive, "", 0, clean, properties)
        deadline = time.monotonic() + CONNECT_S
        while self.connected is None:
            if stopping():
                raise ConnectionFailed("stopping")
            if time.monotonic() > deadline:
                raise ConnectionFailed(f"no answer within {CONNECT_S:.0f} s")
            rc = self.step(0.5)
            if self._refused is not None:
                raise self._refused
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS and self.connected is None:
                raise self._hung_up()
        return self.connected

    def _hung_up(self) -> ConnectionFailed:
        why = tls_reason(self._socket_error)
        if why:
            return ConnectionFailed(why)
        tls = self._settings.tls
        # The TLS alert may be lost: a broker that closes at once resets the connection.
        hint = "; does the broker require a client certificate?" if tls.enabled and tls.cert_file is None else ""
        return ConnectionFailed(f"the broker closed the connection before accepting it{hint}", protocol=True)

    def subscribe(self, topic_filter: str, *, no_local: bool) -> None:
        """Subscribe to ``topic_filter``; ``no_local``: without our own messages (MQTT 5 only)."""
        if self._protocol == "5":
            options = SubscribeOptions(qos=1, noLocal=no_local)
            _rc, mid = self._client.subscribe(topic_filter, options=options)
        else:
            _rc, mid = self._client.subscribe(topic_filter, qos=1)
        if mid is not None:
            self._asked[mid] = topic_filter, time.monotonic()

    def unsubscribe(self, topic_filter: str) -> None:
        """End the subscription to ``topic_filter``; its answer is not awaited."""
        self._client.unsubscribe(topic_filter)

    def publish(self, message: Outgoing) -> None:
        """Send ``message``; its acknowledgement appears in :attr:`acks`."""
        properties = None
        if self._protocol == "5":
            properties = _properties(PacketTypes.PUBLISH)
            if message.about:
                properties.UserProperty = list(message.about)
            if message.correlation is not None:
                properties.CorrelationData = message.correlation
            if message.expiry_s is not None:
                properties.MessageExpiryInterval = message.expiry_s
        try:
            info = self._client.publish(message.topic, message.payload, 1, message.retain, properties)
        except ValueError:  # paho refuses the topic, as an invalid response topic of a request
            self.acks.append((message, TOPIC_NAME_INVALID))
        else:
            self.sent[info.mid] = message

    def acknowledge(self, packet: int) -> None:
        """Send the acknowledgement of the message with the id ``packet``; only with :class:`Keeping`."""
        self._client.ack(packet, 1)

    def check(self, rc: int) -> None:
        """Raise ConnectionFailed when the connection is over; ``rc`` is the result of the last :meth:`step`."""
        if self.ended is not None or rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self.ended or ConnectionFailed(f"connection lost: {MQTTErrorCode(rc).name}")
        oldest = next(iter(self._asked.values()), None)
        if oldest is not None and time.monotonic() - oldest[1] > ANSWER_S:
            text = f"no answer to the subscription to {oldest[0]} for {ANSWER_S:.0f} s"
            raise ConnectionFailed(text, refusal=True)

    def step(self, timeout: float) -> int:
        """Wait for the socket or a wake-up, and let paho read, write and ping; paho's return code."""
        sock = self._client.socket()
        if sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        # TLS sockets and paho's WebSocket over TLS buffer what was read ahead.
        buffered = getattr(sock, "pending", _nothing)() > 0
        if self._keeping is not None and not self._keeping.ready():
            self._wait(None, HELD_S, False)
            buffered, readable, writable = False, False, self._client.want_write()
        else:
            readable, writable = self._wait(sock, 0.0 if buffered else timeout, self._client.want_write())
        if buffered or readable:
            rc = self._client.loop_read()
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return rc
        if writable:
            rc = self._client.loop_write()
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return rc
        return self._client.loop_misc()

    def disconnect(self) -> None:
        """Send DISCONNECT, so that the broker does not publish the last will."""
        self._client.disconnect()
        deadline = time.monotonic() + 1.0
        while self._client.want_write() and time.monotonic() < deadline:
            if self.step(0.2) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return

    def close(self) -> None:
        """Close the socket in whatever state it is."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()


def _nothing() -> int:
    return 0


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _reference(properties: Any) -> str:
    """The broker's own reason string and server reference, in brackets."""
    said = [getattr(properties, name, None) for name in ("ReasonString", "ServerReference")]
    words = [str(text)[:100] for text in said if text]
    return f" ({'; '.join(words)})" if words else ""


def _received(message: MQTTMessage, largest: int, ticket: Ticket | None) -> InboundMessage | None:
    """The message as a value; None when it is too large or its topic is not UTF-8."""
    if len(message.payload) > largest:
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
        expiry_s=getattr(properties, "MessageExpiryInterval", None),
        about=tuple(getattr(properties, "UserProperty", ())),
        ticket=ticket,
    )


CREDENTIAL = "mqtt-password"
"""Name of the systemd credential with the password."""


def password(settings: MqttSettings) -> str | None:
    """Read the password from the setting, its file or ``$CREDENTIALS_DIRECTORY``. Raises ConfigError.

    It is read for every connection, as the certificates are, so that both can be rotated.
    """
    if settings.password is not None:
        return settings.password.get_secret_value()
    path = settings.password_file
    if path is None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        path = Path(folder) / CREDENTIAL if folder else None
        if path is None or not path.exists():
            return None
    return read_secret(path, "the password")


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """Make a TLS context that verifies the broker's certificate and name. Raises ConfigError for unusable files."""
    for path in (settings.ca_file, settings.cert_file, settings.key_file):
        if path is not None and not path.exists():
            raise ConfigError(f"{path}: no such file; see mqtt.tls")
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
        if settings.ca_file:
            # From Python 3.13 on, the default refuses authorities without a key usage, as mosquitto's guide makes them.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if settings.cert_file and settings.key_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt.tls: a certificate or key cannot be used: {error}") from error
    return context
