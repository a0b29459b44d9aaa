"""Waiting for a moment of the injected clock in a way that closing interrupts; and keeping a stream to a rate."""

from __future__ import annotations

import threading

from edge_agent.domain.clock import Clock

_SLICE = 0.25
"""Longest sleep at a time, so that a manual clock that was moved is noticed."""


class Pacer:
    """Sleeps on behalf of one source; made by ``open`` and stopped by ``close``, from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stop = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End all waiting, now and later."""
        self._stop.set()

    def wait_until(self, moment: float) -> bool:
        """Sleep until the clock's monotonic time is ``moment``; False when stopped meanwhile."""
        while not self._stop.is_set():
            remaining = moment - self._clock.monotonic()
            if remaining <= 0:
                return True
            self._stop.wait(min(remaining, _SLICE))
        return False

    def wait(self, seconds: float) -> bool:
        """Sleep for ``seconds``; False when stopped meanwhile."""
        return self.wait_until(self._clock.monotonic() + seconds)


class Thinner:
    """Chooses, of pictures that come faster than ``fps``, as many as were asked for, evenly. Pure."""

    def __init__(self, fps: float) -> None:
        self._period = 1.0 / fps
        self._due = float("-inf")

    def wants(self, now: float) -> bool:
        """Whether the picture that came at ``now`` is one of them."""
        # A quarter of a period early is early enough: else jitter would decide between two neighbours.
        if now < self._due - self._period / 4:
            return False
        # From where it was due, not from when it came, so that lateness does not add up; but no burst after a pause.
        late = now - self._due
        self._due = (self._due if late < self._period else now) + self._period
        return True
