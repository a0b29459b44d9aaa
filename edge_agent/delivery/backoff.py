"""How long to wait before trying again: exponential with full jitter, so that a fleet does not return in step. Pure."""

from __future__ import annotations

import random

from edge_agent.domain.retry import JitteredBackOff

STABLE_S = 30.0
"""A connection that stood this long was a good one: the back-off starts over."""

FLAPPING = 3
"""So many short connections in a row are an alarm: most brokers do not say that another client took our id."""

FIRST_S = 1.0
NEVER_REACHED_S = 120.0
REACHED_S = 30.0
"""Longest pause once this broker was reached: it is the right one, and its outages end."""

TAKEN_OVER_S = 30.0
"""Least pause after another client took our id, or the two would throw each other out for ever."""


class Reconnection:
    """When to connect to a broker again, and whether connections break as if two clients had one id."""

    def __init__(self, rng: random.Random) -> None:
        self._backoff = JitteredBackOff(FIRST_S, NEVER_REACHED_S, rng)
        self._short = 0

    @property
    def flapping(self) -> bool:
        """Whether connections keep breaking soon after they were accepted."""
        return self._short >= FLAPPING

    def delay(self, lasted: float | None, *, taken_over: bool = False) -> float:
        """Seconds until the next attempt. ``lasted``: for how long the connection stood; None: there was none."""
        if lasted is None:
            self._short = 0
        else:
            self._backoff.longest = REACHED_S
            self._short = 0 if lasted >= STABLE_S else self._short + 1
            if lasted >= STABLE_S:
                self._backoff.reset()
        return self._backoff.next(TAKEN_OVER_S if taken_over else 0.0)
