"""Stop and reload requests, also by signals; a second stop signal exits at once.

A signal handler must not set a :class:`threading.Event`: it interrupts the main thread anywhere, also where that thread
holds the event's own lock, and would wait for it for ever. So the interpreter writes the signal's number to a socket
and a thread of its own does the rest. That thread also answers while the main thread hangs in native code.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import threading
from collections.abc import Iterator
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
