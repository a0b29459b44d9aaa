"""Supervisor of threads with a heartbeat, a restart budget and an orderly end; and the mailbox between two of them.

A component is a blocking function that loops until its stop flag is set and calls ``beat`` at least every
``stale_after`` seconds, or after longer on a machine whose steps take longer. When it raises, it is started again after
a growing pause, at most ``budget`` times within ``budget_window`` seconds; then the agent stops, and systemd starts a
fresh process. A native call that hangs cannot be killed from here: its heartbeat goes stale, :meth:`Supervisor.stale`
names it, and the watchdog ping is withheld.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.retry import Budget, Failures, Patience
from edge_agent.runtime.lifecycle import Stop

log = logging.getLogger(__name__)


class Beat:
    """Heartbeat of a component: calling it records that it is alive. ``longest``: longest interval so far, seconds."""

    def __init__(self, clock: Clock, longest: float = 0.0) -> None:
        self._clock = clock
        self._last = clock.monotonic()
        self.longest = longest

    def __call__(self) -> None:
        now = self._clock.monotonic()
        self.longest = max(self.longest, now - self._last)
        self._last = now

    @property
    def age(self) -> float:
        """Seconds since the last beat."""
        return self._clock.monotonic() - self._last


@dataclass(frozen=True, slots=True)
class Component:
    """``run(beat, stop)`` blocks until ``stop`` is requested or its work is over; ``wake`` makes a blocked run return.

    ``expected``: what a step of it may usually take on this machine; from then on it is learned, and only what takes
    several times longer, and longer than ``stale_after``, is stale. None: ``stale_after`` counts alone. Times in
    seconds. ``phase``: those of a lower phase are stopped first, those of one phase together.
    """

    name: str
    run: Callable[[Beat, Stop], None]
    wake: Callable[[], None] = lambda: None
    stale_after: float = 20.0
    stop_within: float = 2.0
    expected: float | None = None
    phase: int = 0

    def limit(self, longest: float) -> float:
        """Seconds without a beat after which it is stale when ``longest`` have passed between two beats before."""
        return self.stale_after if self.expected is None else Patience(self.stale_after).after(longest)


@dataclass(slots=True)
class _Running:
    component: Component
    beat: Beat
    stop: Stop
    thread: threading.Thread = field(init=False)
    failures: Failures
    restarts: int = 0
    pausing: bool = False
    finished: bool = False
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """Health of a component, for the health topic."""

    name: str
    alive: bool
    restarts: int
    beat_age: float
    last_error: str


class Supervisor:
    """Start components in the given order (downstream first) and stop them phase by phase, upstream first."""

    def __init__(self, clock: Clock, stop: Stop, budget: Budget | None = None) -> None:
        self._clock = clock
        self._stop = stop
        self._budget = budget or Budget()
        self._running: list[_Running] = []

    def start(self, components: Sequence[Component]) -> None:
        """Start one thread per component."""
        for component in components:
            running = _Running(component, Beat(self._clock, component.expected or 0.0), Stop(), Failures(self._budget))
            running.thread = threading.Thread(target=self._loop, args=(running,), name=component.name, daemon=True)
            self._running.append(running)
            running.thread.start()

    def _loop(self, running: _Running) -> None:
        while not running.stop.requested:
            running.beat()
            try:
                running.component.run(running.beat, running.stop)
            except BaseException as error:  # noqa: BLE001 - logged by _note; nothing is above this frame: sys.exit() is a failure, too
                if running.stop.wait(0):
                    break
                _note(running, error)
                if not self._pause_before_restart(running):
                    break
            else:
                break
        running.finished = True

    def _pause_before_restart(self, running: _Running) -> bool:
        pause = running.failures.note(self._clock.monotonic())
        if pause is None:
            reason = f"{running.component.name} failed too often: {running.last_error}"
            self._stop.request(reason, failure=True)
            return False
        running.restarts += 1
        running.pausing = True  # waiting longer than stale_after is no hang
        stopped = running.stop.wait(pause)
        running.beat()
        running.pausing = False
        return not stopped

    def finished(self, names: Sequence[str]) -> bool:
        """Whether all named components ended by themselves (the recording is over)."""
        wanted = set(names)
        return all(r.finished for r in self._running if r.component.name in wanted)

    def stale(self) -> list[str]:
        """Components that should beat and have not for too long."""
        beating = [r for r in self._running if not (r.finished or r.pausing)]
        return [r.component.name for r in beating if r.beat.age > r.component.limit(r.beat.longest)]

    def health(self) -> list[ComponentHealth]:
        """State of every component, in start order."""
        return [
            ComponentHealth(r.component.name, not r.finished, r.restarts, r.beat.age, r.last_error)
            for r in self._running
        ]

    def stop(self, busy: Callable[[], None] = lambda: None) -> list[str]:
        """Stop phase by phase, each component within its deadline; returns the names that did not end in time.

        ``busy`` is called as each phase begins.
        """
        late = []
        for phase in sorted({running.component.phase for running in self._running}):
            busy()
            ending = [running for running in reversed(self._running) if running.component.phase == phase]
            wakers = [_ask(running) for running in ending]
            begun = time.monotonic()
            for running, waker in zip(ending, wakers, strict=True):
                for thread in (waker, running.thread):
                    thread.join(max(0.0, begun + running.component.stop_within - time.monotonic()))
            late += [running.component for running in ending if running.thread.is_alive()]
        for component in late:
            log.warning("%s did not stop within %.1f s", component.name, component.stop_within)
        self._running.clear()
        return [component.name for component in late]


def _ask(running: _Running) -> threading.Thread:
    """Ask a component to stop. Releasing a device can hang as well as reading it, so this has a thread of its own."""
    running.stop.request("shutdown")
    component = running.component
    waker = threading.Thread(target=_wake, args=(component,), name=f"wake-{component.name}", daemon=True)
    waker.start()
    return waker


def _note(running: _Running, error: BaseException) -> None:
    """Log a failure: an expected error in one line, and once; a bug with its traceback."""
    name, before = running.component.name, running.last_error
    if not isinstance(error, EdgeAgentError):
        running.last_error = f"{type(error).__name__}: {error}"
        log.error("%s failed", name, exc_info=error)
        return
    running.last_error = str(error)
    log.log(logging.DEBUG if running.last_error == before else logging.ERROR, "%s: %s", name, error)


def _wake(component: Component) -> None:
    try:
        component.wake()
    except Exception:  # the others must be woken and stopped all the same
        log.exception("%s could not be woken", component.name)


T = TypeVar("T")


class Closed(Exception):  # noqa: N818 - it ends a loop, it is not an error
    """The mailbox was closed and is empty."""


class Mailbox(Generic[T]):
    """Hold at most ``capacity`` items; a full mailbox drops its oldest item and counts it.

    ``capacity=1`` is the latest-only mailbox for frames. ``put`` never blocks.
    """

    def __init__(self, capacity: int = 1) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._ready = threading.Condition()
        self._closed = False
        self._lost = self._told = 0

    def put(self, item: T) -> None:
        """Add ``item``; after :meth:`close` it is dropped."""
        with self._ready:
            if self._closed:
                return
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self._lost += 1
            self._items.append(item)
            self._ready.notify()

    def get(self, timeout: float | None) -> T | None:
        """The oldest item, waiting at most ``timeout`` seconds (None: for ever); None when there is none.

        Raises:
            Closed: when closed and empty.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._items or self._closed, timeout)
            if self._items:
                return self._items.popleft()
            if self._closed:
                raise Closed
            return None

    def close(self) -> None:
        """Accept no more items; the remaining ones can still be taken."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def take_lost(self) -> int:
        """Items dropped since the last call: each counts once, also when the calling component is restarted."""
        with self._ready:
            fresh, self._told = self._lost - self._told, self._lost
            return fresh

    @property
    def lost(self) -> int:
        """Items dropped since the start."""
        with self._ready:
            return self._lost
