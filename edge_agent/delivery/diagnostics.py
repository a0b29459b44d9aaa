"""Diagnostics of delivery: its figures, and in one line each refusals, duplicate device ids, TLS and connection errors.

The lines are shown on ``health`` and in the log, and never hold a secret. Callers pass in the time in monotonic
seconds. One thread writes; lines may be read from any thread.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edge_agent.delivery import topics
from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.outbox.records import OutboxStats
from edge_agent.delivery.sinks import SinkHealth
from edge_agent.domain.event import Event
from edge_agent.settings.mqtt import MqttSettings


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """State of delivery. ``outbox`` is None when it is not open.

    ``broker``: address of the one in use; ``rank``: its place among the configured ones, from 0. ``trouble``: why there
    is no connection. ``refusals`` and ``namesakes``: one line for each refusal of the broker,
    and for each other agent that publishes as this device.
    """

    enabled: bool
    connected: bool
    protocol: str | None
    broker: str | None
    rank: int
    trouble: str | None
    client_id_in_use: bool
    in_flight: int
    sent: int
    inbound_dropped: int
    refused_topics: tuple[str, ...]
    refusals: tuple[str, ...]
    namesakes: tuple[str, ...]
    outbox: OutboxStats | None
    sinks: Mapping[str, SinkHealth] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As published in ``health``: without ``broker`` while there is none."""
        figures = asdict(self)
        return {name: value for name, value in figures.items() if name != "broker" or value is not None}


class EventCounter:
    """Number of events by kind and label; may be read from any thread."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}

    def count(self, event: Event) -> None:
        """Count ``event``."""
        labels = self._counts.setdefault(event.kind, {})
        label = event.label if event.label in labels or len(labels) < MOST_LABELS else OTHER_LABEL
        labels[label] = labels.get(label, 0) + 1

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of events so far, by kind and label."""
        return {kind: dict(labels) for kind, labels in tuple(self._counts.items())}


MOST_LABELS, OTHER_LABEL = 100, "other"
"""Events of one kind are counted by so many labels; further ones count as ``other``."""

REMEMBERED_S = 900.0
"""How long a refusal that nothing ends (a refused connection, a message refused for good) is shown."""

KEPT = 32

Lines = tuple[str, ...]


class Refusals:
    """Refusals of the broker, shown until they end, or for :data:`REMEMBERED_S` where nothing can end them."""

    def __init__(self) -> None:
        self._standing: dict[str, str] = {}
        self._once: dict[str, float] = {}

    def publish(self, topic: str, code: int) -> None:
        """Note that messages on ``topic`` are refused at present."""
        self._standing[f"publish {topic}"] = f"the broker refuses {topic}: {reason(code)}"

    def subscription(self, topic_filter: str, code: int) -> None:
        """Note that the subscription to ``topic_filter`` was refused or, with a code below 0x80, granted."""
        self._standing.pop(f"subscribe {topic_filter}", None)
        if code >= 0x80:
            line = f"the broker refuses the subscription to {topic_filter}: {reason(code)}"
            self._standing[f"subscribe {topic_filter}"] = line

    def accepted(self, topic: str) -> None:
        """Note that a message on ``topic`` was accepted."""
        self._standing.pop(f"publish {topic}", None)

    def message(self, topic: str, why: str, now: float) -> None:
        """Note that a message on ``topic`` was refused for good."""
        self._note(f"the broker refused a message on {topic} for good: {why}", now)

    def connection(self, why: str, now: float) -> None:
        """Note that the broker refused or closed a connection and gave a reason."""
        self._note(f"the broker recently refused the connection: {why}", now)

    def lines(self, now: float) -> Lines:
        """One line for each refusal."""
        once = [line for line, at in list(self._once.items()) if now - at < REMEMBERED_S]
        return (*list(self._standing.values()), *once)

    def _note(self, line: str, now: float) -> None:
        self._once.pop(line, None)
        self._once[line] = now
        while len(self._once) > KEPT:
            del self._once[next(iter(self._once))]


