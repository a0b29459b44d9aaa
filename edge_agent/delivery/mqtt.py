"""MQTT client: keep a connection to the broker, reconnect with back-off, and dispatch inbound messages to handlers.

Each connection is an :class:`~edge_agent.delivery.session.MqttSession` that runs on one thread, so a callback that
raises ends one connection and not the client, and nothing is written from two threads. Messages are not kept here: the
sender sends again what was not acknowledged. Connecting and back-off block no other thread.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import secrets
import select
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from edge_agent.delivery.diagnostics import ConnectionFailed, explain
from edge_agent.delivery.flow_control import Reconnection, SendQueue
from edge_agent.delivery.link import (
    Disconnected,
    Handler,
    InboundMessage,
    Keeping,
    Outgoing,
    Report,
    Subscribed,
    Ticket,
)
from edge_agent.delivery.session import CONNECT_S, MqttSession, Will
from edge_agent.delivery.topics import check_filter, matches
from edge_agent.domain.errors import ConfigError
from edge_agent.domain.retry import JitteredBackOff
from edge_agent.settings.mqtt import MqttSettings

log = logging.getLogger(__name__)

SUBSCRIBE_S = (5.0, 300.0)
"""First and longest pause before a refused subscription is requested again on the same connection."""


SETTLE_S = 3.0
"""How long acknowledgements are awaited before the connection is exchanged for one to the first broker."""


class MqttLink:
    """Client that keeps a connection to one of the brokers of ``settings``: the first, the next where that one fails.

    ``report`` and ``inbound`` are called on the client's thread and must only enqueue. With ``keeping`` the session
    outlives connections, and messages are acknowledged by :meth:`acknowledge` (MQTT 5 only).
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        will: Will | None,
        report: Callable[[Report], None],
        inbound: Callable[[InboundMessage], None],
        keeping: Keeping | None = None,
    ) -> None:
        self._settings = settings
        self._brokers = settings.brokers
        self._keeping = keeping
        self._tickets: deque[Ticket] = deque()
        self._old_filters: deque[str] = deque()
        self._client_id = client_id
        self._will = will
        self._report = report
        self._inbound = inbound
        self._send_queue = SendQueue(settings.in_flight)
        self._filters: dict[str, bool] = {}
        self._new_filters: deque[str] = deque()
        self._denied: dict[str, tuple[JitteredBackOff, float]] = {}
        self._wake = -1
        self._drop: str | None = None
        self._stopping = threading.Event()
        self._reconnection = Reconnection(random.Random(), len(self._brokers), settings.return_s)
        self._home: _Return | None = None
        self._number = 0
        self.refused = 0
        """Number of inbound messages that were discarded."""
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    # -- called from other threads ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, which connects."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread.start()

    def publish(self, session: int, messages: Iterable[Outgoing]) -> None:
        """Queue ``messages`` for connection ``session``; they are discarded when that connection is over."""
        self._send_queue.add(session, messages)
        self._wake_up()

    def subscribe(self, topic_filter: str, *, no_local: bool = False) -> None:
        """Subscribe to ``topic_filter``, now and after every reconnect; the answer is reported as :class:`Subscribed`.

        ``no_local``: without our own messages (MQTT 5 only). Raises ValueError: it is not a topic filter.
        """
        if check_filter(topic_filter) not in self._filters:
            self._filters[topic_filter] = no_local
            self._new_filters.append(topic_filter)
            self._wake_up()

    def unsubscribe(self, topic_filter: str) -> None:
        """End a subscription of the session that the broker keeps, on this connection."""
        self._old_filters.append(topic_filter)
        self._wake_up()

    def acknowledge(self, tickets: Iterable[Ticket]) -> None:
        """Acknowledge messages that were taken care of; on a later connection the broker sends them again."""
        self._tickets.extend(tickets)
        self._wake_up()

    def drop(self, reason: str) -> None:
        """Drop the present connection and make a new one."""
        self._drop = reason
        self._wake_up()

    def stop(self, timeout: float) -> bool:
        """Disconnect and end the thread; False when it hangs, as in name resolution, and was abandoned."""
        self._stopping.set()
        self._wake_up()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1
        return True

    def _wake_up(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            since: list[float] = []
            try:
                self._connect_and_serve(since)
                ending = ConnectionFailed("closed")
            except ConnectionFailed as error:
                ending = error
            except (OSError, ssl.SSLError, ConfigError) as error:
                ending = ConnectionFailed(explain(error, self._broker))
            except Exception as error:  # a bug in paho or in a callback costs this connection, not delivery
                log.exception("mqtt: the connection broke on an unexpected error")
                ending = ConnectionFailed(f"internal error: {type(error).__name__}")
            if not self._stopping.is_set():
                self._pause(ending, time.monotonic() - since[0] if since else None)

    def _pause(self, ending: ConnectionFailed, lasted: float | None) -> None:
        if ending.planned:
            delay = self._reconnection.prefer_first()
        else:
            delay = self._reconnection.delay(lasted, taken_over=ending.taken_over)
        reason, flapping = str(ending), self._reconnection.flapping
        if flapping and not ending.taken_over:
            reason += f"; is there another client with the id {self._client_id!r}?"
        self._send_queue.clear()
        self._report(Disconnected(reason, delay, ending.taken_over, flapping, ending.refusal, ending.planned))
        deadline = time.monotonic() + delay
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            self._wait(None, left, False)

    def _connect_and_serve(self, since: list[float]) -> None:
        wanted = self._settings.protocol
        try:
            self._serve("5" if wanted == "auto" else wanted, since)
        except ConnectionFailed as error:
            if wanted != "auto" or not error.protocol or self._stopping.is_set():
                raise
            log.debug("mqtt: MQTT 5 failed (%s), trying 3.1.1", error)
            self._serve("3.1.1", since)

    def _serve(self, protocol: str, since: list[float]) -> None:
        """Run one connection; always ends with an exception, unless stopping."""
        self._drop = None
        self._number += 1
        session = MqttSession(
            self._broker,
            self._client_id,
            self._will,
            protocol,
            self._number,
            self._inbound,
            self._wait,
            self._keeping,
        )
        try:
            connected = session.open(self._stopping.is_set)
            since.append(time.monotonic())
            self._send_queue.start(connected.session, connected.receive_maximum)
            self._report(replace(connected, rank=self._reconnection.broker))
            wait = self._reconnection.return_in()
            self._home = None if wait is None else _Return(self._brokers[0], self._client_id, wait, self._wake_up)
            self._denied.clear()
            self._new_filters.clear()
            self._new_filters.extend(list(self._filters))
            self._loop(session)
        finally:
            self.refused += session.unread
            session.close()

    def _loop(self, session: MqttSession) -> None:
        while True:
            stopping = self._stopping.is_set()
            self._subscribe(session)
            leaving = self._home is not None and self._home.answers
            while not leaving and (message := self._send_queue.next(len(session.sent))) is not None:
                session.publish(message)
            while self._tickets:
                number, packet = self._tickets.popleft()
                if number == self._number:
                    session.acknowledge(packet)
            if leaving and self._home is not None and (not session.sent or self._home.overdue):
                session.disconnect()
                raise ConnectionFailed(f"{self._brokers[0].address} answers again: returning to it", planned=True)
            if stopping:
                session.disconnect()
                return
            rc = session.step(1.0)
            acks, session.acks = session.acks, []
            if (news := self._send_queue.settle(acks)) is not None:
                self._report(news)
            self._answered(session)
            session.check(rc)
            if self._drop is not None:
                raise ConnectionFailed(self._drop)

    @property
    def _broker(self) -> MqttSettings:
        return self._brokers[self._reconnection.broker]

    def _subscribe(self, session: MqttSession) -> None:
        now = time.monotonic()
        for topic_filter, (backoff, due) in self._denied.items():
            if now >= due:
                self._denied[topic_filter] = backoff, float("inf")  # until it is answered
                self._new_filters.append(topic_filter)
        while self._old_filters:
            session.unsubscribe(self._old_filters.popleft())
        while self._new_filters:
            topic_filter = self._new_filters.popleft()
            session.subscribe(topic_filter, no_local=self._filters[topic_filter])

    def _answered(self, session: MqttSession) -> None:
        answers, session.answers = session.answers, []
        for topic_filter, code in answers:
            if code < 0x80:
                self._denied.pop(topic_filter, None)
            else:
                backoff, _due = self._denied.get(topic_filter) or (JitteredBackOff(*SUBSCRIBE_S, random.Random()), 0.0)
                self._denied[topic_filter] = backoff, time.monotonic() + backoff.next(SUBSCRIBE_S[0])
        if answers:
            self._report(Subscribed(tuple(answers)))

    def _wait(self, sock: Any, timeout: float, write: bool) -> tuple[bool, bool]:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if sock is not None:
            poll.register(sock, select.POLLIN | (select.POLLOUT if write else 0))
        events = dict(poll.poll(max(0.0, timeout) * 1000))
        if events.pop(self._wake, 0):
            os.eventfd_read(self._wake)
        ready = next(iter(events.values()), 0)
        return bool(ready & (select.POLLIN | select.POLLHUP | select.POLLERR)), bool(ready & select.POLLOUT)


class _Return:
    """Find out, in ``wait`` seconds and then as often, whether ``broker`` answers; ``wake`` is called when it does.

    :attr:`answers` is to be read now and then. Connections are tried on a thread of their own, with an id of their own.
    """

    def __init__(self, broker: MqttSettings, client_id: str, wait: float, wake: Callable[[], None]) -> None:
        self._broker = broker
        self._client_id = f"{client_id}-return"
        self._wait = wait
        self._wake = wake
        self._at = time.monotonic() + wait
        self._answered: float | None = None

    @property
    def answers(self) -> bool:
        """Whether the broker answered."""
        now = time.monotonic()
        if self._answered is None and now >= self._at:
            self._at = now + 2 * CONNECT_S + self._wait
            threading.Thread(target=self._try, name="mqtt-return", daemon=True).start()
        return self._answered is not None

    @property
    def overdue(self) -> bool:
        """Whether it answered so long ago that nothing else is to be waited for."""
        return self._answered is not None and time.monotonic() - self._answered > SETTLE_S

    def _try(self) -> None:
        wanted = self._broker.protocol
        if any(self._speaks(version) for version in (("5", "3.1.1") if wanted == "auto" else (wanted,))):
            self._answered = time.monotonic()
            self._wake()
        else:
            self._at = time.monotonic() + self._wait

    def _speaks(self, version: str) -> bool:
        """Whether it accepts a connection, or refuses one of this client id for a reason, as by its ACL."""
        try:
            session = MqttSession(self._broker, self._client_id, None, version, 0, lambda _message: None, _wait_for)
            try:
                session.open(lambda: False)
                session.disconnect()
            finally:
                session.close()
        except ConnectionFailed as error:
            return error.refusal
        except (OSError, ssl.SSLError, ConfigError):
            return False
        return True


def _wait_for(sock: Any, timeout: float, write: bool) -> tuple[bool, bool]:
    poll = select.poll()
    poll.register(sock, select.POLLIN | (select.POLLOUT if write else 0))
    ready = dict(poll.poll(max(0.0, timeout) * 1000)).get(sock.fileno(), 0)
    return bool(ready & (select.POLLIN | select.POLLHUP | select.POLLERR)), bool(ready & select.POLLOUT)


QUEUED = 64


class Dispatcher:
    """Call handlers of inbound messages on a thread of their own, one message at a time, from a bounded queue.

    An exception of a handler is logged. ``dropped`` counts messages that found the queue full.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[InboundMessage | None] = queue.Queue(QUEUED)
        self._handlers: list[tuple[str, Handler]] = []
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def add(self, topic_filter: str, handler: Handler) -> None:
        """Call ``handler`` for messages whose topic matches ``topic_filter``."""
        self._handlers.append((topic_filter, handler))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mqtt-inbound", daemon=True)
            self._thread.start()

    def offer(self, message: InboundMessage) -> None:
        """Enqueue ``message``, or drop and count it; never blocks."""
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self.dropped += 1

    def stop(self, timeout: float) -> None:
        """End the thread after the queued messages."""
        if self._thread is None:
            return
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return  # the handler hangs; the thread is a daemon
        self._thread.join(timeout)

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            for topic_filter, handler in list(self._handlers):
                if matches(topic_filter, message.topic):
                    self._call(handler, message)

    def _call(self, handler: Handler, message: InboundMessage) -> None:
        try:
            handler(message)
        except Exception:  # whatever a handler raises, the next message must be handled
            log.exception("handling a message on %s", message.topic)


@contextmanager
def listening(
    settings: MqttSettings,
    topic_filter: str,
    handler: Callable[[InboundMessage], None],
    on_trouble: Callable[[str], None] = lambda _reason: None,
) -> Iterator[None]:
    """Subscribe to ``topic_filter`` in the context: ``handler`` gets every message, on a thread of its own.

    Connects in the background with a random client id and reconnects; ``on_trouble`` gets the reason when there is no
    connection.
    """

    def report(what: Report) -> None:
        if isinstance(what, Disconnected):
            on_trouble(what.reason)

    dispatcher = Dispatcher()
    link = MqttLink(settings, f"edge-agent-watch-{secrets.token_hex(4)}", None, report, dispatcher.offer)
    dispatcher.add(topic_filter, handler)
    link.subscribe(topic_filter)
    link.start()
    try:
        yield
    finally:
        link.stop(1.0)
        dispatcher.stop(1.0)
