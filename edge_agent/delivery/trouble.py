"""How connections fail, and what people are told: one line that names the broker and never a secret."""

from __future__ import annotations

import socket
import ssl

from edge_agent.settings.mqtt import MqttSettings


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
