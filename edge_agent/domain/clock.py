"""Injected clock: monotonic time for intervals, wall time only for data that leaves the device."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Interface of a clock."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary point; never jumps."""
        ...

    def wall(self) -> float:
        """Return seconds since 1970-01-01 UTC; may jump."""
        ...

    def synced(self) -> bool:
        """Return whether the wall clock is synchronised."""
        ...


class ManualClock:
    """Clock that moves only by :meth:`advance`, for tests and for recordings analysed faster than real time."""

    def __init__(self, wall: float = 1_750_000_000.0, monotonic: float = 0.0, *, synced: bool = True) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._synced = synced

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._wall

    def synced(self) -> bool:
        return self._synced

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        self._monotonic += seconds
        self._wall += seconds

    def set_wall(self, wall: float, *, synced: bool = True) -> None:
        """Set the wall clock, as a time server or an empty clock battery does."""
        self._wall = wall
        self._synced = synced


class SystemClock:
    """The machine's clocks. ``probe`` (see :mod:`edge_agent.runtime.machine`) is called once a minute."""

    def __init__(self, probe: SyncProbe) -> None:
        self._probe = probe
        self._checked = float("-inf")
        self._synced = False

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def synced(self) -> bool:
        now = time.monotonic()
        if now - self._checked > 60.0:
            self._checked = now
            self._synced = self._probe()
        return self._synced


class SyncProbe(Protocol):
    """Query of the operating system for whether its clock is synchronised."""

    def __call__(self) -> bool: ...
