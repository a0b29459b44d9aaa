"""Asking the process to stop or to reload: signals only set flags; a second stop signal stops waiting."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """A one-way switch that every loop watches. ``reason`` is the first one given."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""

    def request(self, reason: str) -> None:
        """Ask for a stop; the first reason is kept."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep at most ``seconds``; True as soon as a stop is requested."""
        return self._event.wait(seconds)


@contextmanager
def stop_on_signals(stop: Stop, hangup: threading.Event | None = None) -> Iterator[None]:
    """While inside, SIGTERM and SIGINT request a stop; a second one exits at once with 128 + its number.

    SIGHUP sets ``hangup`` (ask for a reload), if given. SIGUSR1 writes the stacks of all threads to stderr.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.requested:
            os._exit(128 + number)
        stop.request(signal.Signals(number).name)

    def reload(_number: int, _frame: FrameType | None) -> None:
        assert hangup is not None
        hangup.set()

    handlers = {signal.SIGTERM: handle, signal.SIGINT: handle}
    if hangup is not None:
        handlers[signal.SIGHUP] = reload
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        yield
    finally:
        faulthandler.unregister(signal.SIGUSR1)
        for number, handler in previous.items():
            signal.signal(number, handler)
