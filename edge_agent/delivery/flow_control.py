"""Flow control: intake before the outbox; towards the broker in-flight window, send queue, poison messages, back-off.

Pure: nothing is sent or stored here, and callers pass in the time in monotonic seconds.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.delivery.link import Outgoing, Published, Verdict, verdict
from edge_agent.delivery.outbox.outbox import PUT_ROWS
from edge_agent.delivery.outbox.records import Draft, Row
from edge_agent.domain.retry import JitteredBackOff

TOPIC_PAUSE_S = (1.0, 300.0)
"""First and longest pause of a topic on which the broker refuses messages."""

STRIKES = 4
"""Connections that a message must break, each time as the only one in flight, to count as a poison message."""

SUSPECTS = 64
"""Most messages suspected at a time."""

HASTY_S = 5.0
"""A connection that breaks later than this after a message was sent is probably not broken by it."""

AHEAD = 2
"""Windows of backlog queued in advance, so that sending goes on while the outbox writes to a slow card."""

LIVE_RESERVE = 2
"""Places in a large in-flight window that backlog leaves free for live messages."""

STABLE_S = 30.0
"""A connection that lasted this long resets the reconnection back-off."""

FLAPPING = 3
"""Short connections in a row that raise the alarm; most brokers do not say that another client took our client id."""

FIRST_S = 1.0
NEVER_REACHED_S = 120.0
REACHED_S = 30.0
"""Longest pause before reconnecting to a broker that was reached before; its outages end."""

NEXT_S = 1.0
"""Longest pause before the next of several brokers, so that the devices of a broker that fails do not come at once."""

RETURNS = 5
"""Returns to the first broker that did not last, each of which doubles the time until the next."""

TAKEN_OVER_S = 30.0
"""Least pause after another client took our client id; without it the two would disconnect each other for ever."""


@dataclass(frozen=True, slots=True)
class InFlightMessage:
    """A message that was sent and is not acknowledged. ``row`` is None for a state and for a response."""

    topic: str
    row: Row | None
    sent: float


class InFlightWindow:
    """Messages handed to the connection and not acknowledged, by token.

    The connection itself keeps to the broker's Receive Maximum (:class:`SendQueue`). It is handed :data:`AHEAD`
    windows of backlog more than that, and live messages on top of a full backlog.
    """

    def __init__(self, own_size: int) -> None:
        self._own_size = own_size
        self._allowed = own_size
        self._one_by_one = False
        self._messages: OrderedDict[int, InFlightMessage] = OrderedDict()
        self._next = 0

    def __len__(self) -> int:
        return len(self._messages)

    def restart(self, receive_maximum: int, *, one_by_one: bool = False) -> None:
        """Empty the window for a new connection that allows ``receive_maximum``, or one message at a time."""
        self._allowed = max(1, min(self._own_size, receive_maximum))
        self._one_by_one = one_by_one
        self._messages.clear()

    def widen(self) -> None:
        """End sending one message at a time."""
        self._one_by_one = False

    def room(self, *, live: bool) -> int:
        """Number of further messages that may be handed to the connection now."""
        limit = 1 if self._one_by_one else self._allowed * (1 + AHEAD + live)
        return max(0, limit - len(self._messages))

    def add(self, message: InFlightMessage) -> int:
        """Add ``message`` and return its token."""
        self._next += 1
        self._messages[self._next] = message
        return self._next

    def remove(self, token: int) -> InFlightMessage | None:
        """Remove and return the message of ``token``; None when it belongs to an earlier connection."""
        return self._messages.pop(token, None)

    def oldest(self) -> float | None:
        """Time at which the oldest message was sent."""
        return next((message.sent for message in self._messages.values()), None)

    def on(self, topic: str) -> int:
        """Number of messages on ``topic``."""
        return sum(message.topic == topic for message in self._messages.values())

    def rows(self) -> list[tuple[Row, float]]:
        """Rows in flight and when each was sent, oldest first."""
        return [(message.row, message.sent) for message in self._messages.values() if message.row is not None]


class SendQueue:
    """Messages handed to the connection and not sent yet, live messages before backlog.

    The sender hands over more than the in-flight window, so that the connection never waits between an acknowledgement
    and the next message. Messages on a topic that the broker refused meanwhile are returned unsent. :meth:`add` may be
    called from any thread, all other methods from the connection's thread only.
    """

    def __init__(self, in_flight: int) -> None:
        self._in_flight = in_flight
        self._urgent: deque[tuple[int, Outgoing]] = deque()
        self._backlog: deque[tuple[int, Outgoing]] = deque()
        self._session = 0
        self._window = 1
        self._refused: dict[str, int] = {}
        self._unsent: list[int] = []
        self._refusals = 0

    def add(self, session: int, messages: Iterable[Outgoing]) -> None:
        """Queue ``messages`` for connection ``session``; they are discarded when that connection is over."""
        for message in messages:
            (self._urgent if message.urgent else self._backlog).append((session, message))

    def start(self, session: int, receive_maximum: int) -> None:
        """Begin connection ``session``, which allows ``receive_maximum`` unacknowledged messages."""
        self._session = session
        self._window = max(1, min(self._in_flight, receive_maximum))
        self._refused.clear()
        self._unsent.clear()
        self._refusals = 0

    def clear(self) -> None:
        """Discard all messages at the end of a connection."""
        self._urgent.clear()
        self._backlog.clear()

    def next(self, in_flight: int) -> Outgoing | None:
        """The next message to send with ``in_flight`` unacknowledged; None when the window is full.

        Urgent messages go first, each kind in order; backlog leaves :data:`LIVE_RESERVE` places of a large window.
        """
        reserve = LIVE_RESERVE if self._window > 2 * LIVE_RESERVE else 0
        for queue, limit in ((self._urgent, self._window), (self._backlog, self._window - reserve)):
            while queue and in_flight < limit:
                session, message = queue.popleft()
                if session != self._session:
                    continue
                if message.seen >= self._refused.get(message.topic, 0):
                    return message
                self._unsent.append(message.token)
        return None

    def settle(self, acks: Sequence[tuple[Outgoing, int]]) -> Published | None:
        """The report for the sender after ``acks``, messages with their reason codes; None when there is nothing.

        After a refusal no other message goes to the same topic until the sender knows of it and tries again.
        """
        for message, code in acks:
            if verdict(code) is Verdict.RETRY:
                self._refusals += 1
                self._refused[message.topic] = self._refusals
        if not acks and not self._unsent:
            return None
        unsent, self._unsent = tuple(self._unsent), []
        return Published(tuple((message.token, code) for message, code in acks), unsent, self._refusals)


class PoisonMessages:
    """Find the message that makes the broker close the connection, its only way to refuse one without MQTT 5.

    The oldest unacknowledged row of a connection that broke soon after it was sent is suspected, and the next
    connection sends one row at a time. A row that was in flight alone when the connection broke, after
    :data:`STRIKES` strikes, is a poison message.
    """

    def __init__(self) -> None:
        self._strikes: OrderedDict[int, int] = OrderedDict()

    @property
    def suspected(self) -> bool:
        """Whether a row is suspected, so that rows must be sent one at a time."""
        return bool(self._strikes)

    def connection_lost(self, in_flight: Sequence[tuple[Row, float]], now: float) -> int | None:
        """Note a broken connection with these rows in flight; the id of the poison message once it is certain."""
        if not in_flight or now - in_flight[0][1] > HASTY_S:
            return None
        first = in_flight[0][0].id
        self._strikes[first] = self._strikes.get(first, 0) + 1
        if len(self._strikes) > SUSPECTS:
            self._strikes.popitem(last=False)
        if self._strikes[first] < STRIKES or len(in_flight) > 1:
            return None
        del self._strikes[first]
        return first

    def acknowledged(self, id_: int) -> bool:
        """Clear row ``id_`` of suspicion; True when it was the last suspect."""
        return self._strikes.pop(id_, None) is not None and not self._strikes


class TopicBackOffs:
    """Back-off of each topic on which the broker refuses messages.

    When a pause ends, one message probes the topic; the back-off ends once a message is accepted.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._paused: dict[str, tuple[JitteredBackOff, float]] = {}

    def refused(self, topic: str, now: float) -> bool:
        """Note a refused message on ``topic``; True when it is the topic's first."""
        back_off, until = self._paused.get(topic, (JitteredBackOff(*TOPIC_PAUSE_S, self._rng), now))
        if now < until:
            return False
        self._paused[topic] = (back_off, now + back_off.next(TOPIC_PAUSE_S[0] / 2))
        return back_off.failures == 1

    def accepted(self, topic: str) -> bool:
        """Note an accepted message on ``topic``; True when that ends its back-off."""
        return self._paused.pop(topic, None) is not None

    def may_send(self, topic: str, now: float, window: InFlightWindow) -> bool:
        """Whether a message may be sent on ``topic`` now."""
        pause = self._paused.get(topic)
        return pause is None or (now >= pause[1] and window.on(topic) == 0)

    def active(self) -> tuple[str, ...]:
        """Topics on which the broker refuses messages at present."""
        return tuple(self._paused)


