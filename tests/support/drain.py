"""Measure the rate at which delivery sends a backlog, compared with plain paho and the same payloads.

Both publish QoS 1 with the same in-flight window to the same broker in one process: paho half of the payloads before
delivery publishes all of them, and half of them after it, so that a machine that becomes busy slows both.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.delivery import DeliveryService
from edge_agent.domain.clock import SystemClock
from edge_agent.settings import Settings
from edge_agent.summary.summariser import merge_summaries
from tests.support.outboxes import MQTT, make_outbox
from tests.support.windows import summary_draft

IN_FLIGHT = 20


@dataclass(frozen=True, slots=True)
class Drain:
    """Result: ``windows`` windows became ``rows`` rows, sent in ``seconds``; plain paho took ``paho_seconds``.

    ``in_order``: a subscriber got every row once and in order. ``cpu`` and ``paho_cpu``: processor time in seconds.
    """

    windows: int
    rows: int
    in_order: bool
    seconds: float
    paho_seconds: float
    cpu: float
    paho_cpu: float

    @property
    def cpu_ratio(self) -> float:
        """Paho's processor time divided by ours: the same as :attr:`ratio` on an idle machine."""
        return self.paho_cpu / self.cpu

    @property
    def ratio(self) -> float:
        """Our rate divided by paho's."""
        return self.paho_seconds / self.seconds


def measure(folder: Path, port: int, windows: int, max_mb: float) -> Drain:
    """Fill an outbox, and publish its content with plain paho and with delivery, each to a subscriber."""
    payloads = fill(folder / "state", windows, max_mb)
    half = len(payloads) // 2
    began = time.process_time()
    with recording(port, "plain/#", half, folder / "plain"):
        paho_seconds = plain_paho(port, payloads[:half])
    paho_cpu = time.process_time() - began
    began = time.process_time()
    with recording(port, "edge-agent/kiosk-1/backfill/summary", len(payloads), folder / "ours"):
        rows, seconds = drain(folder / "state", port, max_mb)
    cpu = time.process_time() - began
    began = time.process_time()
    with recording(port, "plain/#", len(payloads) - half, folder / "plain"):
        paho_seconds += plain_paho(port, payloads[half:])
    paho_cpu += time.process_time() - began
    received = [json.loads(line) for line in (folder / "ours").read_bytes().splitlines()]
    sent = [json.loads(payload) | {"replayed": True} for payload in payloads]
    return Drain(windows, rows, received == sent, seconds, paho_seconds, cpu, paho_cpu)


@contextmanager
def recording(port: int, topic: str, count: int, file: Path) -> Iterator[None]:
    """Let mosquitto_sub write messages on ``topic`` to ``file``; ends after ``count`` messages."""
    command = ["mosquitto_sub", "-p", str(port), "-t", topic, "-q", "1", "-C", str(count), "-W", "300"]
    with file.open("wb") as out, subprocess.Popen(command, stdout=out) as process:
        time.sleep(0.3)  # it does not tell when it has subscribed
        try:
            yield
            process.wait(60)
        finally:
            process.kill()


def fill(state: Path, windows: int, max_mb: float) -> list[bytes]:
    """Make an outbox below ``state`` as after an outage; its pending payloads."""
    outbox = make_outbox(state / "outbox", max_mb=max_mb, boot_id="outage", clock=SystemClock(lambda: False))
    for k in range(0, windows, 60):
        outbox.put([summary_draft(10.0 * i) for i in range(k, min(k + 60, windows))])
    payloads = [row.payload for row in outbox.lease(MQTT, windows)]
    outbox.close()
    return payloads


def drain(state: Path, port: int, max_mb: float, timeout: float = 120.0) -> tuple[int, float]:
    """Deliver the outbox below ``state`` to the broker on ``port``; the number of rows, and seconds since the start."""
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
            time.sleep(0.05 if stats.outbox.pending > 500 else 0.01)  # asking costs the service time
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
