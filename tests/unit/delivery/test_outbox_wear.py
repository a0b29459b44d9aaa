"""What the outbox writes: nothing that the broker acknowledges at once, else one transaction a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.delivery import DeliveryService
from edge_agent.delivery.outbox import outbox as outbox_module
from edge_agent.domain.clock import ManualClock, SystemClock
from edge_agent.domain.database import StoreFailedError
from edge_agent.domain.event import Event
from edge_agent.payloads.device import DeliveryFigures
from edge_agent.settings import Settings
from edge_agent.summary.summariser import merge_summaries
from tests.support.mosquitto import free_port
from tests.support.outboxes import MQTT, assert_balanced, make_outbox, query
from tests.support.windows import a_summary, event_draft, summary_draft

Eventually = Callable[..., Any]
CLOCK = SystemClock(lambda: True)


def rows_on_disk(folder: Path) -> int:
    return int(query(folder, "SELECT count(*) FROM items")[0][0])


def pages_written(folder: Path) -> int:
    """Sum of the sizes and times of change: differs after any write."""
    return sum(os.stat(path).st_mtime_ns for path in folder.iterdir() if path.name != "lock")


def test_what_is_acknowledged_in_time_is_never_written(tmp_path: Path) -> None:
    clock = ManualClock()
    outbox = make_outbox(tmp_path, clock=clock)
    before = pages_written(tmp_path)
    for number in range(20):
        outbox.put_briefly([summary_draft(10 * number), event_draft(10 * number)])
        outbox.ack(MQTT, [row.id for row in outbox.lease(MQTT, 10)])
        clock.advance(10)
        outbox.write_held()
    assert pages_written(tmp_path) == before
    stats = outbox.stats()
    assert (stats.counters.produced, stats.counters.acked, stats.pending) == (40, 40, 0)
    clock.advance(outbox_module.COUNT_S)
    outbox.write_held()
    assert query(tmp_path, "SELECT produced, acked FROM counters") == [(40, 40)]
    outbox.put_briefly([summary_draft(999)])
    outbox.close()
    again = make_outbox(tmp_path)
    assert [(row.boot_id, row.seq) for row in again.lease(MQTT, 9)] == [("b1", 41)]
    assert_balanced(again, tmp_path)


def test_what_is_not_acknowledged_in_time_is_written_and_its_lease_stays_valid(tmp_path: Path) -> None:
    clock = ManualClock()
    outbox = make_outbox(tmp_path, clock=clock)
    outbox.put_briefly([summary_draft(0), event_draft(1)])
    first, second = outbox.lease(MQTT, 10)
    outbox.write_held()
    assert rows_on_disk(tmp_path) == 0
    clock.advance(0.6)
    outbox.write_held()
    assert rows_on_disk(tmp_path) == 2
    assert outbox.lease(MQTT, 10) == []
    outbox.put_briefly([event_draft(2)])
    assert rows_on_disk(tmp_path) == 3, "behind rows on the disk nothing is held"
    outbox.ack(MQTT, [first.id])
    outbox.nack(MQTT, [second.id])
    assert [row.seq for row in outbox.lease(MQTT, 10)] == [2, 3]
    assert_balanced(outbox, tmp_path)


def test_a_lost_connection_writes_what_is_held_at_once(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.put_briefly([summary_draft(0)])
    outbox.lease(MQTT, 10)
    outbox.release(MQTT)
    assert rows_on_disk(tmp_path) == 1
    assert [row.seq for row in outbox.lease(MQTT, 10)] == [1]


def test_without_holding_each_message_is_written_before_it_is_sent(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, hold_s=0)
    outbox.put_briefly([summary_draft(0)])
    assert rows_on_disk(tmp_path) == 1


def test_a_crash_while_rows_are_held_leaves_a_balanced_outbox_that_counts_nothing_as_lost(tmp_path: Path) -> None:
    clock = ManualClock()
    outbox = make_outbox(tmp_path / "a", clock=clock)
    outbox.put([summary_draft(0)])
    outbox.ack(MQTT, [row.id for row in outbox.lease(MQTT, 10)])
    outbox.put_briefly([summary_draft(10), summary_draft(20)])
    outbox.ack(MQTT, [row.id for row in outbox.lease(MQTT, 10)])
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # as SIGKILL leaves it
    again = make_outbox(tmp_path / "b", boot_id="b2")
    stats = again.stats()
    assert (stats.counters.produced, stats.counters.acked, stats.counters.dropped, stats.gaps) == (1, 1, 0, ())
    assert_balanced(again, tmp_path / "b")


def test_a_dead_letter_is_written_at_once(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.put_briefly([summary_draft(0)])
    outbox.dead_letter(MQTT, [row.id for row in outbox.lease(MQTT, 10)], "too large")
    outbox.write_held()
    assert query(tmp_path, "SELECT reason FROM dead") == [("too large",)]
    assert_balanced(outbox, tmp_path)


def test_a_disk_that_fails_as_held_rows_are_written_leaves_them_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    outbox = make_outbox(tmp_path, clock=clock)
    outbox.put_briefly([summary_draft(0), event_draft(1)])
    adopt, calls = outbox_module.recovery.adopt, []

    def fail_once(*stores: Any) -> None:
        calls.append(stores)
        if len(calls) == 1:
            raise StoreFailedError("disk I/O error")
        adopt(*stores)

    monkeypatch.setattr(outbox_module.recovery, "adopt", fail_once)
    clock.advance(1)
    outbox.write_held()
    stats = outbox.stats()
    assert "disk I/O error" in str(stats.degraded)
    assert (stats.pending, stats.counters.produced) == (2, 2)
    assert [row.seq for row in outbox.lease(MQTT, 10)] == [1, 2]
    clock.advance(60)
    outbox.maintain()
    assert outbox.stats().degraded is None
    assert rows_on_disk(tmp_path) == 2
    assert_balanced(outbox, tmp_path)


@pytest.fixture
def service(tmp_path: Path, port: int) -> Iterator[DeliveryService]:
    settings = Settings(device={"id": "kiosk-1", "state_dir": str(tmp_path)}, mqtt={"host": "127.0.0.1", "port": port})
    service = DeliveryService(settings, CLOCK, "b1", {}, merge_summaries)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def port(request: pytest.FixtureRequest) -> int:
    return free_port() if request.param == "nobody" else int(request.getfixturevalue("broker").port)


def written() -> int:
    """Bytes that this process has sent to storage."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def a_busy_window(service: DeliveryService, number: int) -> None:
    """A window with five events."""
    for _ in range(5):
        service.submit_event(Event("burst", "laugh", 0.5, CLOCK.monotonic(), 0.1), CLOCK.wall(), "synced")
    service.submit_summary(a_summary(10.0 * number, wall=CLOCK.wall()))


