"""Asking the kernel whether its clock is right."""

from __future__ import annotations

import ctypes
import struct
import sys

import pytest

from edge_agent.domain.clock import SystemClock
from edge_agent.runtime.machine import clock_is_synced

SYS_ADJTIMEX = {"x86_64": 159, "aarch64": 171}


def test_it_agrees_with_the_bare_system_call() -> None:
    """The kernel's own structure on 64-bit machines: ``status`` is the int after modes and four longs."""
    import platform

    number = SYS_ADJTIMEX.get(platform.machine())
    if number is None or sys.maxsize < 2**32:
        pytest.skip("the layout below is that of 64-bit x86 and Arm")
    buffer = ctypes.create_string_buffer(208)
    state = ctypes.CDLL(None, use_errno=True).syscall(number, buffer)
    (status,) = struct.unpack_from("i", buffer.raw, 40)
    assert clock_is_synced() == (state not in (-1, 5) and not status & 0x40)


def test_synchronisation_is_polled_once_a_minute() -> None:
    asked: list[int] = []

    def probe() -> bool:
        asked.append(1)
        return True

    clock = SystemClock(probe)
    assert [clock.synced() for _ in range(5)] == [True] * 5
    assert len(asked) == 1


def test_the_systems_clocks_run() -> None:
    clock = SystemClock(clock_is_synced)
    before = clock.monotonic()
    assert clock.wall() > 1_600_000_000
    assert clock.monotonic() >= before
