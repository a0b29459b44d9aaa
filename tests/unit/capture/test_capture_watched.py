"""A source on its own thread: hand-over, errors, closing. Hangs are in tests/faults/test_capture_camera_faults.py."""

from __future__ import annotations

import threading
import time

import pytest

from edge_agent.capture.reopening import Watched, WatchLimits
from edge_agent.domain.errors import ConfigError, DeviceUnavailableError, MediaError


class Counting:
    """Gives 0, 1, 2, … every ``period`` seconds, then what ``end`` says."""

    def __init__(self, count: int = 10**9, period: float = 0.0, end: Exception | None = None) -> None:
        self._count = count
        self._period = period
        self._end = end
        self._next = 0
        self.threads: set[int] = set()
        self.open_now = False

    def open(self) -> None:
        self.threads.add(threading.get_ident())
        self.open_now = True

    def read(self) -> int | None:
        self.threads.add(threading.get_ident())
        time.sleep(self._period)
        if self._next == self._count:
            if self._end:
                raise self._end
            return None
        self._next += 1
        return self._next - 1

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.open_now = False


def watched(source: Counting, *, latest: bool) -> Watched[int]:
    return Watched(lambda: source, "device", WatchLimits(read_s=5), latest=latest)


def test_without_latest_nothing_is_lost() -> None:
    source = watched(Counting(200), latest=False)
    source.open()
    given = []
    while (item := source.read()) is not None:
        given.append(item)
    assert given == list(range(200))
    source.close()


def test_latest_skips_what_was_not_read_in_time() -> None:
    source = watched(Counting(period=0.005), latest=True)
    source.open()
    first = source.read()
    time.sleep(0.2)
    second = source.read()
    assert first is not None
    assert second is not None
    assert second > first + 5
    source.close()


def test_one_thread_of_its_own_opens_reads_and_closes() -> None:
    inner = Counting()
    source = watched(inner, latest=True)
    source.open()
    source.read()
    source.close()
    assert not inner.open_now
    assert len(inner.threads) == 1
    assert threading.get_ident() not in inner.threads


def test_last_item_comes_before_the_end() -> None:
    source = watched(Counting(1), latest=True)
    source.open()
    assert source.read() == 0
    assert source.read() is None
    source.close()


@pytest.mark.parametrize("error", [MediaError("a"), DeviceUnavailableError("b"), ConfigError("c")])
def test_expected_errors_arrive_unchanged(error: Exception) -> None:
    source = watched(Counting(2, end=error), latest=False)
    source.open()
    assert [source.read(), source.read()] == [0, 1]
    with pytest.raises(type(error)) as raised:
        source.read()
    assert raised.value is error
    source.close()


def test_any_other_error_makes_the_device_unavailable() -> None:
    source = watched(Counting(0, end=ZeroDivisionError("driver bug")), latest=True)
    source.open()
    with pytest.raises(DeviceUnavailableError, match="device failed: ZeroDivisionError: driver bug"):
        source.read()


def test_error_of_open_is_raised_by_open() -> None:
    class Absent(Counting):
        def open(self) -> None:
            raise DeviceUnavailableError("not there")

    with pytest.raises(DeviceUnavailableError, match="not there"):
        watched(Absent(), latest=True).open()


def test_close_twice_and_read_after_close() -> None:
    source = watched(Counting(period=0.01), latest=True)
    source.open()
    source.close()
    source.close()
    assert source.read() is None


def test_source_that_waits_by_itself_is_interrupted() -> None:
    class Waiting(Counting):
        def __init__(self) -> None:
            super().__init__()
            self.stop = threading.Event()

        def read(self) -> int | None:
            self.stop.wait(30)
            return None

        def interrupt(self) -> None:
            self.stop.set()

    inner = Waiting()
    source = watched(inner, latest=False)
    source.open()
    start = time.monotonic()
    source.close()
    assert not source.hanging
    assert not inner.open_now
    assert time.monotonic() - start < 0.9


def test_source_is_closed_even_when_opening_failed_half_way() -> None:
    class HalfOpen(Counting):
        def open(self) -> None:
            super().open()
            raise DeviceUnavailableError("second half failed")

    inner = HalfOpen()
    with pytest.raises(DeviceUnavailableError, match="second half"):
        watched(inner, latest=True).open()
    assert not inner.open_now
