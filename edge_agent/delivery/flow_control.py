"""What may be on its way to the broker: the in-flight window, and pauses of topics that the broker turns down. Pure.

Time is given by the caller in monotonic seconds. Nothing is sent and nothing is stored here.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.delivery.link import Outgoing, Published, Verdict, verdict
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
class InFlightMessage:
    """One message on its way. ``row`` is None for a current state."""

    topic: str
    row: Row | None
    sent: float


class InFlightWindow:
    """Messages handed to the connection and not acknowledged, by token.

    The connection keeps to the broker's Receive Maximum itself
    (:class:`~edge_agent.delivery.flow_control.SendQueue`). It is handed :data:`AHEAD` windows more than that, and live
    messages on top of a full backlog.
    """

    def __init__(self, own_size: int) -> None:
        self._own_size = own_size
        self._allowed = own_size
        self._careful = False
        self._flights: OrderedDict[int, InFlightMessage] = OrderedDict()
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

    def depart(self, flight: InFlightMessage) -> int:
        """Note that ``flight`` is sent; its token."""
        self._next += 1
        self._flights[self._next] = flight
        return self._next

    def land(self, token: int) -> InFlightMessage | None:
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


class PoisonMessages:
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


class TopicBackOffs:
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

    def may_send(self, topic: str, now: float, window: InFlightWindow) -> bool:
        """Whether one more message may go to ``topic``."""
        pause = self._paused.get(topic)
        return pause is None or (now >= pause[1] and window.on(topic) == 0)

    def active(self) -> tuple[str, ...]:
        """Topics that are turned down at present."""
        return tuple(self._paused)


class SendQueue:
    """A queue for one connection after the other; the window is never more than ``in_flight``.

    :meth:`add` may be called from any thread, everything else from the connection's only.
    """

    def __init__(self, in_flight: int) -> None:
        self._in_flight = in_flight
        self._urgent: deque[tuple[int, Outgoing]] = deque()
        self._backlog: deque[tuple[int, Outgoing]] = deque()
        self._session = 0
        self._window = 1
        self._refused: dict[str, int] = {}
        self._back: list[int] = []
        self._refusals = 0

    def add(self, session: int, messages: Iterable[Outgoing]) -> None:
        """Queue ``messages`` for connection ``session``; forgotten without a word when that is over."""
        for message in messages:
            (self._urgent if message.urgent else self._backlog).append((session, message))

    def start(self, session: int, receive_maximum: int) -> None:
        """Connection ``session`` stands, and allows so many unacknowledged messages."""
        self._session = session
        self._window = max(1, min(self._in_flight, receive_maximum))
        self._refused.clear()
        self._back.clear()
        self._refusals = 0

    def clear(self) -> None:
        """Forget everything: the connection is over."""
        self._urgent.clear()
        self._backlog.clear()

    def next(self, on_their_way: int) -> Outgoing | None:
        """What to send now, with so many unacknowledged; None when nothing may be sent.

        What is urgent goes first, each in order; backlog leaves a few places of a large window to it.
        """
        reserve = LIVE_RESERVE if self._window > 2 * LIVE_RESERVE else 0
        for queue, limit in ((self._urgent, self._window), (self._backlog, self._window - reserve)):
            while queue and on_their_way < limit:
                session, message = queue.popleft()
                if session != self._session:
                    continue
                if message.seen >= self._refused.get(message.topic, 0):
                    return message
                self._back.append(message.token)
        return None

    def settle(self, acks: Sequence[tuple[Outgoing, int]]) -> Published | None:
        """What to tell the sender after these acknowledgements and reason codes; None when there is nothing.

        Once the broker turned a message down, no other goes to its topic until the sender knows and tries again.
        """
        for message, code in acks:
            if verdict(code) is Verdict.RETRY:
                self._refusals += 1
                self._refused[message.topic] = self._refusals
        if not acks and not self._back:
            return None
        back, self._back = tuple(self._back), []
        return Published(tuple((message.token, code) for message, code in acks), back, self._refusals)


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
