"""An operator's connection to the broker: subscribe, read what it keeps, publish, and wait for acknowledgements.

Over the agent's own client, with a random client id and no last will. Unlike an agent's, this connection is given up
when it cannot be made or breaks: somebody waits in front of it.
"""

from __future__ import annotations

import queue
import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType

from edge_agent.delivery.diagnostics import reason
from edge_agent.delivery.link import Connected, Disconnected, InboundMessage, Outgoing, Published, Report, Subscribed
from edge_agent.delivery.mqtt import MqttLink
from edge_agent.domain.errors import DeliveryError
from edge_agent.settings import MqttSettings

CONNECT_S = 45.0
"""Longest wait for a connection to any of the brokers."""

ANSWER_S = 20.0
"""Longest wait for the answer to a subscription, and for the next acknowledgement."""

FIRST_S, QUIET_S, LONGEST_S = 4.0, 1.0, 60.0
"""Wait for the first retained message, silence after which all have come, and longest wait for all of them."""


class Station:
    """Connection to the broker of ``mqtt``; use as a context manager.

    Raises:
        DeliveryError: there is no connection, or it broke; says why.
    """

    def __init__(self, mqtt: MqttSettings) -> None:
        self._brokers = len(mqtt.brokers)
        self._news: queue.Queue[Report | InboundMessage] = queue.Queue()
        self._link = MqttLink(mqtt, f"edge-agent-fleet-{secrets.token_hex(4)}", None, self._news.put, self._news.put)
        self._session = 0
        self._inbox: deque[InboundMessage] = deque()
        self._answers: dict[str, int] = {}
        self._acks: dict[int, int] = {}
        self._token = 0

    def __enter__(self) -> Station:
        self._link.start()
        try:
            self._connect()
        except BaseException:
            self._link.stop(1.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.stop(2.0)

    def _connect(self) -> None:
        deadline, failures = time.monotonic() + CONNECT_S, 0
        while (left := deadline - time.monotonic()) > 0:
            try:
                news = self._news.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(news, Connected):
                self._session = news.session
                return
            if isinstance(news, Disconnected):
                failures += 1
                if failures >= self._brokers:
                    raise DeliveryError(f"mqtt: no connection: {news.reason}")
        raise DeliveryError("mqtt: no connection: no answer")

    def subscribe(self, topic_filters: Sequence[str]) -> None:
        """Subscribe to ``topic_filters``. Raises DeliveryError: the broker refuses one, or the connection broke."""
        for topic_filter in topic_filters:
            self._link.subscribe(topic_filter)
        deadline = time.monotonic() + ANSWER_S
        while missing := [f for f in topic_filters if f not in self._answers]:
            if not self._take(deadline - time.monotonic()):
                raise DeliveryError(f"mqtt: the broker does not answer the subscription to {missing[0]}")
        for topic_filter in topic_filters:
            if (code := self._answers[topic_filter]) >= 0x80:
                raise DeliveryError(f"mqtt: the broker refuses the subscription to {topic_filter}: {reason(code)}")

    def kept(self) -> Iterator[InboundMessage]:
        """Yield what arrives on the subscriptions, until the broker has sent all that it keeps for them.

        It does not say when that is so: nothing retained has come for :data:`QUIET_S`, at most :data:`LONGEST_S` long.
        """
        end, due = time.monotonic() + LONGEST_S, time.monotonic() + FIRST_S
        while (message := self.next(min(due, end) - time.monotonic())) is not None:
            if message.retain:
                due = time.monotonic() + QUIET_S
            yield message

    def next(self, timeout: float) -> InboundMessage | None:
        """The next message; None when none comes within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while not self._inbox:
            if not self._take(deadline - time.monotonic()):
                return None
        return self._inbox.popleft()

    def publish(self, messages: Sequence[Outgoing]) -> Mapping[str, int]:
        """Publish ``messages`` and return the reason code of each by its topic, when all are acknowledged.

        Raises:
            DeliveryError: the broker stopped to acknowledge, or the connection broke.
        """
        tokens: dict[int, str] = {}
        numbered = []
        for message in messages:
            self._token += 1
            tokens[self._token] = message.topic
            numbered.append(replace(message, token=self._token))
        self._acks.clear()
        self._link.publish(self._session, numbered)
        while len(self._acks) < len(tokens):
            if not self._take(ANSWER_S):
                raise DeliveryError(f"mqtt: {len(tokens) - len(self._acks)} messages are not acknowledged")
        return {tokens[token]: code for token, code in self._acks.items()}

    def _take(self, timeout: float) -> bool:
        """Take in the next report or message; False when there is none within ``timeout`` seconds."""
        try:
            news = self._news.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return False
        if isinstance(news, InboundMessage):
            self._inbox.append(news)
        elif isinstance(news, Subscribed):
            self._answers |= dict(news.answers)
        elif isinstance(news, Published):
            self._acks |= dict(news.acks)
            self._acks |= dict.fromkeys(news.unsent, 0x80)
        elif isinstance(news, Disconnected):
            raise DeliveryError(f"mqtt: the connection broke: {news.reason}")
        return True
