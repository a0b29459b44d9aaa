"""Notify systemd (sd_notify protocol) without a library: datagrams to ``$NOTIFY_SOCKET``."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Send READY, STATUS, WATCHDOG and so on; do nothing when not started by systemd."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        # Kept open: without a descriptor to spare the agent is still alive, and must be able to say so.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        if self._socket is not None:
            self._socket.settimeout(1.0)

    def ready(self, status: str) -> None:
        """Report that the agent is up."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """Set the status line of ``systemctl status``."""
        self._send(f"STATUS={_line(text)}")

    def watchdog(self) -> None:
        """Ping the watchdog."""
        self._send("WATCHDOG=1")

    def busy(self, status: str, seconds: float) -> None:
        """Report work on ``status`` before :meth:`ready`: extend the start timeout by ``seconds``."""
        self._send(f"STATUS={_line(status)}\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def reloading(self, monotonic_usec: int) -> None:
        """Report the begin of a reload (``Type=notify-reload`` needs the time); :meth:`ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_usec}")

    def stopping(self) -> None:
        """Report that the agent stops."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            log.warning("cannot notify systemd: %s", error)


def _line(text: str) -> str:
    """``text`` in one line: a line break in it would begin another assignment."""
    return " ".join(text.split())
