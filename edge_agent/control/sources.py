"""Source controllers: open and release a camera or microphone while the agent runs.

One supervised thread reads the source into a mailbox; ``turn`` and ``cycle`` are called by other threads. Off means
released: :attr:`SourceController.released` is true only once the source was closed and no call is left hanging in
its driver.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from edge_agent.capture import Reopening, SourceStatus
from edge_agent.domain.summary import ENDED, MISSING, STARTING
from edge_agent.runtime.lifecycle import Stop
from edge_agent.runtime.supervisor import Beat, Component, Mailbox

T = TypeVar("T")

IDLE_S = 1.0
"""Seconds between the heartbeats of a source that is switched off."""


class SourceController(Generic[T]):
    """Read ``source`` into the mailbox ``into`` while it is on. ``on_open`` is called before each opening."""

    def __init__(
        self, name: str, source: Reopening[T], into: Mailbox[T], on_open: Callable[[], None] = lambda: None
    ) -> None:
        self.name = name
        self._source = source
        self._into = into
        self._on_open = on_open
        self._changed = threading.Condition()
        self._on = True
        self._turns = 0
        self._in_use = False
        self.ended = False
        """Whether the source was a recording that is over."""

    @property
    def status(self) -> SourceStatus:
        """Status of the source."""
        return self._source.status

    @property
    def on(self) -> bool:
        """Whether the source may be open."""
        return self._on

    @property
    def released(self) -> bool:
        """Whether the device is closed, no call is left in its driver, and it stays so until the next turn."""
        return not (self._on or self._in_use or self._source.hanging)

    @property
    def why_not(self) -> str:
        """Why a source that is on yields nothing: a reason of :mod:`edge_agent.domain.summary`, or empty."""
        status = self._source.status
        if status.available:
            return ""
        return ENDED if self.ended else MISSING if status.error else STARTING

    def turn(self, on: bool) -> None:
        """Switch on or off; returns before the device is released, see :meth:`wait_released`."""
        with self._changed:
            if on == self._on:
                return
            if on:
                self._source.renew()
            self._on = on
            self._turns += 1
            self._changed.notify_all()
        if not on:
            self._source.close()

    def cycle(self) -> None:
        """Release the device and open it again, unless it is off."""
        with self._changed:
            self._turns += 1
        self._source.renew()
        self._source.close()

    def wait_released(self, seconds: float) -> bool:
        """Whether the device was released within that time."""
        with self._changed:
            self._changed.wait_for(lambda: self._on or not self._in_use, seconds)
        return self.released

    def component(self) -> Component:
        """The thread that reads the source."""
        return Component(self.name, self._run, self._wake, stale_after=60.0)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self._source.close()

    def _run(self, beat: Beat, stop: Stop) -> None:
        self._source.on_wait = beat  # waiting for an absent device is not hanging
        while not self.ended and self._wait_open(beat, stop):
            self.ended = self._flow(beat, stop)
        self._into.close()

    def _wait_open(self, beat: Beat, stop: Stop) -> bool:
        """Wait while the source is off; False when stopping."""
        with self._changed:
            while not (self._on or stop.requested):
                beat()
                self._changed.wait(IDLE_S)
        return not stop.requested

    def _flow(self, beat: Beat, stop: Stop) -> bool:
        """One opening from beginning to end; True at the end of a recording."""
        with self._changed:
            turn = self._turns
            if not self._on:
                return False
            self._in_use = True
        self._on_open()
        try:
            self._source.open()
            while turn == self._turns and not stop.requested:
                beat()
                item = self._source.read()
                if turn != self._turns or stop.requested:  # discard what was read while the source was switched off
                    return False
                if item is None:
                    return True
                self._into.put(item)
            return False
        finally:
            self._source.close()
            with self._changed:
                self._in_use = False
                self._changed.notify_all()
