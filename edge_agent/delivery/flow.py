"""What may be on its way to the broker: the in-flight window, and pauses of topics that the broker turns down. Pure.

Time is given by the caller in monotonic seconds. Nothing is sent and nothing is stored here.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass

from edge_agent.delivery.backoff import Backoff
from edge_agent.delivery.rows import Row

PAUSE_S = (1.0, 300.0)
LIVE_RESERVE = 2
"""Places in the window that backlog leaves to live messages, where the window is large enough."""


@dataclass(frozen=True, slots=True)
class Flight:
    """One message on its way. ``row`` is None for a current state."""

    topic: str
    row: Row | None
    sent: float


class Window:
    """Unacknowledged messages by token, never more than :attr:`size`."""

    def __init__(self, own_size: int) -> None:
        self._own_size = own_size
        self.size = own_size
        self._flights: OrderedDict[int, Flight] = OrderedDict()
        self._next = 0

    def __len__(self) -> int:
        return len(self._flights)

    def restart(self, receive_maximum: int) -> list[Flight]:
        """A new connection, which allows ``receive_maximum``: nothing is on its way any more; what was."""
        self.size = max(1, min(self._own_size, receive_maximum))
        lost = list(self._flights.values())
        self._flights.clear()
        return lost

    def room(self, *, live: bool) -> int:
        """How many more messages may be sent now."""
        reserve = 0 if live or self.size <= 2 * LIVE_RESERVE else LIVE_RESERVE
        return max(0, self.size - reserve - len(self._flights))

    def depart(self, flight: Flight) -> int:
        """Note that ``flight`` is sent; its token."""
        self._next += 1
        self._flights[self._next] = flight
        return self._next

    def land(self, token: int) -> Flight | None:
        """The flight that was acknowledged, None for one of an earlier connection."""
        return self._flights.pop(token, None)

    def oldest(self) -> float | None:
        """When the oldest flight departed."""
        return next((flight.sent for flight in self._flights.values()), None)

    def on(self, topic: str) -> int:
        """Flights on ``topic``."""
        return sum(flight.topic == topic for flight in self._flights.values())

    def rows(self) -> list[Row]:
        """The rows on their way, oldest first."""
        return [flight.row for flight in self._flights.values() if flight.row is not None]


class Pauses:
    """Topics on which the broker turned messages down, each with its own back-off.

    When a pause ends, one message is sent to see; the topic is free again once one was accepted.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._paused: dict[str, tuple[Backoff, float]] = {}

    def refused(self, topic: str, now: float) -> None:
        """A message on ``topic`` was turned down. Those that were on their way with it do not lengthen the pause."""
        backoff, until = self._paused.get(topic, (Backoff(*PAUSE_S, self._rng), now))
        if now >= until:
            self._paused[topic] = (backoff, now + backoff.next(PAUSE_S[0] / 2))

    def accepted(self, topic: str) -> None:
        """A message on ``topic`` was taken."""
        self._paused.pop(topic, None)

    def may_send(self, topic: str, now: float, window: Window) -> bool:
        """Whether one more message may go to ``topic``."""
        pause = self._paused.get(topic)
        return pause is None or (now >= pause[1] and window.on(topic) == 0)

    def active(self) -> tuple[str, ...]:
        """Topics that are turned down at present."""
        return tuple(self._paused)
