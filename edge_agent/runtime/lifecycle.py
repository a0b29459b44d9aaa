"""Stop and reload requests, also by signals, and notifications to systemd; a second stop signal exits at once.

A signal handler must not set a :class:`threading.Event`: it interrupts the main thread anywhere, also where that thread
holds the event's own lock, and would wait for it for ever. So the interpreter writes the signal's number to a socket
and a thread of its own does the rest. That thread also answers while the main thread hangs in native code.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """One-way stop flag. ``reason`` is that of the first request, ``failure`` whether it was a failure."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._first = threading.Lock()
        self.reason = ""
        self.failure = False

    def request(self, reason: str, *, failure: bool = False) -> None:
        """Request a stop; the first reason is kept."""
        with self._first:
            if not self._event.is_set():
                self.reason = reason
                self.failure = failure
                self._event.set()

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep at most ``seconds``; True as soon as a stop is requested."""
        return self._event.wait(seconds)


@contextmanager
def stop_on_signals(stop: Stop, hangup: threading.Event | None = None) -> Iterator[None]:
    """While inside, SIGTERM and SIGINT request a stop; a second one exits at once with 128 + its number.

    SIGHUP sets ``hangup`` (ask for a reload), if given. SIGUSR1 writes the stacks of all threads to stderr. To be
    entered in the main thread.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(reader, stop, hangup), name="signals", daemon=True)
    watcher.start()
    numbers = _STOP_SIGNALS if hangup is None else (*_STOP_SIGNALS, signal.SIGHUP)
    previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    previous = {number: signal.signal(number, _leave_to_watcher) for number in numbers}
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        yield
    finally:
        faulthandler.unregister(signal.SIGUSR1)
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_fd)
        writer.close()
        watcher.join()
        reader.close()


def _leave_to_watcher(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: only signals that have a handler are written to the socket."""


def _watch(reader: socket.socket, stop: Stop, hangup: threading.Event | None) -> None:
    """Act on every signal number read, until the other end closes."""
    asked = False
    while received := reader.recv(64):
        for number in received:
            if number in _STOP_SIGNALS:
                if asked:
                    os._exit(128 + number)
                asked = True
                stop.request(signal.Signals(number).name)
            elif number == signal.SIGHUP and hangup is not None:
                hangup.set()


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
        limit = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(limit) / 1e6 if limit.isdecimal() else None
        """Seconds that systemd waits for a ping by the unit's ``WatchdogSec=``; None without a watchdog."""

    def ready(self, status: str) -> None:
        """Report that the agent is up."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """Set the status line of ``systemctl status``."""
        self._send(f"STATUS={_line(text)}")

    def watchdog(self) -> None:
        """Ping the watchdog."""
        self._send("WATCHDOG=1")

    def watchdog_limit(self, seconds: float) -> None:
        """Set the seconds that systemd waits for a ping, until the next start, in place of ``WatchdogSec=``."""
        self._send(f"WATCHDOG_USEC={round(seconds * 1e6)}")

    def busy(self, status: str, seconds: float) -> None:
        """Report work on ``status`` before :meth:`ready`: extend the start timeout by ``seconds``."""
        self._send(f"STATUS={_line(status)}\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def extend(self, seconds: float) -> None:
        """Extend the timeout of the present start, reload or stop to ``seconds`` from now, if that is later."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

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
