"""Shutting a source while it is read: really closed, nothing handed on afterwards, and open again when asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edge_agent.capture.reopening import Reopening, Watched, WatchLimits
from edge_agent.control.sources import SourceController
from edge_agent.domain.clock import SystemClock
from edge_agent.runtime.lifecycle import Stop
from edge_agent.runtime.supervisor import Closed, Mailbox, Supervisor

CLOCK = SystemClock(lambda: True)


class AsIs:
    def join(self, item: int, *, fresh: bool) -> int:
        return item


class Numbers:
    """Counts up every 5 ms, at most to ``end``; hangs for good in its next call while ``stuck`` is set."""

    def __init__(self, end: int | None = None) -> None:
        self.end = end
        self.open_now = False
        self.opened = 0
        self.fault: Exception | None = None
        self.stuck = threading.Event()
        self.let_go = threading.Event()
        self._next = 0

    def open(self) -> None:
        self.open_now = True
        self.opened += 1

    def read(self) -> int | None:
        if self.fault is not None:
            raise self.fault
        if self.stuck.is_set():
            self.let_go.wait(30)
        time.sleep(0.005)
        self._next += 1
        return self._next if self.open_now and (self.end is None or self._next <= self.end) else None

    def close(self) -> None:
        self.open_now = False


class Running:
    """A tap under a real supervisor."""

    def __init__(self, numbers: Numbers, *, watched: bool = False) -> None:
        source: Any = numbers
        if watched:
            source = Watched(lambda: numbers, "camera", WatchLimits(close_s=0.1), latest=True)
        self.box: Mailbox[int] = Mailbox(1)
        self.openings = 0
        self.tap: SourceController[int] = SourceController(
            "camera", Reopening(source, AsIs(), CLOCK, "camera"), self.box, self._opening
        )
        self.supervisor = Supervisor(CLOCK, Stop())
        self.supervisor.start([self.tap.component()])

    def _opening(self) -> None:
        self.openings += 1

    def flows(self) -> bool:
        return self.box.get(5.0) is not None


@pytest.fixture
def numbers() -> Iterator[Numbers]:
    numbers = Numbers()
    yield numbers
    numbers.let_go.set()


def test_shut_means_closed_and_silent_and_open_means_flowing(numbers: Numbers) -> None:
    running = Running(numbers)
    assert running.flows()
    assert not running.tap.released
    running.tap.turn(False)
    assert running.tap.wait_released(5)
    assert not numbers.open_now
    running.box.get(0)
    assert running.box.get(0.2) is None
    assert running.supervisor.health()[0].alive
    running.tap.turn(True)
    assert not running.tap.released
    assert running.flows()
    assert running.openings == 2
    running.supervisor.stop()
    assert not numbers.open_now


def test_many_quick_switches_end_in_the_last_state(numbers: Numbers) -> None:
    running = Running(numbers)
    for turn in range(41):
        running.tap.turn(turn % 2 == 1)
        time.sleep(0.003)
    assert running.tap.wait_released(5)
    running.tap.turn(True)
    running.box.get(0)
    assert running.flows()
    running.supervisor.stop()


def test_a_cycle_opens_anew_and_a_shut_tap_stays_shut(numbers: Numbers) -> None:
    running = Running(numbers)
    assert running.flows()
    running.tap.cycle()
    while numbers.opened < 2:
        assert running.flows()
    running.tap.turn(False)
    assert running.tap.wait_released(5)
    running.tap.cycle()
    time.sleep(0.1)
    assert (numbers.opened, running.tap.released) == (2, True)
    running.supervisor.stop()


def test_a_driver_that_hangs_is_not_called_released(numbers: Numbers) -> None:
    running = Running(numbers, watched=True)
    assert running.flows()
    numbers.stuck.set()
    time.sleep(0.05)
    running.tap.turn(False)
    assert not running.tap.wait_released(1.0)
    numbers.let_go.set()
    deadline = time.monotonic() + 5
    while not running.tap.released:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.supervisor.stop()


def test_why_nothing_comes_is_that_it_starts_or_is_missing_or_over(numbers: Numbers) -> None:
    """M5: a device that is only being opened was said not to be available."""
    source = Reopening(numbers, AsIs(), CLOCK, "camera")
    tap: SourceController[int] = SourceController("camera", source, Mailbox(1))
    assert tap.why_not == "starting"
    source.open()
    assert tap.why_not == ""
    numbers.fault = ValueError("broken")
    with pytest.raises(ValueError, match="broken"):
        source.read()
    source.close()
    assert tap.why_not == "missing"
    tap.turn(False)
    tap.turn(True)
    assert tap.why_not == "starting"
    numbers.fault = None
    ended = Running(Numbers(end=1))
    assert ended.flows()
    deadline = time.monotonic() + 5
    while ended.tap.why_not != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ended.supervisor.stop()


def test_the_end_of_a_recording_closes_the_hand_off() -> None:
    running = Running(Numbers(end=3))
    with pytest.raises(Closed):
        all(running.box.get(5) for _ in range(100))
    deadline = time.monotonic() + 5
    while not running.supervisor.finished(["camera"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.supervisor.stop()


def test_a_stop_while_shut_ends_at_once(numbers: Numbers) -> None:
    running = Running(numbers)
    running.tap.turn(False)
    assert running.tap.wait_released(5)
    assert running.supervisor.stop() == []
