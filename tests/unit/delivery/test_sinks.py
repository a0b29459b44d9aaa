"""Sinks: at-least-once delivery in order, independent of the broker and of other sinks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge_agent.delivery import DeliveryService
from edge_agent.delivery.sinks import SinkSender, consumer
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.event import Event, Message
from edge_agent.settings import Settings
from edge_agent.summary.summariser import merge_summaries
from edge_agent_jsonl.files import JsonlSink
from tests.support.mosquitto import Mosquitto
from tests.support.outboxes import MQTT, assert_balanced, make_outbox
from tests.support.payloads import validated
from tests.support.subscriber import Subscriber

Eventually = Callable[..., Any]
CLOCK = SystemClock(lambda: True)


class Shelf:
    """Sink that fails on demand."""

    def __init__(self) -> None:
        self.stored: list[Message] = []
        self.broken = threading.Event()
        self.tries = 0
        self.closed = False

    def write(self, messages: Sequence[Message]) -> None:
        self.tries += 1
        if self.broken.is_set():
            raise OSError("no space left on device")
        self.stored += messages

    def close(self) -> None:
        self.closed = True


class MakeService:
    """Make services that end with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: list[DeliveryService] = []

    def __call__(self, shelf: Any, *, boot_id: str = "b1", **mqtt: Any) -> DeliveryService:
        settings = Settings(device={"id": "kiosk-1", "state_dir": str(self.folder)}, mqtt=mqtt)
        service = DeliveryService(settings, CLOCK, boot_id, {}, merge_summaries, {"shelf": lambda: shelf})
        service.start()
        self.services.append(service)
        return service


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeService]:
    make = MakeService(tmp_path / "state")
    yield make
    for service in make.services:
        service.stop()


def submit(service: DeliveryService, *labels: str) -> None:
    for label in labels:
        service.submit_event(Event("burst", label, 0.5, CLOCK.monotonic(), 0.1), CLOCK.wall(), "synced")


def labels(messages: Sequence[Message]) -> list[str]:
    return [validated(message.payload)["label"] for message in messages]


def test_a_sink_gets_everything_without_a_broker(make: MakeService, eventually: Eventually) -> None:
    shelf = Shelf()
    service = make(shelf, enabled=False)
    submit(service, "a", "b")
    eventually(lambda: len(shelf.stored) == 2)
    submit(service, "c")
    eventually(lambda: len(shelf.stored) == 3)
    assert labels(shelf.stored) == ["a", "b", "c"]
    first = shelf.stored[0]
    assert (first.seq, first.kind, first.topic, first.replayed) == (1, "event", "event/burst", False)
    stats = eventually(lambda: (s := service.stats()).outbox.pending == 0 and s)
    assert (stats.outbox.counters.acked, stats.sinks["shelf"].written, stats.connected) == (3, 3, False)
    service.stop()
    assert shelf.closed


def test_broker_and_sink_each_get_everything(make: MakeService, broker: Mosquitto, eventually: Eventually) -> None:
    shelf = Shelf()
    shelf.broken.set()
    with Subscriber(broker.port, "edge-agent/kiosk-1/event/#") as heard:
        service = make(shelf, host="127.0.0.1", port=broker.port)
        submit(service, "a", "b")
        heard.wait(lambda all_: len(all_) == 2)
        stats = eventually(lambda: (s := service.stats()).sinks["shelf"].trouble and s)
        assert "no space left" in stats.sinks["shelf"].trouble
        assert stats.outbox.pending == 2
        shelf.broken.clear()
        eventually(lambda: service.stats().outbox.pending == 0)
    assert labels(shelf.stored) == ["a", "b"]
    assert service.stats().sinks["shelf"].trouble is None
    assert shelf.tries < 10


def test_a_restarted_sink_first_gets_what_it_missed(make: MakeService, eventually: Eventually) -> None:
    broken = Shelf()
    broken.broken.set()
    service = make(broken, enabled=False)
    submit(service, "a", "b")
    eventually(lambda: service.stats().outbox.pending == 2)
    service.stop()
    shelf = Shelf()
    again = make(shelf, enabled=False, boot_id="b2")
    submit(again, "c")
    eventually(lambda: len(shelf.stored) == 3)
    assert [(m.boot_id, m.seq, m.replayed) for m in shelf.stored] == [
        ("b1", 1, True),
        ("b1", 2, True),
        ("b2", 1, False),
    ]


def test_removing_a_sink_drops_its_pending_rows(make: MakeService, tmp_path: Path) -> None:
    broken = Shelf()
    broken.broken.set()
    service = make(broken, enabled=False)
    submit(service, "a")
    service.stop()
    outbox = make_outbox(tmp_path / "state" / "outbox", consumers=(MQTT,), boot_id="b2")
    assert outbox.stats().pending == 0
    assert outbox.stats().counters.dropped == 1
    assert_balanced(outbox)
    outbox.close()


def test_a_file_holds_what_was_submitted(make: MakeService, eventually: Eventually, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    service = make(JsonlSink(path, 1_000_000, 1), enabled=False)
    submit(service, *(f"n{k}" for k in range(300)))
    eventually(lambda: path.exists() and path.read_text().count("\n") == 300)
    found = [validated(line.encode()) for line in path.read_text().splitlines()]
    assert [document["seq"] for document in found] == list(range(1, 301))


def test_a_sink_that_cannot_be_made_yet_is_made_later(tmp_path: Path, eventually: Eventually) -> None:
    shelf, attempts = Shelf(), []

    def make_late() -> Shelf:
        attempts.append(1)
        if len(attempts) < 2:
            raise OSError("the share is not mounted")
        return shelf

    settings = Settings(device={"id": "kiosk-1", "state_dir": str(tmp_path / "state")}, mqtt={"enabled": False})
    service = DeliveryService(settings, CLOCK, "b1", {}, merge_summaries, {"shelf": make_late})
    service.start()
    submit(service, "a")
    eventually(lambda: len(shelf.stored) == 1)
    service.stop()


def test_a_sender_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, consumers=(consumer("x"),))
    SinkSender("x", Shelf, outbox, CLOCK, "b1").stop(0.1)
    outbox.close()
