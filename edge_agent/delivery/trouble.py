"""How connections fail, and what people are told: one line that names the broker and never a secret."""

from __future__ import annotations

import socket
import ssl

from edge_agent.settings.schema import MqttSettings


class ConnectionFailed(Exception):  # noqa: N818 - an ending, not always an error
    """A connection ended or did not come about. ``protocol``: the broker may not speak this version."""

    def __init__(self, reason: str, *, protocol: bool = False, taken_over: bool = False) -> None:
        super().__init__(reason)
        self.protocol = protocol
        self.taken_over = taken_over


def explain(error: Exception, settings: MqttSettings) -> str:
    """One line for ``error``."""
    where = f"{settings.host}:{settings.effective_port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{where}: the broker's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"{where}: TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return f"{where}: the name cannot be resolved: {error.strerror}"
    if isinstance(error, TimeoutError):
        return f"{where}: timed out"
    if isinstance(error, OSError):
        return f"{where}: {error.strerror or error}"
    return str(error)
