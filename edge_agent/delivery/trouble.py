"""How connections fail, and what people are told: one line that names the broker and never a secret."""

from __future__ import annotations

import socket
import ssl

from edge_agent.settings.mqtt import MqttSettings


class ConnectionFailed(Exception):  # noqa: N818 - an ending, not always an error
    """A connection ended or did not come about. ``protocol``: the broker may not speak this version."""

    def __init__(self, reason: str, *, protocol: bool = False, taken_over: bool = False) -> None:
        super().__init__(reason)
        self.protocol = protocol
        self.taken_over = taken_over


def explain(error: Exception, settings: MqttSettings) -> str:
    """One line for ``error``."""
    where = f"{settings.host}:{settings.effective_port}"
    return f"{where}: {_reason(error)}" if isinstance(error, OSError) else str(error)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionError) and error.errno is None:  # paho's, for a handshake that was not answered so
        return "no WebSocket there: is it the broker's websockets listener, and mqtt.websocket_path its path?"
    return error.strerror or str(error)
