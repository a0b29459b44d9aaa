"""The ring between the audio callback and the reader, and the clock of its samples."""

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.sound import SampleClock, SampleRing


def ramp(start: int, count: int) -> npt.NDArray[np.float32]:
    return np.arange(start, start + count, dtype=np.float32).reshape(-1, 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 13), st.booleans()), max_size=60))
def test_everything_written_is_read_once_in_order_or_counted_lost(steps: list[tuple[bool, int, bool]]) -> None:
    ring = SampleRing(20, 1)
    sent, position, flags = 0, 0, 0
    for writes, count, overflow in steps:
        if writes:
            ring.write(ramp(sent, count), 0.0, overflow)
            sent += count
        elif (chunk := ring.take(count)) is not None:
            flags += chunk.flagged
            position += chunk.lost
            assert len(chunk.samples) <= count
            assert chunk.samples[:, 0].tolist() == list(range(position, position + len(chunk.samples)))
            position += len(chunk.samples)
    # The last loss may lie before a write that has not come yet.
    while (chunk := ring.take(7)) is not None:
        position += chunk.lost
        assert chunk.samples[:, 0].tolist() == list(range(position, position + len(chunk.samples)))
        position += len(chunk.samples)
    ring.write(ramp(sent, 1), 0.0, False)
    last = ring.take(1)
    assert last is not None
    assert position + last.lost == sent
    assert last.samples[0, 0] == sent


def test_a_chunk_never_spans_a_loss() -> None:
    ring = SampleRing(10, 1)
    ring.write(ramp(0, 8), 0.0, False)
    ring.write(ramp(8, 8), 0.0, False)  # does not fit
    first = ring.take(4)
    ring.write(ramp(16, 4), 0.0, False)
    chunks = [first, ring.take(100), ring.take(100), ring.take(100)]
    assert [(c.samples[:, 0].tolist(), c.lost) for c in chunks if c] == [
        ([0, 1, 2, 3], 0),
        ([4, 5, 6, 7], 0),
        ([16, 17, 18, 19], 8),
    ]
    assert ring.lost == 8


def test_overflow_flag_is_before_the_samples_that_follow_it() -> None:
    ring = SampleRing(10, 1)
    ring.write(ramp(0, 3), 0.0, False)
    ring.write(ramp(3, 3), 0.0, True)
    first, second = ring.take(10), ring.take(10)
    assert first is not None
    assert second is not None
    assert (len(first.samples), first.flagged) == (3, False)
    assert (len(second.samples), second.flagged) == (3, True)
    assert ring.overflows == 1


def test_arrival_counts_lost_frames_too() -> None:
    ring = SampleRing(4, 1)
    ring.write(ramp(0, 4), 1.0, False)
    ring.write(ramp(4, 4), 2.0, False)
    ring.take(4)
    ring.write(ramp(8, 4), 3.0, False)
    assert ring.arrival == (12, 3.0)


def test_two_threads_keep_the_order() -> None:
    ring = SampleRing(64, 2)
    total = 5_000

    def produce() -> None:
        sent = 0
        while sent < total:
            if 64 - ring.ready >= 5:
                ring.write(np.repeat(ramp(sent, 5), 2, axis=1), 0.0, False)
                sent += 5
            else:
                time.sleep(1e-4)

    thread = threading.Thread(target=produce)
    thread.start()
    position = 0
    while position < total:
        chunk = ring.take(17)
        if chunk is not None:
            assert chunk.samples[:, 1].tolist() == list(range(position, position + len(chunk.samples)))
            position += len(chunk.samples)
        else:
            time.sleep(1e-4)
    thread.join()
    assert ring.lost == 0


def test_clock_follows_a_device_whose_quartz_is_off() -> None:
    clock = SampleClock(48_000)
    for step in range(1, 36_000):  # one hour in bursts of 0.1 s; 200 ppm slow, with jitter
        now = step * 0.1 * 1.0002 + 0.03 * (step % 7) / 7
        assert clock.observe(step * 4800, now) == 0.0
        if step % 500 == 0:
            assert clock.time(step * 4800) == pytest.approx(step * 0.1 * 1.0002, abs=0.05)


def test_clock_finds_unreported_loss_once() -> None:
    clock = SampleClock(16_000)
    missing = [clock.observe(step * 1600, step * 0.1 + (2.0 if step > 100 else 0.0)) for step in range(400)]
    assert sum(missing) == pytest.approx(2.0, abs=0.05)
    assert sum(1 for m in missing if m) == 1


def test_clock_is_not_fooled_by_one_late_burst() -> None:
    clock = SampleClock(16_000)
    for step in range(300):
        late = 1.5 if step == 150 else 0.0
        assert clock.observe(step * 1600, step * 0.1 + late) == 0.0
    assert clock.time(300 * 1600) == pytest.approx(30.0, abs=0.05)


def test_latency_moves_the_moment_of_hearing_back() -> None:
    clock = SampleClock(16_000, latency=0.08)
    clock.observe(1600, 5.0)
    assert clock.time(0) == pytest.approx(4.82)
