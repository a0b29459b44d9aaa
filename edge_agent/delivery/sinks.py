"""Write outbox rows to a sink plugin, in order, with acknowledgement and back-off.

A row is acknowledged only after the sink has stored it; after a crash in between it is written again with the same key.
A sink that fails is tried again with back-off while its rows wait in the outbox, within the outbox's cap; it never
delays other consumers.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.outbox.records import Row
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import DeliveryError
from edge_agent.domain.event import Message
from edge_agent.domain.retry import JitteredBackOff

log = logging.getLogger(__name__)

BATCH = 100
TICK_S = 1.0
PAUSE_S = (1.0, 60.0)

LATE_S = 60.0
"""A message that is written later than this after the end of its window is late."""


class MessageSink(Protocol):
    """A sink as delivery uses it; plugins implement :class:`edge_agent.plugin.spec.Sink`."""

    def write(self, messages: Sequence[Message]) -> None:
        """Store all ``messages`` durably, in order, or raise."""
        ...

    def close(self) -> None: ...


MakeSink = Callable[[], MessageSink]
"""Makes a sink; if it raises, it is called again later."""


def consumer(name: str) -> str:
    """Name of the sink ``name`` as a consumer of the outbox."""
    return f"sink-{name}"


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """State of a sink. ``written``: messages since the start; ``trouble``: why it fails at present, or None."""

    written: int
    trouble: str | None


class SinkSender:
    """Write rows to one sink on a thread of its own. Rows of another ``boot_id`` are late."""

    def __init__(self, name: str, make: MakeSink, outbox: Outbox, clock: Clock, boot_id: str) -> None:
        self._name = name
        self._make = make
        self._sink: MessageSink | None = None
        self._outbox = outbox
        self._clock = clock
        self._boot_id = boot_id
        self._backoff = JitteredBackOff(*PAUSE_S, random.Random())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)
        self._health = SinkHealth(0, None)

    @property
    def health(self) -> SinkHealth:
        """State of the sink; may be read from any thread."""
        return self._health

    def start(self) -> None:
        """Start the thread; the outbox must be open."""
        self._thread.start()

    def stop(self, deadline_s: float) -> None:
        """Write what is pending and close the sink; a sink that hangs is abandoned after ``deadline_s``."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(deadline_s)
        if self._thread.is_alive():
            log.warning("sink %s did not stop within %.1f s; its messages are kept", self._name, deadline_s)

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            pause = self._step()
        self._step()
        try:
            if self._sink is not None:
                self._sink.close()
        except Exception:  # a plugin may raise anything; stopping goes on
            log.exception("sink %s failed to close", self._name)

    def _step(self) -> float:
        """Write all pending rows; seconds until the next step."""
        try:
            if self._sink is None:
                self._sink = self._make()
            while self._write_batch(self._sink):
                pass
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; its rows stay in the outbox
            trouble = f"{type(error).__name__}: {error}"
            if trouble != self._health.trouble:
                log.warning("sink %s: %s; trying again", self._name, trouble)
            self._health = replace(self._health, trouble=trouble)
            return self._backoff.next(PAUSE_S[0])
        if self._health.trouble is not None:
            log.info("sink %s: works again", self._name)
            self._health = replace(self._health, trouble=None)
        self._backoff.reset()
        return TICK_S

    def _write_batch(self, sink: MessageSink) -> bool:
        """Write one batch; False when nothing is pending."""
        who = consumer(self._name)
        try:
            rows = self._outbox.lease(who, BATCH)
        except DeliveryError:  # the outbox was closed: the agent stops
            return False
        if not rows:
            return False
        ids = [row.id for row in rows]
        try:
            sink.write([replace(row, live=not self._late(row)).message() for row in rows])
        except BaseException:
            self._outbox.nack(who, ids)
            raise
        self._outbox.ack(who, ids)
        self._health = replace(self._health, written=self._health.written + len(rows))
        return True

    def _late(self, row: Row) -> bool:
        return row.boot_id != self._boot_id or self._clock.wall() - (row.start + row.seconds) > LATE_S
