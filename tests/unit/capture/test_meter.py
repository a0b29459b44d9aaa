"""Bitrate and buffering of a network stream, from what arrives and how long it was waited for."""

from __future__ import annotations

import pytest

from edge_agent.capture.timing import Meter
from edge_agent.domain.media import StreamTransfer


def fed(*parts: tuple[float | None, float, float]) -> StreamTransfer:
    """The transfer after parts of 1000 bytes: stamp, seconds since the last one, and seconds of waiting in those."""
    meter, now = Meter(lambda: 0.0), 0.0
    for stamp, distance, waited in parts:
        now += distance
        meter.note(1000, stamp, now, waited)
    return meter.transfer


def even(count: int, distance: float, *, stamps: float | None = None) -> list[tuple[float | None, float, float]]:
    return [(None if stamps is None else k * stamps, distance, distance) for k in range(count)]


def test_an_even_stream_does_not_stall() -> None:
    assert fed(*even(100, 0.04, stamps=0.04)) == StreamTransfer(100_000, 0, 0.0)
    assert fed(*even(30, 1.0, stamps=0.04)).stalls == 0, "MJPEG at one picture a second, with stamps of 25"
    assert fed(*even(30, 1.0)).stalls == 0


def test_a_wait_beyond_the_usual_is_a_stall() -> None:
    told = fed(*even(20, 0.05), (None, 1.55, 1.55), *even(20, 0.05))
    assert (told.received, told.stalls) == (41_000, 1)
    assert told.stalled == pytest.approx(1.5)
    assert fed(*even(20, 0.05), (None, 0.25, 0.25)).stalls == 0, "jitter"


def test_a_pause_that_the_stamps_tell_is_none() -> None:
    before = even(20, 0.05, stamps=0.05)
    assert fed(*before, (0.95 + 2.0, 2.0, 2.0)).stalls == 0
    assert fed(*before, (0.95 + 2000.0, 2.0, 2.0)).stalls == 1, "a jump of the stamps explains nothing"
    assert fed(*before, (0.1, 2.0, 2.0)).stalls == 1


def test_a_slow_reader_is_no_slow_network() -> None:
    assert fed(*even(20, 0.05), *[(None, 2.0, 0.0)] * 10).stalls == 0


def test_another_rate_is_learnt() -> None:
    told = fed(*even(50, 0.04), *even(60, 1.0))
    assert 0 < told.stalls < 45
    assert fed(*even(50, 0.04), *even(60, 1.0), *even(60, 1.0)).stalls == told.stalls


def test_the_opening_is_no_stall() -> None:
    assert fed((None, 5.0, 5.0), *even(20, 0.04)).stalls == 0
