"""The camera's latest picture for those who may see it: in memory only, and gone when the camera is switched off.

Made only when ``web.preview`` is on. Nothing else in the agent keeps a picture after it was looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_agent.domain.clock import Clock
from edge_agent.domain.media import Frame

FRESH_S = 5.0
"""An older picture is not what the camera sees now, and is not given out."""


class Preview:
    """Thread-safe. ``allowed`` says whether the camera may be open now; a picture is neither kept nor shown without."""

    def __init__(self, clock: Clock, allowed: Callable[[], bool]) -> None:
        self._clock = clock
        self._allowed = allowed
        self._lock = threading.Lock()
        self._latest: tuple[float, Frame] | None = None

    def show(self, frame: Frame) -> None:
        """Keep ``frame`` instead of the one before."""
        with self._lock:
            self._latest = (self._clock.monotonic(), frame) if self._allowed() else None

    def forget(self) -> None:
        """To be called after the camera was switched off: what it saw before is not shown when it is on again."""
        with self._lock:
            self._latest = None

    def latest(self) -> Frame | None:
        """What the camera sees now; None while it sees nothing."""
        with self._lock:
            if self._latest is None or not self._allowed():
                return None
            since, frame = self._latest
            return frame if self._clock.monotonic() - since <= FRESH_S else None
