"""Messages handed to the connection that have not been sent yet: which goes next, and which must come back. Pure.

The sender hands over somewhat more than the window, so that the connection never idles between an acknowledgement and
the next message. What the broker turns down meanwhile must not be tried with what lies here already: it goes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from edge_agent.delivery.flow import LIVE_RESERVE
from edge_agent.delivery.link import Outgoing, Published, Verdict, verdict


class Departures:
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