WINDOWS = 40


@pytest.mark.parametrize(("port", "limit"), [("broker", 5_000), ("nobody", 40_000)], indirect=["port"])
def test_bytes_written_for_a_busy_window(service: DeliveryService, limit: int, eventually: Eventually) -> None:
    """At 8,640 windows a day: less than 50 MB with a connection, 350 MB without."""
    online = limit < 10_000
    if online:
        eventually(lambda: service.connected)
    before, produced = written(), 0
    for number in range(WINDOWS):
        a_busy_window(service, number)
        produced += 6
        done = lambda counters: counters.acked if online else counters.produced  # noqa: E731
        eventually(lambda: done(service.stats().outbox.counters) == produced)  # noqa: B023
    assert (written() - before) / WINDOWS <= limit


def test_an_idle_service_asks_its_file_nothing(tmp_path: Path) -> None:
    """It cost a third of an idle agent's delivery: 2,000 of them on one machine could not be simulated."""
    settings = Settings(device={"id": "kiosk-1", "state_dir": tmp_path}, mqtt={"host": "127.0.0.1", "port": 1})
    service = DeliveryService(settings, CLOCK, "b1", {}, merge_summaries)
    outbox = service._outbox
    outbox.open()
    service._maintain()
    asked: list[str] = []
    outbox._store.tables._db.set_trace_callback(asked.append)
    for _ in range(3):
        service._maintain()
    assert asked == []
    outbox.count_lost(2, "disk too slow")
    service._maintain()
    assert b'"dropped":2' in service._sender._states[service.topics.full("gaps")].payload
    asked.clear()
    service._maintain()
    assert asked == []
    outbox.close()


def test_figures_without_a_connection_are_as_their_schema_says(tmp_path: Path) -> None:
    settings = Settings(device={"id": "kiosk-1", "state_dir": tmp_path}, mqtt={"host": "127.0.0.1", "port": 1})
    figures = DeliveryService(settings, CLOCK, "b1", {}, merge_summaries).stats().document()
    DeliveryFigures.model_validate(figures)
    assert "broker" not in figures
