"""Take messages of the fleet from the broker and store them; a message is acknowledged when it is committed.

Two connections: the shared subscription, whose session the broker keeps while the collector is away, and, in the one
collector that leads, a plain one for the retained state of devices. Broker and database may be away at any time: then
messages wait, unacknowledged, at the broker, which hands over ``reading.in_flight`` of them at most.
"""

from __future__ import annotations

import logging
import queue
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from edge_agent.collect import database, rows
from edge_agent.collect.database import Connection, Partitions
from edge_agent.collect.metrics import CollectorFigures
from edge_agent.collect.settings import CollectSettings
from edge_agent.collect.writer import Batch, BatchWriter, Written
from edge_agent.delivery.diagnostics import reason
from edge_agent.delivery.link import Connected, Disconnected, InboundMessage, Keeping, Report, Subscribed
from edge_agent.delivery.mqtt import MqttLink
from edge_agent.domain.errors import DeliveryError
from edge_agent.domain.retry import JitteredBackOff
from edge_agent.runtime.lifecycle import Notifier, Stop

log = logging.getLogger(__name__)

LARGEST_BYTES = 1 << 20
"""The broker does not send larger messages; those above ``reading.message_bytes`` come, and are rejected."""

RETRY_S = (0.5, 15.0)
"""First and longest pause before the database is tried again, in seconds."""

LEAD_S = 5.0
"""Seconds between two attempts to become the leader."""

RETIRED_S = 5.0
"""Seconds without a message after which a collector that retires has stored everything."""

PRUNE_S = 3600.0
STATES_S = 1.0
"""Most seconds that the state of a device waits to be written."""

MOST_DEVICES = 200_000
TELL_S = 60.0


Arrived = tuple[InboundMessage, datetime]
"""A message and when it was received."""


