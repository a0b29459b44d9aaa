"""Time as an injected dependency: monotonic for intervals, wall time only for what leaves the device."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the agent asks of time."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never jumps."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump."""
        ...

    def synced(self) -> bool:
        """Whether the wall clock is known to be right."""
        ...


class ManualClock:
    """A clock that moves only when told to: for tests, and for recordings played faster than real time."""

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
        """Let time pass on both clocks."""
        self._monotonic += seconds
        self._wall += seconds

    def set_wall(self, wall: float, *, synced: bool = True) -> None:
        """Jump the wall clock, as a time server or a dead battery does."""
        self._wall = wall
        self._synced = synced


class SystemClock:
    """The machine's clocks. ``probe`` (see :mod:`edge_agent.runtime.machine`) is asked once a minute."""

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
    """Asks the operating system whether its clock is synchronised."""

    def __call__(self) -> bool: ...