class Namesakes:
    """Detect other agents that publish with this device's id, by a ``boot_id`` that is not ours.

    Retained messages are ignored: they may be our own, of an earlier run. ``quiet_s``: an agent without messages for
    this long is gone. ``republish`` is called when our ``status`` was overwritten, as by another agent's last will.
    """

    def __init__(self, names: topics.Topics, boot_id: str, quiet_s: float, republish: Callable[[], None]) -> None:
        self._names = names
        self._boot_id = boot_id
        self._quiet_s = quiet_s
        self._republish = republish
        self._seen: dict[str, float] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """Topic filters to subscribe to, whose messages are for :meth:`handle`."""
        return tuple(self._names.full(topic) for topic in (topics.STATUS, topics.INFO, topics.SUMMARY))

    def handle(self, message: InboundMessage) -> None:
        """Examine one message on this device's topics."""
        if message.retain:
            return
        if message.topic == self._names.full(topics.STATUS):
            if message.payload == topics.OFFLINE:
                self._republish()
            return
        boot_id = _boot_id(message.payload)
        if boot_id is not None and boot_id != self._boot_id:
            self._seen[boot_id] = message.received
            while len(self._seen) > KEPT:
                del self._seen[next(iter(self._seen))]

    def lines(self, now: float) -> Lines:
        """One line for each other agent that still publishes."""
        return tuple(
            f"another agent (boot_id {boot_id[:16]!r}) publishes as this device: give each its own device.id"
            for boot_id, at in list(self._seen.items())
            if now - at < self._quiet_s
        )


def _boot_id(payload: bytes) -> str | None:
    try:
        document: Any = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    found = document.get("boot_id") if isinstance(document, dict) else None
    return found if isinstance(found, str) else None


REASONS = {
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x87: "not authorised",
    0x89: "server busy",
    0x8B: "server shutting down",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}


def reason(code: int) -> str:
    """The meaning of an MQTT 5 reason code of a refusal, with the code."""
    return f"{REASONS.get(code, 'refused')} (0x{code:02x})"


class ConnectionFailed(Exception):  # noqa: N818 - not every end of a connection is an error
    """A connection ended or could not be made.

    ``protocol``: the broker may not support this version of MQTT; ``refusal``: it refused the connection and gave a
    reason; ``taken_over``: another client with the same client id has connected; ``planned``: we ended it, to return to
    the first broker.
    """

    def __init__(
        self,
        reason: str,
        *,
        protocol: bool = False,
        taken_over: bool = False,
        refusal: bool = False,
        planned: bool = False,
    ) -> None:
        super().__init__(reason)
        self.planned = planned
        self.protocol = protocol
        self.taken_over = taken_over
        self.refusal = refusal


ALERTS = {
    "CERTIFICATE_REQUIRED": "the broker requires a client certificate: set mqtt.tls.cert_file and key_file",
    "HANDSHAKE_FAILURE": "TLS failed: the broker requires a client certificate, or none of our ciphers is supported",
    "UNKNOWN_CA": "the broker does not accept our client certificate: the broker does not trust its CA",
    "CERTIFICATE_EXPIRED": "the broker does not accept our client certificate: it has expired (or a clock is wrong)",
    "CERTIFICATE_REVOKED": "the broker does not accept our client certificate: it is revoked",
    "BAD_CERTIFICATE": "the broker does not accept our client certificate",
    "CERTIFICATE_UNKNOWN": "the broker does not accept our client certificate",
    "UNSUPPORTED_CERTIFICATE": "the broker does not accept this kind of client certificate",
    "ACCESS_DENIED": "the broker does not accept our client certificate",
    "WRONG_VERSION_NUMBER": "no TLS on this port: set mqtt.tls.enabled = false, or mqtt.port (TLS: often 8883)",
    "PROTOCOL_VERSION": "the broker does not support TLS 1.2 or later",
    "UNSUPPORTED_PROTOCOL": "the broker does not support TLS 1.2 or later",
    "UNEXPECTED_EOF": "the broker closed the connection in the TLS handshake: is this a TLS port?",
}
"""Meaning of TLS alerts and OpenSSL reasons, by a word they contain."""


def tls_reason(text: str) -> str | None:
    """One line for OpenSSL's ``text``; None when it is of no known kind."""
    return next((meaning for word, meaning in ALERTS.items() if word in text.upper()), None)


def explain(error: Exception, settings: MqttSettings) -> str:
    """One line for ``error``, with the broker's address where it names none."""
    return f"{settings.address}: {_reason(error)}" if isinstance(error, OSError) else str(error)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return tls_reason(error.reason or str(error)) or f"TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return f"the host name cannot be resolved: {error.strerror}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionError) and error.errno is None:  # paho's, when the WebSocket handshake fails
        return "no WebSocket there: is it the port of the broker's websockets listener? check mqtt.websocket_path"
    return error.strerror or str(error)
