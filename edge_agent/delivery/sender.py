"""Carries rows from the outbox to the broker, and the broker's answers back to the outbox.

First sends are in order; live rows go before the backlog, on their own topics; a row leaves the outbox only after the
broker acknowledged it with a good reason code. All methods but :meth:`Sender.report` belong to one thread, delivery's;
nothing here waits. Connecting is :class:`~edge_agent.delivery.mqtt.MqttLink`'s business.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent.delivery import topics
from edge_agent.delivery.diagnostics import Lines, Refusals, reason
from edge_agent.delivery.flow_control import InFlightMessage, InFlightWindow, PoisonMessages, TopicBackOffs
from edge_agent.delivery.link import (
    Connected,
    Disconnected,
    Outgoing,
    Published,
    Report,
    Subscribed,
    Verdict,
    packet_size,
    verdict,
)
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.outbox.records import Row
from edge_agent.delivery.payload import mark_replayed
from edge_agent.domain.clock import Clock
from edge_agent.domain.event import MessageKind

log = logging.getLogger(__name__)

CONSUMER = "mqtt"
ONCE_QUEUED = 32

LOW = 64
"""More backlog is read when no more than this is left of the last chunk."""

CHUNK = 256
"""Backlog rows read from the outbox at a time, and acknowledgements committed at a time."""

ACK_TIMEOUT_S = 30.0
"""A broker that answers pings but not publishes is left after this long."""

KINDS: tuple[MessageKind, ...] = ("summary", "event")


class Link(Protocol):
    """What the sender asks of the connection."""

    def publish(self, session: int, messages: Iterable[Outgoing]) -> None:
        """Send on connection ``session``, without waiting."""

    def drop(self, reason: str) -> None:
        """End the connection and make a new one."""


@dataclass(slots=True)
class _State:
    """The latest value of a current-state topic."""

    payload: bytes
    retain: bool


class Sender:
    """One device's traffic. ``live_s``: a row is live this many seconds after its time ended. ``expiry_s``: rows may
    wait this long in brokers and bridges, which tell the subscriber (of MQTT 5) how much of that is left.
    """

    def __init__(
        self,
        outbox: Outbox,
        link: Link,
        names: topics.Topics,
        clock: Clock,
        *,
        in_flight: int,
        live_s: float,
        expiry_s: int | None = None,
    ) -> None:
        self._outbox = outbox
        self._link = link
        self._names = names
        self._clock = clock
        self._live_s = live_s
        self._expiry_s = expiry_s
        self._window = InFlightWindow(in_flight)
        self._pauses = TopicBackOffs(random.Random())
        self._live: deque[tuple[Row, float]] = deque()
        self._backlog: deque[Row] = deque()
        self._states: dict[str, _State] = {}
        self._unsent: dict[str, None] = {}
        self._once: deque[Outgoing] = deque(maxlen=ONCE_QUEUED)
        self._acked: list[int] = []
        self._suspects = PoisonMessages()
        self._refused = Refusals()
        self._more = True
        self._fresh = 0
        self._newest = 0
        self._refusals = 0
        self._held_back = False
        self.connected: Connected | None = None
        self.trouble: str | None = None
        self.client_id_in_use = False
        self.sent = 0

    # -- current states -----------------------------------------------------------------------------------------------

    def publish_state(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Publish the value of a full ``topic`` now or on connecting, and again on every connection; only the latest
        counts.
        """
        state = _State(payload, retain)
        if self._states.get(topic) != state:
            self._states[topic] = state
            self._unsent[topic] = None

    def publish_once(self, topic: str, payload: bytes, correlation: bytes | None) -> None:
        """Publish on a full ``topic`` while this connection lasts, or not at all: the answer to a request."""
        if self.connected is not None:
            self._once.append(Outgoing(0, topic, payload, False, correlation))

    def refresh_state(self, topic: str) -> None:
        """Publish ``topic`` once more though its value did not change."""
        if topic in self._states:
            self._unsent[topic] = None

    def forget_state(self, topic: str) -> None:
        """Do not publish ``topic`` on the next connection any more."""
        self._states.pop(topic, None)
        self._unsent.pop(topic, None)

    # -- what the link reports ----------------------------------------------------------------------------------------

    def handle(self, report: Report) -> None:
        """Act on what the link reported."""
        if isinstance(report, Connected):
            self._on_connected(report)
        elif isinstance(report, Disconnected):
            self._on_disconnected(report)
        elif isinstance(report, Subscribed):
            self._on_subscribed(report)
        else:
            self._on_published(report)

    def _on_connected(self, report: Connected) -> None:
        log.info("mqtt: connected (MQTT %s)", report.protocol)
        self.connected, self.trouble, self.client_id_in_use = report, None, False
        self._window.restart(report.receive_maximum, careful=self._suspects.any)
        self._unsent = dict.fromkeys(self._states)
        self._refusals = 0
        self._more = True

    def _on_disconnected(self, report: Disconnected) -> None:
        if self.trouble != report.reason:
            log.warning("mqtt: %s; trying again", report.reason)
        self.trouble, self.client_id_in_use = report.reason, report.taken_over or report.flapping
        if report.refused:
            self._refused.connection(report.reason, self._clock.monotonic())
        if self.connected is None:
            return
        self.connected = None
        guilty = None if report.taken_over else self._suspects.broke(self._window.rows(), self._clock.monotonic())
        if guilty is not None:
            log.error("mqtt: the broker hangs up on a message again and again; it becomes a dead letter")
            self._outbox.bury(CONSUMER, [guilty], f"breaks the connection: {report.reason}")
        self._window.restart(1)
        self.flush()
        self._outbox.release(CONSUMER)
        self._live.clear()
        self._newest = 0
        self._backlog.clear()
        self._once.clear()

    def _on_subscribed(self, report: Subscribed) -> None:
        for topic_filter, code in report.answers:
            if code >= 0x80:
                log.warning("mqtt: the broker refuses the subscription to %s: %s", topic_filter, reason(code))
            self._refused.subscription(topic_filter, code)

    def _on_published(self, report: Published) -> None:
        now = self._clock.monotonic()
        self._refusals = report.refusals
        retry, refused = [flight for token in report.unsent if (flight := self._window.land(token))], {}
        for token, code in report.acks:
            flight = self._window.land(token)
            if flight is None:
                continue
            outcome = verdict(code)
            if outcome is Verdict.DONE:
                self._more |= self._pauses.accepted(flight.topic)
                self._refused.accepted(flight.topic)
                if flight.row is not None:
                    self._acked.append(flight.row.id)
                    if self._suspects.clear(flight.row.id):
                        self._window.widen()
            elif outcome is Verdict.RETRY:
                if self._pauses.refused(flight.topic, now):
                    log.warning("mqtt: the broker refuses %s: %s", flight.topic, reason(code))
                self._refused.publish(flight.topic, code)
                retry.append(flight)
            else:
                self._refused.message(flight.topic, reason(code), now)
                if flight.row is not None:
                    refused[flight.row.id] = reason(code)
        if retry:
            self._take_back(retry)
            self._more = True
        for id_, why in refused.items():
            self._outbox.bury(CONSUMER, [id_], why)
        if len(self._acked) >= CHUNK or not self._window:
            self.flush()

    def _take_back(self, flights: Sequence[InFlightMessage]) -> None:
        """Return what was turned down to where it came from, and with it what waits for the same topic."""
        turned_down = {flight.topic for flight in flights}
        back = [flight.row.id for flight in flights if flight.row is not None]
        back += [row.id for row in self._backlog if self._topic(row) in turned_down]
        self._backlog = deque(row for row in self._backlog if self._topic(row) not in turned_down)
        if back:
            self._outbox.nack(CONSUMER, back)
        for topic in turned_down & self._states.keys():
            self._unsent[topic] = None

    # -- sending ------------------------------------------------------------------------------------------------------

    def stored(self, count: int) -> None:
        """``count`` new rows are in the outbox."""
        self._fresh += count

    def flush(self) -> None:
        """Tell the outbox what was acknowledged."""
        if self._acked:
            acked, self._acked = self._acked, []
            self._outbox.ack(CONSUMER, acked)

    def send(self) -> None:
        """Send what may be sent."""
        if self.connected is None:
            return
        now = self._clock.monotonic()
        oldest = self._window.oldest()
        if oldest is not None and now - oldest > ACK_TIMEOUT_S:
            self._link.drop(f"no acknowledgement for {ACK_TIMEOUT_S:.0f} s")
            return
        batch: list[Outgoing] = []
        self._send_states(batch, now)
        while self._once and self._window.room(live=True):
            answer = self._once.popleft()
            self._depart(
                batch, InFlightMessage(answer.topic, None, now), answer.payload, correlation=answer.correlation
            )
        if not self._held_back:
            self._refill(now)
            self._send_live(batch, now)
            self._send_backlog(batch, now)
        if batch:
            self.sent += len(batch)
            self._link.publish(self.connected.session, batch)

    def hold_back(self) -> None:
        """Send no more rows: the end is near."""
        self._held_back = True

    @property
    def in_flight(self) -> int:
        """Messages on their way."""
        return len(self._window)

    @property
    def refused_topics(self) -> tuple[str, ...]:
        """Topics on which the broker turns messages down at present."""
        return self._pauses.active()

    @property
    def refusals(self) -> Lines:
        """One line for whatever the broker turned down; from any thread."""
        return self._refused.lines(self._clock.monotonic())

    @property
    def idle(self) -> bool:
        """Nothing on its way, no live row or state left to send."""
        return not (self._window or self._unsent or self._once or (self._live and not self._held_back))

    def _send_states(self, batch: list[Outgoing], now: float) -> None:
        for topic in list(self._unsent):
            if self._window.room(live=True) == 0:
                return
            if self._may_send(topic, now):
                del self._unsent[topic]
                state = self._states[topic]
                self._depart(batch, InFlightMessage(topic, None, now), state.payload, retain=state.retain)

    def _refill(self, now: float) -> None:
        space = CHUNK - len(self._backlog) if len(self._backlog) <= LOW else 0
        wanted = max(self._fresh, space if self._more or self._pauses.active() else 0)
        if wanted <= 0:
            return
        skip = [kind for kind in KINDS if not self._may_send(self._names.full(topics.backfill(kind)), now)]
        rows = self._outbox.lease(CONSUMER, wanted, self._live_s, skip)
        self._more, self._fresh = len(rows) == wanted, 0
        for row in rows:
            if row.live and row.id > self._newest:
                self._live.append((row, now))
                self._newest = row.id
            else:  # a live one comes second when it was turned down: the retained topic must not go back in time
                self._backlog.append(replace(row, live=False) if row.live else row)

    def _send_live(self, batch: list[Outgoing], now: float) -> None:
        waiting: deque[tuple[Row, float]] = deque()
        for row, since in self._live:
            if now - since > self._live_s:
                self._backlog.append(replace(row, live=False))
            elif self._window.room(live=True) and self._may_send(topic := self._topic(row), now):
                self._send_row(batch, row, topic, now)
            else:
                waiting.append((row, since))
        self._live = waiting

    def _send_backlog(self, batch: list[Outgoing], now: float) -> None:
        while self._backlog and self._window.room(live=False):
            topic = self._topic(self._backlog[0])
            if not self._may_send(topic, now):
                return
            self._send_row(batch, self._backlog.popleft(), topic, now)
            if not self._backlog:
                self._refill(now)

    def _send_row(self, batch: list[Outgoing], row: Row, topic: str, now: float) -> None:
        payload = row.payload if row.live else mark_replayed(row.payload)
        flight = InFlightMessage(topic, row, now)
        self._depart(batch, flight, payload, retain=row.live and row.kind == "summary", urgent=row.live)

    def _depart(
        self,
        batch: list[Outgoing],
        flight: InFlightMessage,
        payload: bytes,
        *,
        retain: bool = False,
        correlation: bytes | None = None,
        urgent: bool = True,
    ) -> None:
        limit = self.connected.maximum_packet if self.connected else None
        if limit is not None and packet_size(flight.topic, payload) > limit:
            log.error("mqtt: a message on %s is larger than the broker's limit of %d bytes", flight.topic, limit)
            self._refused.message(flight.topic, f"larger than its limit of {limit} bytes", flight.sent)
            if flight.row is not None:
                self._outbox.bury(CONSUMER, [flight.row.id], "packet too large")
            return
        token = self._window.depart(flight)
        expiry_s = None if flight.row is None else self._expiry_s
        batch.append(Outgoing(token, flight.topic, payload, retain, correlation, urgent, self._refusals, expiry_s))

    def _topic(self, row: Row) -> str:
        return self._names.full(row.topic if row.live else topics.backfill(row.kind))

    def _may_send(self, topic: str, now: float) -> bool:
        return self._pauses.may_send(topic, now, self._window)
