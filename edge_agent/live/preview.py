"""Preview: the latest camera frame, in memory only, forgotten when the camera is switched off.

Exists only when ``web.preview`` is on. Nothing else in the agent keeps a frame after its analysis.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_agent.domain.clock import Clock
from edge_agent.domain.media import Frame

FRESH_S = 5.0
"""Seconds after which a frame is too old to be shown."""


class Preview:
    """Hold the latest frame; thread-safe. While ``allowed`` returns False, no frame is kept or returned."""

    def __init__(self, clock: Clock, allowed: Callable[[], bool]) -> None:
        self._clock = clock
        self._allowed = allowed
        self._lock = threading.Lock()
        self._latest: tuple[float, Frame] | None = None

    def show(self, frame: Frame) -> None:
        """Replace the kept frame by ``frame``."""
        with self._lock:
            self._latest = (self._clock.monotonic(), frame) if self._allowed() else None

    def forget(self) -> None:
        """Drop the frame: the camera was switched off."""
        with self._lock:
            self._latest = None

    def latest(self) -> Frame | None:
        """The current frame; None without a recent one."""
        with self._lock:
            if self._latest is None or not self._allowed():
                return None
            since, frame = self._latest
            return frame if self._clock.monotonic() - since <= FRESH_S else None