class Reconnection:
    """Choice of the broker, back-off between connections, and detection of two clients with one client id.

    ``brokers``: how many there are. ``broker`` is the number of the one to connect to: after a failure it is the next,
    within :data:`NEXT_S` until each had its turn, and then after the back-off. ``return_s``: about how long another one
    than the first is used before the first is tried again; longer after each return that did not last.
    """

    def __init__(self, rng: random.Random, brokers: int = 1, return_s: float = 600.0) -> None:
        self._rng = rng
        self._return_s = return_s
        self._returns = 0
        self._back_off = JitteredBackOff(FIRST_S, NEVER_REACHED_S, rng)
        self._short = 0
        self._brokers = brokers
        self._tried = 0
        self.broker = 0

    @property
    def flapping(self) -> bool:
        """Whether connections keep breaking soon after they were accepted."""
        return self._short >= FLAPPING

    def delay(self, lasted: float | None, *, taken_over: bool = False) -> float:
        """Seconds until the next attempt. ``lasted``: seconds that the connection stood; None: it was not made."""
        if lasted is None:
            self._short = 0
        else:
            self._back_off.longest = REACHED_S
            self._short = 0 if lasted >= STABLE_S else self._short + 1
            if lasted >= STABLE_S:
                self._back_off.reset()
        if taken_over or self._brokers == 1:
            return self._back_off.next(TAKEN_OVER_S if taken_over else 0.0)
        if lasted is not None and lasted >= STABLE_S:
            self._tried = 0
            self._returns = self._returns if self.broker else 0
        self._tried += 1
        self.broker = (self.broker + 1) % self._brokers
        if self._tried < self._brokers:
            return self._rng.uniform(0.0, NEXT_S)
        self._tried = 0
        return self._back_off.next()

    def prefer_first(self) -> float:
        """Choose the first broker again, which answers; the delay until the connection, seconds."""
        self.broker, self._tried = 0, 0
        self._returns += 1
        return 0.0  # :meth:`return_in` differs from device to device

    def return_in(self) -> float | None:
        """Seconds until the first broker is to be tried again; None: it is the one in use."""
        pause = self._return_s * float(2 ** min(self._returns, RETURNS))
        return self._rng.uniform(0.75, 1.25) * pause if self.broker else None


