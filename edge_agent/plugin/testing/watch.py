"""Seeing what an analyzer does besides answering: threads, sleep, network, other programs, files."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

Listener = Callable[[str, tuple[Any, ...]], None]

_NETWORK = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo")
_PROCESS = ("subprocess.Popen", "os.system", "os.fork", "os.posix_spawn")


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collects what this thread's Python code does meanwhile and an analyzer must not do."""
    deeds: list[str] = []
    here = threading.get_ident()

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if threading.get_ident() != here:
            return
        if event in _NETWORK:
            deeds.append("uses the network")
        elif event in _PROCESS:
            deeds.append("starts another program")
        elif event == "open" and _writes(arguments[0], arguments[2]):
            deeds.append(f"writes the file {arguments[0]}")

    start, sleep = threading.Thread.start, time.sleep

    def started(thread: threading.Thread) -> None:
        deeds.append(f"starts a thread ({thread.name})")
        start(thread)

    def slept(seconds: float) -> None:
        deeds.append(f"sleeps for {seconds} s")
        sleep(seconds)

    listeners = _audit()
    listeners.append(listen)
    try:
        with mock.patch.object(threading.Thread, "start", started), mock.patch.object(time, "sleep", slept):
            yield deeds
    finally:
        listeners.remove(listen)


@cache
def _audit() -> list[Listener]:
    """The listeners of the process's one audit hook: a hook cannot be taken out again, a listener can."""
    listeners: list[Listener] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        for listener in listeners:
            listener(event, arguments)

    sys.addaudithook(hook)
    return listeners


def _writes(path: object, flags: int) -> bool:
    """Whether an ``open`` is for writing; byte code that an import leaves behind does not count."""
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and "__pycache__" not in str(path)
