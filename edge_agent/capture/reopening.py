"""Reopen a camera or microphone that is lost or absent, with back-off, until it is closed.

Only :class:`~edge_agent.domain.errors.DeviceUnavailableError` is worth another attempt; any other error, and the end of
a recording, passes through. Losses stay visible: frame indices continue, and the first sound after an interruption has
its length as gap. :class:`Watched` runs a source on a thread of its own, so that a driver call that hangs is given up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from edge_agent.capture.timing import Pacer
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import DeviceUnavailableError, EdgeAgentError
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.retry import BackOff

log = logging.getLogger(__name__)

REMIND_S = 600.0
"""Seconds after which the log repeats why a device is still absent."""

DEVICE_BACK_OFF = BackOff(first=1.0, longest=10.0)
"""Pauses between attempts to open a device that is not there."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """Common interface of video and audio sources; see :class:`edge_agent.plugin.spec.VideoSource`."""

    def open(self) -> None: ...

    def read(self) -> T_co | None: ...

    def close(self) -> None: ...


@runtime_checkable
class MayHang(Protocol):
    """Source whose driver call may not return after ``close``; see :class:`edge_agent.capture.reopening.Watched`."""

    @property
    def hanging(self) -> bool: ...


class Seam(Protocol[T]):
    """Join the items of successive openings into one stream."""

    def join(self, item: T, *, fresh: bool) -> T:
        """Adapt ``item`` to the stream so far; ``fresh``: it is the first one of an opening."""
        ...


class FrameSeam:
    """Continue frame indices across openings, unless the source does so itself."""

    def __init__(self) -> None:
        self._base = 0
        self._next = 0

    def join(self, item: Frame, *, fresh: bool) -> Frame:
        if fresh:
            self._base = self._next if item.index < self._next else 0
        self._next = self._base + item.index + 1
        return replace(item, index=self._base + item.index) if self._base else item


class BlockSeam:
    """Give the first block after an interruption a gap from the end of the block before."""

    def __init__(self) -> None:
        self._end: float | None = None

    def join(self, item: AudioBlock, *, fresh: bool) -> AudioBlock:
        end, self._end = self._end, item.end
        if not fresh or end is None:
            return item
        return replace(item, gap=max(item.gap, item.time - end))


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """State of a source. ``available``: the device is open. ``error``: the last failure, empty without one.

    ``reopens`` counts successful openings after the first.
    """

    available: bool
    reopens: int
    error: str


class Reopening(Generic[T]):
    """Source that opens ``inner`` again whenever it is lost, for as long as it takes.

    One thread calls ``open`` and ``read``; ``close`` may come from another. ``on_wait`` is called at least once a
    second while the device is absent, so that a supervisor can tell waiting from hanging. A device that returns is
    noticed at most ``back_off.longest`` seconds plus the time of one attempt later.
    """

    def __init__(
        self,
        inner: Source[T],
        seam: Seam[T],
        clock: Clock,
        name: str,
        back_off: BackOff = DEVICE_BACK_OFF,
    ) -> None:
        self._inner = inner
        self._seam = seam
        self._clock = clock
        self._name = name
        self._back_off = back_off
        self._pacer = Pacer(clock)
        self._lock = threading.Lock()
        self._status = SourceStatus(available=False, reopens=0, error="")
        self._opened: float | None = None
        self._fresh = True
        self._failures = 0
        self._openings = 0
        self._told, self._told_at = "", 0.0
        self.on_wait: Callable[[], None] = lambda: None

    @property
    def status(self) -> SourceStatus:
        """Current state; from any thread."""
        return self._status

    @property
    def hanging(self) -> bool:
        """Whether the source, though closed, may hold the device, because a driver call does not return."""
        return isinstance(self._inner, MayHang) and self._inner.hanging

    def renew(self) -> None:
        """Clear the last error before a deliberate opening."""
        self._set(error="")

    def open(self) -> None:
        """Make the first attempt. An absent device is no error here: :meth:`read` waits for it.

        Raises:
            MediaError: a failure that waiting does not cure.
        """
        self._pacer = Pacer(self._clock)
        self._failures = 0
        self._opened = None
        self._attempt()

    def read(self) -> T | None:
        """Return the next item, waiting for an absent device; None at the end of a recording or after :meth:`close`."""
        pacer = self._pacer
        while not pacer.stopped:
            if self._opened is None and not (self._wait(pacer) and self._attempt()):
                continue
            try:
                item = self._inner.read()
            except DeviceUnavailableError as error:
                if not pacer.stopped:
                    self._lost(error)
                continue
            except Exception as error:
                self._set(available=False, error=str(error) or type(error).__name__)
                raise
            if item is None or pacer.stopped:
                return None
            item = self._seam.join(item, fresh=self._fresh)
            self._fresh = False
            return item
        return None

    def close(self) -> None:
        """Release the device; interrupts :meth:`read`."""
        self._pacer.stop()
        self._inner.close()
        self._set(available=False)

    def _attempt(self) -> bool:
        """Try to open the device; False when that has to be repeated."""
        pacer = self._pacer
        try:
            self._inner.open()
        except DeviceUnavailableError as error:
            self._failures += 1
            if not pacer.stopped:
                log.log(logging.WARNING if self._is_news(error) else logging.DEBUG, "%s; waiting for it", error)
                self._set(available=False, error=str(error))
            return False
        except Exception as error:  # recorded as the reason that there is no device, then raised
            self._set(available=False, error=str(error) or type(error).__name__)
            raise
        if pacer.stopped:  # close() came while the device was being opened, and found nothing to close
            self._inner.close()
            return False
        self._opened = self._clock.monotonic()
        self._fresh = True
        self._openings += 1
        self._set(available=True, reopens=self._openings - 1)
        log.info("%s: open", self._name)
        return True

    def _is_news(self, error: DeviceUnavailableError) -> bool:
        """Return whether to log an error: a new one, or the same one after :data:`REMIND_S`."""
        now, text = self._clock.monotonic(), str(error)
        if self._failures > 1 and text == self._told and now - self._told_at < REMIND_S:
            return False
        self._told, self._told_at = text, now
        return True

    def _lost(self, error: DeviceUnavailableError) -> None:
        """Close a device that failed. One that had worked for a while gets a quick first attempt."""
        worked = self._opened is not None and self._clock.monotonic() - self._opened >= 2 * self._back_off.longest
        self._failures = 1 if worked else self._failures + 1
        self._opened = None
        self._inner.close()
        self._set(available=False, error=str(error))
        log.warning("%s; reopening", error)

    def _set(self, **changes: Any) -> None:
        with self._lock:
            self._status = replace(self._status, **changes)

    def _wait(self, pacer: Pacer) -> bool:
        until = self._clock.monotonic() + self._back_off.delay(self._failures)
        while True:
            self.on_wait()
            now = self._clock.monotonic()
            if now >= until:
                return True
            if not pacer.wait(min(1.0, until - now)):
                return False


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