SUBMITTED = 4096
"""Most messages that wait to be stored; beyond that the oldest are dropped and counted."""

EVENTS_S = 10.0
"""Without a connection, events wait this long for the next summary, so that both are written at once."""


class Intake:
    """Messages that wait to be stored; not thread-safe. ``hasty``: something takes events also without a connection."""

    def __init__(self, *, hasty: bool) -> None:
        self._hasty = hasty
        self._drafts: deque[Draft] = deque()
        self._store_by = float("inf")
        self._lost = 0

    def add(self, draft: Draft, now: float) -> None:
        """Take ``draft``, for which the oldest goes when there are too many."""
        if len(self._drafts) >= SUBMITTED:
            self._drafts.popleft()
            self._lost += 1
        self._drafts.append(draft)
        patient = draft.kind == "event" and not self._hasty and len(self._drafts) < PUT_ROWS
        self._store_by = min(self._store_by, now + (EVENTS_S if patient else 0.0))

    def due(self, now: float, *, hurry: bool) -> bool:
        """Whether to store what waits; ``hurry``: whatever waits."""
        return bool(self._drafts) and (hurry or now >= self._store_by)

    def take(self) -> tuple[list[Draft], int]:
        """What waited, in order, and the number of messages lost since the last call."""
        drafts, lost = list(self._drafts), self._lost
        self._drafts.clear()
        self._store_by, self._lost = float("inf"), 0
        return drafts, lost
