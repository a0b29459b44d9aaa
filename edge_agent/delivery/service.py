"""The delivery service: submit summaries, events and states to the outbox, the broker and the sinks without blocking.

``submit_*`` only enqueue, so that neither a slow disk nor a missing broker delays the caller. One thread stores what
was submitted and drives the sender; the connection to the broker, the handlers of inbound messages and each sink have
threads of their own. States (``status``, ``info``, ``gaps`` and those of :meth:`DeliveryService.publish_state`) are not
stored: the latest value is published after every reconnect.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_agent.delivery import topics
from edge_agent.delivery.diagnostics import DeliveryStats, EventCounter, Namesakes
from edge_agent.delivery.flow_control import Intake
from edge_agent.delivery.link import Handler, InboundMessage, Report
from edge_agent.delivery.mqtt import Dispatcher, MqttLink
from edge_agent.delivery.outbox import Merge, Origin, Outbox
from edge_agent.delivery.outbox.records import Draft
from edge_agent.delivery.sender import CONSUMER, Sender, about
from edge_agent.delivery.session import Will
from edge_agent.delivery.sinks import MakeSink, SinkSender, consumer
from edge_agent.domain.clock import Clock
from edge_agent.domain.event import Event
from edge_agent.domain.summary import ClockState, Summary
from edge_agent.payloads.rendering import encode, summary_document
from edge_agent.settings.schema import Settings

log = logging.getLogger(__name__)

FOLDER = "outbox"
"""Name of the outbox directory in the state directory."""

LIVE_S = 15.0
"""A message that is sent later than this after the end of its window is late."""

TICK_S = 0.25
MAINTENANCE_S = 1.0
OFFLINE_S = 0.7
"""Time reserved for publishing ``offline`` when stopping."""

STORE_S = 8.0
"""Further time for storing the last messages when stopping, which a starved machine or a slow card needs."""

SINK_S = 1.0
"""Timeout of each sink when stopping."""

QUIET_S = 60.0
"""Another agent without messages for this long, or for three windows, no longer publishes as this device."""

BEAT_S, BEAT_EXPIRES_S = 30.0, 90
"""What holds only now (``online``, who is in view) is repeated this often, and brokers forget it after so long."""

GAPS_SHOWN = 10
"""Most gaps that are published."""


class DeliveryService:
    """Delivery of one device's messages to the broker and to ``sinks``, which are closed with the service.

    ``info`` is published, retained; ``merge`` merges neighbouring summaries exactly; ``make_link`` makes the connection
    to the broker as :class:`~edge_agent.delivery.mqtt.MqttLink` does. :attr:`events` counts events.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        boot_id: str,
        info: Mapping[str, object],
        merge: Merge,
        sinks: Mapping[str, MakeSink] | None = None,
        make_link: Callable[..., MqttLink] = MqttLink,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._boot_id = boot_id
        sinks = sinks or {}
        self._enabled = settings.mqtt.enabled or bool(sinks)
        self.topics = topics.Topics(settings.mqtt.prefix, settings.device.id)
        self._expiry_s = round(settings.outbox.max_age_days * 86_400)
        self.events = EventCounter()
        self._info: dict[str, object] = {}
        self._describe(info)
        self._dispatcher = Dispatcher()
        self._intake = Intake(hasty=bool(sinks))
        self._reports: deque[Report] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._stop_by: float | None = None
        self._beating: set[str] = set()
        self._beat_due = time.monotonic() + BEAT_S
        self._offline_sent = False
        self._last_error = ""
        self._told_losses = (0, 0, 0)
        self._thread: threading.Thread | None = None
        origin = Origin(settings.device.id, boot_id, merge, settings.device.place)
        mine = [CONSUMER] if settings.mqtt.enabled or not sinks else []
        self._outbox = Outbox(outbox_folder(settings), origin, clock, settings.outbox, [*mine, *map(consumer, sinks)])
        self._sinks = {name: SinkSender(name, make, self._outbox, clock, boot_id) for name, make in sinks.items()}
        self._link = make_link(
            settings.mqtt,
            settings.mqtt.client_id or f"edge-agent-{settings.device.id}",
            Will(self.topics.full(topics.STATUS), topics.OFFLINE, about(origin.place)),
            self._on_report,
            self._dispatcher.offer,
        )
        self._sender = Sender(
            self._outbox,
            self._link,
            self.topics,
            clock,
            in_flight=settings.mqtt.in_flight,
            live_s=LIVE_S,
            expiry_s=self._expiry_s,
            origin=origin,
        )
        self._namesakes = Namesakes(
            self.topics, boot_id, max(QUIET_S, 3 * settings.summary.window_s), self._republish_online
        )

    # -- lifecycle ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the outbox, and start the connection and the sinks. Does nothing without MQTT and sinks.

        Raises:
            AlreadyRunningError: another agent uses the state directory.
            NewerSchemaError: the outbox was written by a newer version.
        """
        if not self._enabled:
            log.info("delivery: off: nothing leaves this device")
            return
        self._outbox.open()
        self._beat(self.topics.full(topics.STATUS), topics.ONLINE)
        self._sender.publish_state(self.topics.full(topics.INFO), self._bytes(self._info), retain=True)
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._thread.start()
        if self._settings.mqtt.enabled:
            for topic_filter in self._namesakes.filters if self._settings.mqtt.detect_namesakes else ():
                self._dispatcher.add(topic_filter, self._namesakes.handle)
                self._link.subscribe(topic_filter, no_local=True)
            self._link.start()
        for sink in self._sinks.values():
            sink.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Store what was submitted, send live messages, publish ``offline`` and close within ``deadline_s``."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._wake:
            self._stop_by = time.monotonic() + deadline_s
            self._wake.notify()
        thread.join(deadline_s + STORE_S)
        if thread.is_alive():
            log.error("delivery: did not stop within %.0f s; stored messages are kept", deadline_s + STORE_S)

    # -- producing ----------------------------------------------------------------------------------------------------

    def submit_summary(self, summary: Summary) -> None:
        """Submit ``summary`` for delivery; never blocks."""
        window = summary.window
        self._submit(
            Draft("summary", topics.SUMMARY, summary, summary.start, window.begin, summary.seconds, summary.clock)
        )

    def publish_rollup(self, summary: Summary, level: float, number: int) -> None:
        """Publish ``summary``, the ``number``-th roll-up of ``level`` seconds, as a retained state. Never blocks.

        It is not stored in the outbox: the windows it was made of are.
        """
        device = self._settings.device
        document = summary_document(summary, device.id, self._boot_id, number, place=device.place)
        self.publish_state(topics.rollup(level), document)

    def update_info(self, info: Mapping[str, object]) -> None:
        """Replace the published ``info`` of the device. Never blocks."""
        self._describe(info)
        self.publish_state(topics.INFO, self._info)

    def _describe(self, info: Mapping[str, object]) -> None:
        self._info = dict(info) | {"boot_id": self._boot_id, "expiry_s": self._expiry_s}

    def submit_event(self, event: Event, start: float, clock: ClockState) -> None:
        """Submit ``event``, which began at wall time ``start``, for delivery; never blocks."""
        self.events.count(event)
        self._submit(Draft("event", topics.event(event.kind), event, start, event.start, event.seconds, clock))

    def publish_now(self, topic: str, payload: Mapping[str, object]) -> None:
        """Publish what holds only now on the relative ``topic``, retained, and repeat it as long as it does.

        Over MQTT 5 brokers forget it soon after the repetitions end, whatever cut them off. Never blocks.
        """
        full, data = self.topics.full(topic), self._bytes(payload)
        self._call(lambda: self._beat(full, data))

    def publish_state(
        self,
        topic: str,
        payload: Mapping[str, object] | str | bytes,
        *,
        retain: bool = True,
        absolute: bool = False,
        expires: bool = False,
    ) -> None:
        """Publish the value of a state now, and the latest value after every reconnect. Never blocks.

        ``topic`` is relative to the device's topics unless ``absolute``. Mappings become JSON and
        say where the device is. ``expires``: with the message expiry interval of summaries, from which readers know how
        old it is.
        """
        full = topic if absolute else self.topics.full(topic)
        data, expiry_s = self._bytes(payload), self._expiry_s if expires else None
        self._call(lambda: self._sender.publish_state(full, data, retain=retain, expiry_s=expiry_s))

    def refresh_state(self, topic: str) -> None:
        """Publish the value of the full ``topic`` again. Never blocks."""
        self._call(lambda: self._sender.refresh_state(topic))

    def forget_state(self, topic: str) -> None:
        """Stop publishing the full ``topic`` after reconnects. Never blocks."""
        self._call(lambda: self._sender.forget_state(topic))

    def reply(self, request: InboundMessage, topic: str, payload: Mapping[str, object] | str | bytes) -> None:
        """Publish the response to ``request`` on its response topic, else on the relative ``topic``.

        The response is discarded when there is no connection. Never blocks.
        """
        full = request.response_topic or self.topics.full(topic)
        data = self._bytes(payload)
        self._call(lambda: self._sender.publish_once(full, data, request.correlation))

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        """Subscribe to the full ``topic_filter``; delivery's inbound thread calls ``handler`` for each message."""
        self._dispatcher.add(topic_filter, handler)
        if self._settings.mqtt.enabled:
            self._link.subscribe(topic_filter)

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self._sender.connected is not None

    def stats(self) -> DeliveryStats:
        """Present state and counters; may be called from any thread."""
        connected = self._sender.connected
        return DeliveryStats(
            enabled=self._enabled,
            connected=connected is not None,
            protocol=connected.protocol if connected else None,
            broker=connected.broker if connected else None,
            rank=connected.rank if connected else 0,
            trouble=self._sender.trouble,
            client_id_in_use=self._sender.client_id_in_use,
            in_flight=self._sender.in_flight,
            sent=self._sender.sent,
            inbound_dropped=self._dispatcher.dropped + self._link.refused,
            refused_topics=self._sender.refused_topics,
            refusals=self._sender.refusals,
            namesakes=self._namesakes.lines(time.monotonic()),  # as messages are stamped
            outbox=self._outbox.stats() if self._outbox.is_open else None,
            sinks={name: sink.health for name, sink in self._sinks.items()},
        )

    def _bytes(self, payload: Mapping[str, object] | str | bytes) -> bytes:
        """The payload as sent; JSON objects say where the device is."""
        if isinstance(payload, bytes):
            return payload
        return payload.encode() if isinstance(payload, str) else encode({**payload, **self._settings.device.place})

    def _republish_online(self) -> None:
        """Publish ``online`` again after a last will, another agent's or our own that came late, overwrote it."""
        if not self._offline_sent:
            self.refresh_state(self.topics.full(topics.STATUS))

    # -- queues to the thread -----------------------------------------------------------------------------------------

    def _submit(self, draft: Draft) -> None:
        if not self._enabled:
            return
        with self._wake:
            self._intake.add(draft, time.monotonic())
            self._wake.notify()

    def _call(self, call: Callable[[], None]) -> None:
        if not self._enabled:
            return
        with self._wake:
            self._calls.append(call)
            self._wake.notify()

    def _on_report(self, report: Report) -> None:
        with self._wake:
            self._reports.append(report)
            self._wake.notify()

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        maintenance_due = 0.0
        while True:
            idle = self._wait()
            # Read before storing, so that everything submitted before the stop is stored.
            stop_by = self._stop_by
            self._guarded(self._store)
            self._guarded(self._react)
            if idle:
                self._guarded(self._sender.flush)
            self._guarded(self._outbox.write_held)
            self._guarded(self._sender.send)
            if time.monotonic() >= maintenance_due:
                maintenance_due = time.monotonic() + MAINTENANCE_S
                self._guarded(self._maintain)
            if stop_by is not None and self._may_end(stop_by):
                break
        self._close()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # a bug must cost one step and not stop delivery
            if repr(error) != self._last_error:
                log.exception("delivery: unexpected error")
            self._last_error = repr(error)
            time.sleep(0.5)

    def _beat(self, topic: str, payload: bytes) -> None:
        self._beating.add(topic)
        self._sender.publish_state(topic, payload, retain=True, expiry_s=BEAT_EXPIRES_S)

    def _maintain(self) -> None:
        now = time.monotonic()
        if self._sender.connected is None:
            self._beat_due = now + BEAT_S  # all states are published on connecting
        elif now >= self._beat_due:
            self._beat_due = now + BEAT_S
            for topic in self._beating:
                self._sender.refresh_state(topic)
        self._outbox.maintain()
        self._publish_gaps()

    def _wait(self) -> bool:
        """Wait for work, at most a tick; whether there is none."""
        with self._wake:
            if not (self._due() or self._reports or self._calls):
                self._wake.wait(0.05 if self._stop_by is not None else TICK_S)
            return not (self._due() or self._reports or self._calls)

    def _due(self) -> bool:
        """Whether to store what was submitted; to be called with the lock."""
        return self._intake.due(time.monotonic(), hurry=self.connected or self._stop_by is not None)

    def _store(self) -> None:
        with self._wake:
            drafts, overflow = self._intake.take() if self._due() else ([], 0)
        if drafts:
            (self._outbox.put_briefly if self.connected else self._outbox.put)(drafts)
            self._sender.stored(len(drafts))
        if overflow:
            self._outbox.count_lost(overflow, "disk too slow")

    def _react(self) -> None:
        while self._calls:
            self._calls.popleft()()
        while self._reports:
            self._sender.handle(self._reports.popleft())

    def _publish_gaps(self) -> None:
        losses = self._outbox.losses
        if losses == self._told_losses:
            return
        self._told_losses, stats = losses, self._outbox.stats()
        counters = stats.counters
        document = {
            "v": 1,
            "device": self._settings.device.id,
            "dropped": counters.dropped,
            "dead_lettered": counters.dead_lettered,
            "salvages": stats.salvages,
            "gaps": [gap.document() for gap in stats.gaps[-GAPS_SHOWN:]],
        }
        self._sender.publish_state(self.topics.full(topics.GAPS), self._bytes(document), retain=True)

    def _may_end(self, deadline: float) -> bool:
        """Whether the thread may end: live messages sent and ``offline`` acknowledged, no connection, or time is up."""
        if time.monotonic() >= deadline or self._sender.connected is None:
            return True
        if not self._offline_sent and (self._sender.idle or time.monotonic() >= deadline - OFFLINE_S):
            self._offline_sent = True
            self._sender.hold_back()
            self._beating.clear()
            self._sender.publish_state(self.topics.full(topics.STATUS), topics.OFFLINE, retain=True)
            return False
        return self._offline_sent and self._sender.idle

    def _close(self) -> None:
        self._link.stop(1.0)
        for sink in self._sinks.values():
            sink.stop(SINK_S)
        try:
            self._react()
            self._sender.flush()
        finally:
            self._outbox.close()
        self._dispatcher.stop(0.5)


def outbox_folder(settings: Settings) -> Path:
    """The outbox directory of an agent with ``settings``."""
    return settings.device.state_dir / FOLDER
