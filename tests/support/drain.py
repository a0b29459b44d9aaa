"""How fast a backlog drains through the whole of delivery, beside what plain paho does with the same payloads.

Both publish QoS 1 with the same in-flight window to the same broker, one after the other in one process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.delivery import DeliveryService
from edge_agent.domain.clock import SystemClock
from edge_agent.settings import Settings
from edge_agent.summary.rollup import merge_summaries
from tests.support.outboxes import MQTT, make_outbox
from tests.support.windows import summary_draft

IN_FLIGHT = 20


@dataclass(frozen=True, slots=True)
class Drain:
    """``rows`` drained in ``seconds``; plain paho published as many payloads in ``paho_seconds``."""

    rows: int
    seconds: float
    paho_seconds: float

    @property
    def ratio(self) -> float:
        """Our rate over paho's."""
        return self.paho_seconds / self.seconds


def fill(state: Path, windows: int, max_mb: float) -> list[bytes]:
    """An outbox below ``state`` after an outage of ``windows`` windows; the payloads that wait in it."""
    outbox = make_outbox(state / "outbox", max_mb=max_mb, boot_id="outage", clock=SystemClock(lambda: False))
    for k in range(0, windows, 60):
        outbox.put([summary_draft(10.0 * i) for i in range(k, min(k + 60, windows))])
    payloads = [row.payload for row in outbox.lease(MQTT, windows)]
    outbox.close()
    return payloads


def drain(state: Path, port: int, max_mb: float, timeout: float = 120.0) -> tuple[int, float]:
    """Connect to the broker on ``port`` and deliver everything below ``state``: rows, and seconds from first to last."""
    settings = Settings(
        device={"id": "kiosk-1", "state_dir": str(state)},
        mqtt={"host": "127.0.0.1", "port": port, "in_flight": IN_FLIGHT},
        outbox={"max_mb": max_mb},
    )
    delivery = DeliveryService(settings, SystemClock(lambda: True), "drain", {}, merge_summaries)
    delivery.start()
    try:
        started = time.monotonic()
        stats = delivery.stats()
        assert stats.outbox is not None
        rows = stats.outbox.pending
        while stats.outbox.pending:
            assert time.monotonic() - started < timeout, stats
            time.sleep(0.01)
            stats = delivery.stats()
            assert stats.outbox is not None
        return rows, time.monotonic() - started
    finally:
        delivery.stop(5.0)


def plain_paho(port: int, payloads: Sequence[bytes]) -> float:
    """Seconds that paho's own thread takes to publish ``payloads``, QoS 1, until the last acknowledgement."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(IN_FLIGHT)
    connected, done = threading.Event(), threading.Event()
    acknowledged = 0

    def on_publish(*_: object) -> None:
        nonlocal acknowledged
        acknowledged += 1
        if acknowledged == len(payloads):
            done.set()

    client.on_connect = lambda *_: connected.set()
    client.on_publish = on_publish
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert connected.wait(10)
    window = threading.Semaphore(IN_FLIGHT)
    client.on_publish = lambda *_: (on_publish(), window.release())
    started = time.monotonic()
    for payload in payloads:
        window.acquire()
        client.publish("plain/backfill/summary", payload, 1)
    assert done.wait(120)
    seconds = time.monotonic() - started
    client.disconnect()
    client.loop_stop()
    return seconds
