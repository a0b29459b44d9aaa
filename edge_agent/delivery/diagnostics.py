"""What the broker turned down and who else publishes on our topics, as lines for people on ``health``. Pure.

Time is given by the caller in monotonic seconds. One thread writes; lines may be read from any.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from typing import Any

from edge_agent.delivery import topics
from edge_agent.delivery.link import InboundMessage
from edge_agent.settings.mqtt import MqttSettings

REMEMBERED_S = 900.0
"""What happened once (a connection refused, a message turned down for good) is told for this long."""

KEPT = 32

Lines = tuple[str, ...]


class Refusals:
    """What the broker refused: until it is accepted, or for :data:`REMEMBERED_S` where nothing can end it."""

    def __init__(self) -> None:
        self._standing: dict[str, str] = {}
        self._once: dict[str, float] = {}

    def publish(self, topic: str, code: int) -> None:
        """Messages on ``topic`` are turned down at present."""
        self._standing[f"publish {topic}"] = f"the broker refuses {topic}: {reason(code)}"

    def subscription(self, topic_filter: str, code: int) -> None:
        """The subscription to ``topic_filter`` was refused, or (below 0x80) granted."""
        self._standing.pop(f"subscribe {topic_filter}", None)
        if code >= 0x80:
            line = f"the broker refuses the subscription to {topic_filter}: {reason(code)}"
            self._standing[f"subscribe {topic_filter}"] = line

    def accepted(self, topic: str) -> None:
        """A message on ``topic`` was taken."""
        self._standing.pop(f"publish {topic}", None)

    def message(self, topic: str, why: str, now: float) -> None:
        """A message on ``topic`` was turned down for good."""
        self._note(f"the broker refused a message on {topic} for good: {why}", now)

    def connection(self, why: str, now: float) -> None:
        """The broker refused or ended the connection, giving a reason."""
        self._note(f"the broker lately refused this agent: {why}", now)

    def lines(self, now: float) -> Lines:
        """One line for each."""
        once = [line for line, at in list(self._once.items()) if now - at < REMEMBERED_S]
        return (*list(self._standing.values()), *once)

    def _note(self, line: str, now: float) -> None:
        self._once.pop(line, None)
        self._once[line] = now
        while len(self._once) > KEPT:
            del self._once[next(iter(self._once))]


class Namesakes:
    """Other agents that publish as our device, known by the ``boot_id`` in what we have not sent.

    A retained message tells nothing: it may be our own, of an earlier run. ``quiet_s``: who has said nothing for this
    long is gone. ``republish`` is called when our ``status`` was overwritten, as by the last will of another.
    """

    def __init__(self, names: topics.Topics, boot_id: str, quiet_s: float, republish: Callable[[], None]) -> None:
        self._names = names
        self._boot_id = boot_id
        self._quiet_s = quiet_s
        self._republish = republish
        self._seen: dict[str, float] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """What is to be subscribed to, and handed to :meth:`heard`."""
        return tuple(self._names.full(topic) for topic in (topics.STATUS, topics.INFO, topics.SUMMARY))

    def heard(self, message: InboundMessage) -> None:
        """Look at one message on our own topics."""
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
        """One line for each that is still there."""
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
    0x83: "the broker has its own reasons",
    0x87: "not authorised",
    0x89: "server busy",
    0x8B: "server shutting down",
    0x8D: "no pings arrived",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x93: "too many messages at a time",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "messages too fast",
    0x97: "quota exceeded",
    0x98: "an administrator's doing",
    0x99: "payload format invalid",
    0x9A: "no retained messages allowed",
    0x9B: "this QoS is not supported",
    0x9C: "use another server",
    0x9D: "the server has moved",
    0x9E: "no shared subscriptions",
    0x9F: "too many connections at a time",
    0xA0: "connected for too long",
    0xA1: "no subscription identifiers",
    0xA2: "no wildcard subscriptions",
}


def reason(code: int) -> str:
    """What an MQTT 5 reason code of a refusal means, with the code."""
    return f"{REASONS.get(code, 'refused')} (0x{code:02x})"


class ConnectionFailed(Exception):  # noqa: N818 - an ending, not always an error
    """A connection ended or did not come about. ``protocol``: the broker may not speak this version; ``refusal``: it
    said that it does not want us; ``taken_over``: it has another client of our id.
    """

    def __init__(self, reason: str, *, protocol: bool = False, taken_over: bool = False, refusal: bool = False) -> None:
        super().__init__(reason)
        self.protocol = protocol
        self.taken_over = taken_over
        self.refusal = refusal


ALERTS = {
    "CERTIFICATE_REQUIRED": "the broker demands a client certificate: set mqtt.tls.cert_file and key_file",
    "HANDSHAKE_FAILURE": "TLS failed: the broker demands a client certificate, or ciphers that are not known here",
    "UNKNOWN_CA": "the broker does not accept our client certificate: its CA is not the one that the broker trusts",
    "CERTIFICATE_EXPIRED": "the broker does not accept our client certificate: it has expired (or a clock is wrong)",
    "CERTIFICATE_REVOKED": "the broker does not accept our client certificate: it is revoked",
    "BAD_CERTIFICATE": "the broker does not accept our client certificate",
    "CERTIFICATE_UNKNOWN": "the broker does not accept our client certificate",
    "UNSUPPORTED_CERTIFICATE": "the broker does not accept this kind of client certificate",
    "ACCESS_DENIED": "the broker does not accept our client certificate",
    "WRONG_VERSION_NUMBER": "no TLS on this port: set mqtt.tls.enabled = false, or mqtt.port (TLS: often 8883)",
    "PROTOCOL_VERSION": "the broker speaks no version of TLS that is safe: it needs at least TLS 1.2",
    "UNSUPPORTED_PROTOCOL": "the broker speaks no version of TLS that is safe: it needs at least TLS 1.2",
    "UNEXPECTED_EOF": "the broker hung up in the TLS handshake: is this port for TLS?",
}
"""What TLS's alerts and OpenSSL's reasons mean here, by a word that they hold."""


def tls_reason(text: str) -> str | None:
    """One line for what OpenSSL says, None when it says nothing of a known kind."""
    return next((meaning for word, meaning in ALERTS.items() if word in text.upper()), None)


def explain(error: Exception, settings: MqttSettings) -> str:
    """One line for ``error``."""
    where = f"{settings.host}:{settings.effective_port}"
    return f"{where}: {_reason(error)}" if isinstance(error, OSError) else str(error)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return tls_reason(error.reason or str(error)) or f"TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionError) and error.errno is None:  # paho's, for a handshake that was not answered so
        return "no WebSocket there: is it the broker's websockets listener, and mqtt.websocket_path its path?"
    return error.strerror or str(error)
