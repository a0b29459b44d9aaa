"""The service manager's notification protocol (sd_notify), without a library: datagrams to ``$NOTIFY_SOCKET``."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Sends READY, STATUS, WATCHDOG and so on; does nothing when not started by systemd."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        # Kept open: without a descriptor to spare the agent is still alive, and must be able to say so.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        if self._socket is not None:
            self._socket.settimeout(1.0)

    def ready(self, status: str) -> None:
        """The agent is up."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={_line(text)}")

    def watchdog(self) -> None:
        """Still alive."""
        self._send("WATCHDOG=1")

    def busy(self, status: str, seconds: float) -> None:
        """Alive and at work on ``status`` before :meth:`ready`, or between two of them: no start may time out for
        ``seconds`` more."""
        self._send(f"STATUS={_line(status)}\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def reloading(self, monotonic_usec: int) -> None:
        """A reload began (``Type=notify-reload`` wants the time); :meth:`ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_usec}")

    def stopping(self) -> None:
        """The agent is going down."""
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
