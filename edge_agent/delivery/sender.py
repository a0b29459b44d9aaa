"""Publish outbox rows and states to the broker, and acknowledge in the outbox what the broker acknowledged.

Rows are first sent in order; live rows go before the backlog, on topics of their own. A row leaves the outbox only
after the broker acknowledged it with a reason code that means success. All methods are called on delivery's thread and
none of them blocks; :class:`~edge_agent.delivery.mqtt.MqttLink` makes the connections.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from edge_agent.delivery import topics
from edge_agent.delivery.diagnostics import Lines, Refusals, reason
from edge_agent.delivery.flow_control import InFlightMessage, InFlightWindow, PoisonMessages, TopicBackOffs
from edge_agent.delivery.link import (
    EXPIRY,
    Connected,
    Disconnected,
    Outgoing,
    Published,
    Report,
    Subscribed,
    UserProperties,
    Verdict,
    packet_size,
    verdict,
)
from edge_agent.delivery.outbox import Origin, Outbox
from edge_agent.delivery.outbox.records import Row
from edge_agent.domain.clock import Clock
from edge_agent.domain.event import MessageKind
from edge_agent.payloads.rendering import mark_replayed, place_of

log = logging.getLogger(__name__)

CONSUMER = "mqtt"
"""Name of the broker as a consumer of the outbox."""

ONCE_QUEUED = 32
"""Most responses that wait to be sent."""

LOW = 64
"""The next chunk of backlog is read when no more rows than this are left of the last."""

CHUNK = 256
"""Backlog rows read from the outbox in one query, and acknowledgements committed in one transaction."""

ACK_TIMEOUT_S = 30.0
"""The connection to a broker that answers pings but acknowledges nothing is dropped after this long."""

KINDS: tuple[MessageKind, ...] = ("summary", "event")


def about(place: Mapping[str, Any]) -> UserProperties:
    """User properties that tell the ``place`` of a device: ``site``, and ``label_<key>`` for each of its labels."""
    site = (("site", str(place["site"])),) if "site" in place else ()
    return site + tuple((f"label_{key}", str(value)) for key, value in place.get("labels", {}).items())


class Link(Protocol):
    """The connection to the broker, as the sender uses it."""

    def publish(self, session: int, messages: Iterable[Outgoing]) -> None:
        """Queue ``messages`` for connection ``session``; never blocks."""

    def drop(self, reason: str) -> None:
        """Drop the connection and make a new one."""


@dataclass(slots=True)
class _State:
    """The latest value of a state topic."""

    payload: bytes
    retain: bool
    expiry_s: int | None


class Sender:
    """Publisher of one device's rows, states and responses.

    ``live_s``: a row is live until this many seconds after the end of its window. ``expiry_s``: the message expiry
    interval of rows, seconds that brokers and bridges may keep them; the place of ``origin`` is in the user properties
    of every message (both MQTT 5 only).
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
        origin: Origin | None = None,
    ) -> None:
        self._outbox = outbox
        self._link = link
        self._names = names
        self._clock = clock
        self._live_s = live_s
        self._expiry_s = expiry_s
        self._boot_id = origin.boot_id if origin else None
        self._about = about(origin.place) if origin else ()
        self._window = InFlightWindow(in_flight)
        self._back_offs = TopicBackOffs(random.Random())
        self._live: deque[tuple[Row, float]] = deque()
        self._backlog: deque[Row] = deque()
        self._states: dict[str, _State] = {}
        self._unsent: dict[str, None] = {}
        self._once: deque[Outgoing] = deque(maxlen=ONCE_QUEUED)
        self._acked: list[int] = []
        self._poison = PoisonMessages()
        self._refused = Refusals()
        self._more = True
        self._fresh = 0
        self._newest = 0
        self._refusals = 0
        self._held_back = False
        self._told_troubles: set[str] = set()
        self.connected: Connected | None = None
        self.trouble: str | None = None
        self.client_id_in_use = False
        self.sent = 0

    # -- states -------------------------------------------------------------------------------------------------------

    def publish_state(self, topic: str, payload: bytes, *, retain: bool, expiry_s: int | None = None) -> None:
        """Publish the value of the full ``topic`` now and after every reconnect; only the latest value is sent.

        ``expiry_s``: the message expiry interval, seconds (MQTT 5 only).
        """
        state = _State(payload, retain, expiry_s)
        if self._states.get(topic) != state:
            self._states[topic] = state
            self._unsent[topic] = None

    def publish_once(self, topic: str, payload: bytes, correlation: bytes | None) -> None:
        """Publish a response on the full ``topic``; discarded when there is no connection or it breaks."""
        if self.connected is not None:
            self._once.append(Outgoing(0, topic, payload, False, correlation))

    def refresh_state(self, topic: str) -> None:
        """Publish the value of ``topic`` again though it did not change."""
        if topic in self._states:
            self._unsent[topic] = None

    def forget_state(self, topic: str) -> None:
        """Stop publishing ``topic`` after reconnects."""
        self._states.pop(topic, None)
        self._unsent.pop(topic, None)

    # -- what the link reports ----------------------------------------------------------------------------------------

    def handle(self, report: Report) -> None:
        """Handle a report of the connection."""
        if isinstance(report, Connected):
            self._on_connected(report)
        elif isinstance(report, Disconnected):
            self._on_disconnected(report)
        elif isinstance(report, Subscribed):
            self._on_subscribed(report)
        else:
            self._on_published(report)

    def _on_connected(self, report: Connected) -> None:
        log.info("mqtt: connected to %s (MQTT %s)", report.broker or "the broker", report.protocol)
        self._told_troubles.clear()
        self.connected, self.trouble, self.client_id_in_use = report, None, False
        self._window.restart(report.receive_maximum, one_by_one=self._poison.suspected)
        self._unsent = dict.fromkeys(self._states)
        self._refusals = 0
        self._more = True

    def _on_disconnected(self, report: Disconnected) -> None:
        if report.planned:
            log.info("mqtt: %s", report.reason)
        elif report.reason not in self._told_troubles:
            self._told_troubles.add(report.reason)
            log.warning("mqtt: %s; trying again", report.reason)
        self.trouble, self.client_id_in_use = report.reason, report.taken_over or report.flapping
        if report.refused:
            self._refused.connection(report.reason, self._clock.monotonic())
        if self.connected is None:
            return
        self.connected = None
        blameless = report.taken_over or report.planned
        poison = None if blameless else self._poison.connection_lost(self._window.rows(), self._clock.monotonic())
        if poison is not None:
            log.error("mqtt: the broker closes the connection on a message every time; it becomes a dead letter")
            self._outbox.dead_letter(CONSUMER, [poison], f"breaks the connection: {report.reason}")
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
        retry, refused = [message for token in report.unsent if (message := self._window.remove(token))], {}
        for token, code in report.acks:
            message = self._window.remove(token)
            if message is None:
                continue
            outcome = verdict(code)
            if outcome is Verdict.DONE:
                self._more |= self._back_offs.accepted(message.topic)
                self._refused.accepted(message.topic)
                if message.row is not None:
                    self._acked.append(message.row.id)
                    if self._poison.acknowledged(message.row.id):
                        self._window.widen()
            elif outcome is Verdict.RETRY:
                if self._back_offs.refused(message.topic, now):
                    log.warning("mqtt: the broker refuses %s: %s", message.topic, reason(code))
                self._refused.publish(message.topic, code)
                retry.append(message)
            else:
                self._refused.message(message.topic, reason(code), now)
                if message.row is not None:
                    refused[message.row.id] = reason(code)
        if retry:
            self._take_back(retry)
            self._more = True
        for id_, why in refused.items():
            self._outbox.dead_letter(CONSUMER, [id_], why)
        if len(self._acked) >= CHUNK or not self._window:
            self.flush()

    def _take_back(self, messages: Sequence[InFlightMessage]) -> None:
        """Return refused messages, and the backlog of the same topics, to the outbox; queue refused states again."""
        refused = {message.topic for message in messages}
        back = [message.row.id for message in messages if message.row is not None]
        back += [row.id for row in self._backlog if self._topic(row) in refused]
        self._backlog = deque(row for row in self._backlog if self._topic(row) not in refused)
        if back:
            self._outbox.nack(CONSUMER, back)
        for topic in refused & self._states.keys():
            self._unsent[topic] = None

    # -- sending ------------------------------------------------------------------------------------------------------

    def stored(self, count: int) -> None:
        """Note that ``count`` new rows are in the outbox."""
        self._fresh += count

    def flush(self) -> None:
        """Acknowledge in the outbox what the broker acknowledged."""
        if self._acked:
            acked, self._acked = self._acked, []
            self._outbox.ack(CONSUMER, acked)

    def send(self) -> None:
        """Send states, responses, live rows and backlog, as far as the in-flight window allows."""
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
            self._send(batch, InFlightMessage(answer.topic, None, now), answer.payload, correlation=answer.correlation)
        if not self._held_back:
            self._refill(now)
            self._send_live(batch, now)
            self._send_backlog(batch, now)
        if batch:
            self.sent += len(batch)
            self._link.publish(self.connected.session, batch)

    def hold_back(self) -> None:
        """Stop sending rows, before the agent stops."""
        self._held_back = True

    @property
    def in_flight(self) -> int:
        """Number of messages that wait for an acknowledgement."""
        return len(self._window)

    @property
    def refused_topics(self) -> tuple[str, ...]:
        """Topics on which the broker refuses messages at present."""
        return self._back_offs.active()

    @property
    def refusals(self) -> Lines:
        """One line for each refusal of the broker; may be read from any thread."""
        return self._refused.lines(self._clock.monotonic())

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and no state, response or live row waits to be sent."""
        return not (self._window or self._unsent or self._once or (self._live and not self._held_back))

    def _send_states(self, batch: list[Outgoing], now: float) -> None:
        for topic in list(self._unsent):
            if self._window.room(live=True) == 0:
                return
            if self._may_send(topic, now):
                del self._unsent[topic]
                state = self._states[topic]
                message = InFlightMessage(topic, None, now)
                self._send(batch, message, state.payload, retain=state.retain, expiry_s=state.expiry_s)

    def _refill(self, now: float) -> None:
        space = CHUNK - len(self._backlog) if len(self._backlog) <= LOW else 0
        wanted = max(self._fresh, space if self._more or self._back_offs.active() else 0)
        if wanted <= 0:
            return
        skip = [kind for kind in KINDS if not self._may_send(self._names.full(topics.backfill(kind)), now)]
        rows = self._outbox.lease(CONSUMER, wanted, self._live_s, skip)
        self._more, self._fresh = len(rows) == wanted, 0
        for row in rows:
            if row.live and row.id > self._newest:
                self._live.append((row, now))
                self._newest = row.id
            else:  # also a live row that was refused before: the retained topic must not go back in time
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
        message = InFlightMessage(topic, row, now)
        self._send(
            batch, message, payload, retain=row.live and row.kind == "summary", urgent=row.live, expiry_s=self._expiry_s
        )

    def _send(
        self,
        batch: list[Outgoing],
        message: InFlightMessage,
        payload: bytes,
        *,
        retain: bool = False,
        correlation: bytes | None = None,
        urgent: bool = True,
        expiry_s: int | None = None,
    ) -> None:
        told = self._told(message.row, expiry_s)
        outgoing = Outgoing(0, message.topic, payload, retain, correlation, urgent, self._refusals, expiry_s, told)
        limit = self.connected.maximum_packet if self.connected else None
        if limit is not None and packet_size(outgoing) > limit:
            log.error("mqtt: a message on %s is larger than the broker's limit of %d bytes", message.topic, limit)
            self._refused.message(message.topic, f"larger than its limit of {limit} bytes", message.sent)
            if message.row is not None:
                self._outbox.dead_letter(CONSUMER, [message.row.id], "packet too large")
            return
        batch.append(replace(outgoing, token=self._window.add(message)))

    def _told(self, row: Row | None, expiry_s: int | None) -> UserProperties:
        """User properties of a message: those of its own place, when the device stood elsewhere in an earlier run."""
        earlier = row is not None and self._boot_id is not None and row.boot_id != self._boot_id
        where = about(place_of(row.payload)) if row is not None and earlier else self._about
        return where if expiry_s is None else (*where, (EXPIRY, str(expiry_s)))

    def _topic(self, row: Row) -> str:
        return self._names.full(row.topic if row.live else topics.backfill(row.kind))

    def _may_send(self, topic: str, now: float) -> bool:
        return self._back_offs.may_send(topic, now, self._window)