class Inbox:
    """Messages between the threads of the connections and the writer: at most ``limit`` of the shared subscription.

    On a new connection the broker hands over again what was not acknowledged, so what waits from the one before is
    discarded: else every reconnection of a slow collector would add to its load.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._number = 0
        self._data: deque[Arrived] = deque()
        self._states: dict[str, Arrived] = {}
        self._changed = threading.Condition()
        self._enough = 1

    def put(self, message: InboundMessage) -> None:
        """Add a message of the shared subscription."""
        number = message.ticket[0] if message.ticket is not None else 0
        with self._changed:
            if number != self._number:
                self._number = number
                self._data.clear()
            self._data.append((message, datetime.now(UTC)))
            if len(self._data) in (1, self._enough):
                self._changed.notify()

    def has_room(self) -> bool:
        """Whether another message may be read from the broker."""
        return len(self._data) < self._limit

    def clear(self) -> None:
        """Discard what waits: the broker has it still."""
        with self._changed:
            self._data.clear()

    def put_state(self, message: InboundMessage) -> None:
        """Add the latest of a topic, in place of the one before."""
        with self._changed:
            if message.topic in self._states or len(self._states) < MOST_DEVICES * len(rows.STATES):
                self._states[message.topic] = message, datetime.now(UTC)

    def take(self, most: int, wait_s: float) -> list[Arrived]:
        """At most ``most`` messages, when there are so many or the first has waited ``wait_s`` seconds."""
        with self._changed:
            if not self._data:
                self._changed.wait(STATES_S)
            until, self._enough = time.monotonic() + wait_s, most
            while 0 < len(self._data) < most and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return [self._data.popleft() for _ in range(min(most, len(self._data)))]

    def take_states(self) -> list[Arrived]:
        """The latest of every topic that changed."""
        with self._changed:
            states, self._states = self._states, {}
        return list(states.values())

    def __len__(self) -> int:
        return len(self._data)


class Collector:
    """Runs until ``stop``; ``figures`` may be read from other threads.

    ``retiring``: takes nothing new, stores what the broker holds for this collector, ends the session, and returns.
    """

    def __init__(self, settings: CollectSettings, stop: Stop, notifier: Notifier, *, retiring: bool = False) -> None:
        self._retiring = retiring
        self._last = 0.0
        self._settings = settings
        self._stop = stop
        self._notifier = notifier
        self._mqtt = settings.mqtt.model_copy(update={"protocol": "5"})
        self._inbox = Inbox(settings.reading.in_flight)
        self._link: MqttLink | None = None
        self._state_link: MqttLink | None = None
        self._connection: Connection | None = None
        self._writer: BatchWriter | None = None
        self._partitions = Partitions(settings.database.partition)
        self._backoff = JitteredBackOff(*RETRY_S, random.Random())
        self._due = {"lead": 0.0, "prune": 0.0, "tell": time.monotonic() + TELL_S}
        self.figures = CollectorFigures()

    def run(self) -> None:
        """Collect until a stop is requested, then store and acknowledge what was handed over.

        Raises:
            ConfigError: the database has another schema, or cannot be used at all.
        """
        if not self._commit(Batch()):  # a wrong schema ends it before anything is taken from the broker
            return
        self._notifier.ready("collecting")
        try:
            while not self._stop.requested and not self._is_retired():
                self._join()
                if self._step(self._settings.reading.batch, self._settings.reading.wait_s):
                    self._last = time.monotonic()
                self._chores()
            self._notifier.stopping()
            left = len(self._inbox)
            while left > 0 and (stored := self._step(min(left, self._settings.reading.batch), 0.0)):
                left -= stored
        finally:
            self._disconnect()
        if self._retiring and not self._stop.requested:
            # A connection with a clean start, that asks for nothing to be kept, ends the session.
            check_broker(self._settings, self._settings.client_id)
        log.info("stopped; %s", self._told())

    @property
    def waiting(self) -> int:
        """Number of messages that were taken from the broker and are not committed yet."""
        return len(self._inbox)

    # -- writing ------------------------------------------------------------------------------------------------------

    def _step(self, most: int, wait_s: float) -> int:
        """Store one batch of at most ``most`` messages and acknowledge them; their number."""
        taken, link = self._inbox.take(most, wait_s), self._link
        states = self._inbox.take_states()
        if (taken or states) and not self._commit(self._read(taken, states)):
            return 0
        # Tickets are those of one link: after a failure of the database there is another, where all comes again.
        if link is not None and link is self._link:
            link.acknowledge([message.ticket for message, _at in taken if message.ticket is not None])
        return len(taken)

    def _read(self, taken: Sequence[Arrived], states: Sequence[Arrived]) -> Batch:
        limits, prefix = self._limits(), self._mqtt.prefix
        found = [rows.read(prefix, m.topic, m.payload, at, limits) for m, at in taken]
        latest = [rows.read_state(prefix, m.topic, m.payload, at, m.retain, limits) for m, at in states]
        return Batch(
            [row for row in found if isinstance(row, rows.TableRow)],
            [row for row in (*found, *latest) if isinstance(row, rows.Rejection)],
            [state for state in latest if isinstance(state, rows.State)],
        )

    def _limits(self) -> rows.Acceptance:
        settings = self._settings.database
        oldest = datetime.now(UTC) - timedelta(days=settings.retention_days) if settings.retention_days else None
        return rows.Acceptance(self._settings.reading.message_bytes, settings.rejected_bytes, oldest)

    def _commit(self, batch: Batch) -> bool:
        """Write ``batch``, waiting for the database as long as it takes; False: a stop came first."""
        while True:
            try:
                writer = self._writer or self._connect()
                if batch:
                    self._count(batch, writer.write(batch))
                self._backoff.reset()
                return True
            except database.Error as error:
                self._failed(error)
                if self._stop.requested:
                    return False  # nothing was acknowledged, so the broker sends it again

    def _count(self, batch: Batch, outcome: Written) -> None:
        self.figures.add(outcome)
        self.figures.batches += 1
        self.figures.states += len(batch.states)
        for rejection in batch.rejections[:10]:
            log.warning("rejected a message on %s: %s", rejection.topic, rejection.reason)
        if len(batch.rejections) > 10:
            log.warning("rejected %d more messages: see the table rejected", len(batch.rejections) - 10)

    def _connect(self) -> BatchWriter:
        """Connect to the database. Raises psycopg.Error, ConfigError."""
        connection = database.connect(self._settings.database)
        try:
            database.check_schema(connection, self._settings.database.partition)
            database.write_timezones(connection, self._settings.timezones.items())
            writer = BatchWriter(connection, self._partitions, self._settings.database.rejected_rows)
        except BaseException:
            connection.close()
            raise
        if self.figures.database is not None:
            log.info("connected to the database")
        self._partitions.forget()
        self._connection, self._writer, self.figures.database = connection, writer, None
        self._due["lead"] = self._due["prune"] = 0.0
        return writer

    def _failed(self, error: database.Error) -> None:
        """Report a failure of the database and wait before the next attempt."""
        reason = database.one_line(error)
        if self.figures.database != reason:
            log.warning("the database takes nothing, so messages wait at the broker: %s", reason)
            self._notifier.status(f"waiting for the database: {reason}")
        self.figures.database = reason
        self.figures.database_failures += 1
        self._disconnect()
        self._stop.wait(self._backoff.next(RETRY_S[0]))

    def _disconnect(self) -> None:
        self._follow()
        self._leave()
        if self._connection is not None:
            self._connection.close()
        self._connection = self._writer = None

    # -- the broker ---------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        """Connect to the broker, once the database takes what comes."""
        if self._link is not None or not self._commit(Batch()):
            return
        reading = self._settings.reading
        keeping = Keeping(reading.session_days * 86_400, reading.in_flight, LARGEST_BYTES, self._inbox.has_room)
        self._link = MqttLink(self._mqtt, self._settings.client_id, None, self._report, self._inbox.put, keeping)
        if not self._retiring:
            for topic_filter in rows.data_filters(self._mqtt.prefix, reading.group):
                self._link.subscribe(topic_filter)
        self._link.start()

    def _is_retired(self) -> bool:
        """Whether the broker has held nothing more for a while."""
        return self._retiring and self.figures.connected and time.monotonic() - self._last > RETIRED_S

    def _leave(self) -> None:
        """Disconnect from the broker, which then keeps what comes, or gives it to collectors that can store it."""
        if self._link is not None and not self._link.stop(5.0):
            log.warning("the connection to the broker hangs and is abandoned")
        self._link = None
        self.figures.connected = False
        self._inbox.clear()

    # -- chores -------------------------------------------------------------------------------------------------------

    def _chores(self) -> None:
        try:
            if self._is_due("lead", LEAD_S):
                self._lead()
            if self._is_due("prune", PRUNE_S):
                self._prune()
        except database.Error as error:
            self._failed(error)
        if self._is_due("tell", TELL_S):
            log.info("%s", self._told())
            self._notifier.status(self._told())

    def _is_due(self, chore: str, every: float) -> bool:
        now = time.monotonic()
        if now < self._due[chore]:
            return False
        self._due[chore] = now + every
        return True

    def _prune(self) -> None:
        if self._connection is not None and self._writer is not None:
            self._partitions.ahead(self._connection)
            if self.figures.leader:
                try:
                    dropped = self._writer.prune(datetime.now(UTC), self._settings.database)
                except database.InUse:
                    log.warning("queries read old partitions: what is older than the retention is deleted next time")
                    return
                if dropped:
                    log.info("dropped %d partitions that are older than the retention", dropped)

    def _lead(self) -> None:
        """Read the state of devices if no other collector does."""
        if (
            self._retiring
            or self._connection is None
            or self._state_link is not None
            or not database.is_leader(self._connection)
        ):
            return
        self.figures.leader = True
        self._due["prune"] = 0.0
        client = f"{self._settings.client_id[:50]}-state-{secrets.token_hex(3)}"
        link = MqttLink(self._mqtt, client, None, self._report_state, self._inbox.put_state)
        for topic_filter in rows.state_filters(self._mqtt.prefix):
            link.subscribe(topic_filter)
        link.start()
        self._state_link = link
        log.info("this collector reads the state of devices and applies the retention")

    def _follow(self) -> None:
        """Leave that to another: the lock is lost with the connection to the database."""
        self.figures.leader = False
        if self._state_link is not None:
            self._state_link.stop(5.0)
            self._state_link = None

    # -- reports of the connections, on their threads -----------------------------------------------------------------

    def _report(self, report: Report) -> None:
        if isinstance(report, Connected):
            self._last = time.monotonic()
            self.figures.connected = True
            log.info("connected to the broker")
            if self._retiring and self._link is not None:
                for topic_filter in rows.data_filters(self._mqtt.prefix, self._settings.reading.group):
                    self._link.unsubscribe(topic_filter)
        elif isinstance(report, Disconnected):
            self.figures.connected = False
            self.figures.disconnections += 1
            log.warning("no connection to the broker, next attempt in %.0f s: %s", report.retry_in, report.reason)
        self._report_state(report)

    @staticmethod
    def _report_state(report: Report) -> None:
        for topic_filter, code in report.answers if isinstance(report, Subscribed) else ():
            if code >= 0x80:
                log.error("the broker refuses the subscription to %s: %s", topic_filter, reason(code))

    def _told(self) -> str:
        f = self.figures
        return (
            f"stored {f.windows} windows and {f.events} events, {f.repeated} came again, {f.rejected} rejected, "
            f"{len(self._inbox)} wait"
        )


CHECK_S = 15.0


def check_broker(settings: CollectSettings, client_id: str | None = None) -> str:
    """Connect and ask for a shared subscription, in a group of its own so that it takes no messages from others.

    ``client_id``: by default a random one; the broker forgets what it kept for it.

    Raises:
        DeliveryError: the broker cannot be reached, or refuses.
    """
    reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
    name = f"{settings.client_id[:50]}-check-{secrets.token_hex(3)}"
    mqtt = settings.mqtt.model_copy(update={"protocol": "5"})
    link = MqttLink(mqtt, client_id or name, None, reports.put, lambda _message: None)
    link.subscribe(rows.data_filters(settings.mqtt.prefix, name)[0])
    link.start()
    deadline = time.monotonic() + CHECK_S
    try:
        while (left := deadline - time.monotonic()) > 0:
            try:
                report = reports.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(report, Disconnected):
                raise DeliveryError(f"broker: {report.reason}")
            if isinstance(report, Subscribed):
                code = report.answers[0][1]
                if code >= 0x80:
                    raise DeliveryError(f"broker: refuses shared subscriptions: {reason(code)}")
                return "MQTT 5 with shared subscriptions"
    finally:
        link.stop(5.0)
    raise DeliveryError(f"broker: no answer within {CHECK_S:.0f} s")
