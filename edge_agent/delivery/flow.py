"""What may be on its way to the broker: the in-flight window, and pauses of topics that the broker turns down. Pure.

Time is given by the caller in monotonic seconds. Nothing is sent and nothing is stored here.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.delivery.outbox.records import Row
from edge_agent.domain.retry import JitteredBackOff

PAUSE_S = (1.0, 300.0)
STRIKES = 4
SUSPECTS = 64
HASTY_S = 5.0
"""A broker that hangs up later than this after a message probably does not mean it."""

AHEAD = 2
"""Windows of backlog that the connection is handed in advance: it goes on while the outbox writes to a slow card."""

LIVE_RESERVE = 2
"""Places in the window that backlog leaves to live messages, where the window is large enough."""


@dataclass(frozen=True, slots=True)
class Flight:
    """One message on its way. ``row`` is None for a current state."""

    topic: str
    row: Row | None
    sent: float


class Window:
    """Messages handed to the connection and not acknowledged, by token.

    The connection keeps to the broker's Receive Maximum itself
    (:class:`~edge_agent.delivery.departures.Departures`). It is handed :data:`AHEAD` windows more than that, and live
    messages on top of a full backlog.
    """

    def __init__(self, own_size: int) -> None:
        self._own_size = own_size
        self._allowed = own_size
        self._careful = False
        self._flights: OrderedDict[int, Flight] = OrderedDict()
        self._next = 0

    def __len__(self) -> int:
        return len(self._flights)

    def restart(self, receive_maximum: int, *, careful: bool = False) -> None:
        """A new connection, which allows ``receive_maximum``; nothing is on its way. ``careful``: one by one."""
        self._allowed = max(1, min(self._own_size, receive_maximum))
        self._careful = careful
        self._flights.clear()

    def widen(self) -> None:
        """No need to be careful any more."""
        self._careful = False

    def room(self, *, live: bool) -> int:
        """How many more messages may be handed over now."""
        limit = 1 if self._careful else self._allowed * (1 + AHEAD + live)
        return max(0, limit - len(self._flights))

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

    def rows(self) -> list[tuple[Row, float]]:
        """The rows on their way and when they departed, oldest first."""
        return [(flight.row, flight.sent) for flight in self._flights.values() if flight.row is not None]


class Suspects:
    """Finds the message that makes a broker hang up, which without MQTT 5's reason codes is all it can do.

    The oldest unacknowledged row of a connection that broke right after is suspected, and the next connection sends one
    row at a time. A row that was alone each time, :data:`STRIKES` times in all, is guilty.
    """

    def __init__(self) -> None:
        self._strikes: OrderedDict[int, int] = OrderedDict()

    @property
    def any(self) -> bool:
        """Whether care is needed."""
        return bool(self._strikes)

    def broke(self, on_their_way: Sequence[tuple[Row, float]], now: float) -> int | None:
        """A connection broke with these rows on their way; the id of the guilty one, if it is clear by now."""
        if not on_their_way or now - on_their_way[0][1] > HASTY_S:
            return None
        first = on_their_way[0][0].id
        self._strikes[first] = self._strikes.get(first, 0) + 1
        if len(self._strikes) > SUSPECTS:
            self._strikes.popitem(last=False)
        if self._strikes[first] < STRIKES or len(on_their_way) > 1:
            return None
        del self._strikes[first]
        return first

    def clear(self, id_: int) -> bool:
        """Row ``id_`` was acknowledged; True when it was the last suspect."""
        return self._strikes.pop(id_, None) is not None and not self._strikes


class Pauses:
    """Topics on which the broker turned messages down, each with its own back-off.

    When a pause ends, one message is sent to see; the topic is free again once one was accepted.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._paused: dict[str, tuple[JitteredBackOff, float]] = {}

    def refused(self, topic: str, now: float) -> bool:
        """A message on ``topic`` was turned down; True when that is news."""
        backoff, until = self._paused.get(topic, (JitteredBackOff(*PAUSE_S, self._rng), now))
        if now < until:
            return False
        self._paused[topic] = (backoff, now + backoff.next(PAUSE_S[0] / 2))
        return backoff.failures == 1

    def accepted(self, topic: str) -> bool:
        """A message on ``topic`` was taken; True when that ends a pause."""
        return self._paused.pop(topic, None) is not None

    def may_send(self, topic: str, now: float, window: Window) -> bool:
        """Whether one more message may go to ``topic``."""
        pause = self._paused.get(topic)
        return pause is None or (now >= pause[1] and window.on(topic) == 0)

    def active(self) -> tuple[str, ...]:
        """Topics that are turned down at present."""
        return tuple(self._paused)
