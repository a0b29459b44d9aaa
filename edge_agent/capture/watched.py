"""Run a source on a thread of its own with time limits, so that a driver call that hangs is detected and abandoned.

A native call cannot be killed. When a device delivers nothing for too long, ``read`` raises and the thread is
abandoned; it releases its device as soon as its call returns. When too many threads hang, opening is refused until one
returns, so that a broken driver cannot exhaust threads and file descriptors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from edge_agent.capture.reopening import Source
from edge_agent.domain.errors import DeviceUnavailableError, EdgeAgentError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """Time limits in seconds for opening, reading one item and closing, and the number of threads that may hang."""

    open_s: float = 15.0
    read_s: float = 10.0
    close_s: float = 1.0
    hanging: int = 3


@runtime_checkable
class Interruptible(Protocol):
    """Source whose ``read`` can be interrupted: ``interrupt``, from any thread, makes it return None."""

    def interrupt(self) -> None: ...


class Watched(Generic[T]):
    """Run the source that ``make`` builds, a new one per opening, on a watched thread.

    With ``latest`` only the newest item is kept for the reader (cameras); without, the source waits until its item is
    taken (microphones, which have a buffer of their own). ``name`` is used in errors.
    """

    def __init__(self, make: Callable[[], Source[T]], name: str, limits: WatchLimits, *, latest: bool) -> None:
        self._make = make
        self._name = name
        self._limits = limits
        self._latest = latest
        self._session: _Session[T] | None = None
        self._left: list[_Session[T]] = []

    @property
    def hanging(self) -> bool:
        """Whether an abandoned thread is still in a driver call, and may hold the device."""
        return any(session.alive for session in self._left)

    def open(self) -> None:
        """Open on a new thread. Raises what the source's ``open`` raises, or DeviceUnavailableError when that hangs."""
        self.close()
        self._left = [session for session in self._left if session.alive]
        if len(self._left) >= self._limits.hanging:
            raise DeviceUnavailableError(
                f"{self._name} hangs in {len(self._left)} calls; unplug it, or restart the agent"
            )
        session = self._session = _Session(self._make, self._name, self._latest)
        if not session.wait_open(self._limits.open_s):
            self.close()
            raise DeviceUnavailableError(f"{self._name} did not open within {self._limits.open_s:g} s")

    def read(self) -> T | None:
        """Wait for the next item; None at the end or after :meth:`close`.

        Raises:
            DeviceUnavailableError: nothing came for ``read_s`` seconds.
            MediaError: raised by the source.
        """
        session = self._session
        return session.take(self._limits.read_s) if session else None

    def close(self) -> None:
        """Release the device, or abandon its hanging thread after ``close_s``; interrupts :meth:`read`."""
        session, self._session = self._session, None
        if session is not None and not session.stop(self._limits.close_s):
            self._left.append(session)


class _Session(Generic[T]):
    """One opening: a source, its thread, and a hand-off of one item."""

    def __init__(self, make: Callable[[], Source[T]], name: str, latest: bool) -> None:
        self._name = name
        self._latest = latest
        self._changed = threading.Condition()
        self._interrupt: Callable[[], None] = lambda: None
        self._item: T | None = None
        self._opened = False
        self._stopped = False
        self._ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(make,), name=f"capture {name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def wait_open(self, seconds: float) -> bool:
        """Return whether the source opened within ``seconds``. Raises what the source raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._opened or self._ended or self._stopped, seconds)
            if self._error is not None and not self._opened:
                raise self._error
            return self._opened or self._stopped

    def take(self, seconds: float) -> T | None:
        with self._changed:
            ready = self._changed.wait_for(lambda: self._item is not None or self._ended or self._stopped, seconds)
            if not ready:
                raise DeviceUnavailableError(f"{self._name} hangs: nothing came for {seconds:g} s")
            item, self._item = self._item, None
            if item is None and self._error is not None and not self._stopped:
                raise self._error
            self._changed.notify_all()
            return None if self._stopped else item

    def stop(self, seconds: float) -> bool:
        """Ask the thread to end; return whether it did within ``seconds``."""
        with self._changed:
            self._stopped = True
            self._item = None
            self._changed.notify_all()
            self._interrupt()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self, make: Callable[[], Source[T]]) -> None:
        try:
            self._pump(make())
        except EdgeAgentError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - a driver or a stranger's plugin may raise anything; it must reach the reader
            failure = DeviceUnavailableError(f"{self._name} failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._end(failure)
        else:
            self._end(None)

    def _pump(self, source: Source[T]) -> None:
        if isinstance(source, Interruptible):
            self._interrupt = source.interrupt
        try:
            source.open()
            with self._changed:
                self._opened = True
                self._changed.notify_all()
            while not self._stopped and (item := source.read()) is not None and self._give(item):
                pass
        finally:
            source.close()

    def _give(self, item: T) -> bool:
        with self._changed:
            if not self._latest:
                self._changed.wait_for(lambda: self._item is None or self._stopped)
            if not self._stopped:
                self._item = item
            self._changed.notify_all()
            return not self._stopped

    def _end(self, error: Exception | None) -> None:
        with self._changed:
            self._error = error
            self._ended = True
            self._changed.notify_all()
