"""Waiting that can be interrupted, and evenly thinned streams."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from edge_agent.capture.timing import Pacer, Thinner
from edge_agent.domain.clock import ManualClock, SystemClock


def chosen(camera_fps: float, wanted_fps: float, seconds: float = 10.0, jitter: float = 0.0) -> list[float]:
    thinner = Thinner(wanted_fps)
    times = [n / camera_fps + jitter * (-1) ** n / camera_fps for n in range(round(seconds * camera_fps))]
    return [t for t in times if thinner.wants(t)]


@pytest.mark.parametrize("jitter", [0.0, 0.1])
@pytest.mark.parametrize(
    ("camera", "wanted"), [(30, 15), (30, 10), (60, 15), (25, 15), (15, 15), (15.2, 15), (14, 15), (5, 15), (120, 15)]
)
def test_rate_is_kept_evenly(camera: float, wanted: float, jitter: float) -> None:
    times = chosen(camera, wanted, jitter=jitter)
    assert len(times) == pytest.approx(10.0 * min(camera, wanted), rel=0.03, abs=1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    longest = max(1 / wanted, 1 / camera) + 1.3 / camera
    assert max(gaps) <= longest
    if camera >= 2 * wanted:
        assert min(gaps) > 0.7 / wanted


def test_no_burst_after_a_pause() -> None:
    thinner = Thinner(10.0)
    times = [n / 100 for n in range(100)] + [5 + n / 100 for n in range(100)]
    after = [t for t in times if thinner.wants(t) and t >= 5]
    assert len(after) <= 11


def test_wait_ends_at_the_moment_of_the_clock() -> None:
    clock = ManualClock()
    pacer = Pacer(clock)
    done = threading.Event()
    threading.Thread(target=lambda: (pacer.wait_until(3.0), done.set()), daemon=True).start()
    assert not done.wait(0.1)
    clock.advance(3.0)
    assert done.wait(5)


def test_stop_interrupts_waiting_now_and_later() -> None:
    pacer = Pacer(SystemClock(lambda: True))
    threading.Timer(0.05, pacer.stop).start()
    start = time.monotonic()
    assert not pacer.wait(60.0)
    assert time.monotonic() - start < 5
    assert not pacer.wait(60.0)
    assert not pacer.wait_until(float("-inf"))
