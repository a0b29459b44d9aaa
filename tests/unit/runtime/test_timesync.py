"""Asking the kernel whether its clock is right."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path

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


FILTERED = """
import ctypes, platform, struct, sys
from pathlib import Path

# As the unit's ProtectClock= does: adjtimex(2) and clock_adjtime(2) answer EPERM.
numbers = {"x86_64": (159, 305), "aarch64": (171, 266)}[platform.machine()]
rules = [(0x20, 0, 0, 0), *((0x15, len(numbers) - at, 0, number) for at, number in enumerate(numbers)),
         (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)]
program = b"".join(struct.pack("HBBI", *rule) for rule in rules)
code = ctypes.create_string_buffer(program)
header = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_char_p(header), 0, 0) == 0, ctypes.get_errno()

from edge_agent.runtime import machine

assert libc.adjtimex(ctypes.byref(machine._Timex())) == -1, "the filter does not work"
print(machine.clock_is_synced(), machine.systemd_says_synced(Path(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("answer", "noted", "expected"),
    [
        ("echo 'b true'", False, "True True"),
        ("echo 'b false'", True, "False False"),  # timedated knows better than the note of another time client
        ("echo 'Failed to connect to bus' >&2; exit 1", True, "True"),
        ("echo 'Failed to connect to bus' >&2; exit 1", False, "False"),
        (None, True, "True"),
        (None, False, "False"),
    ],
)
def test_where_the_kernel_may_not_be_asked_systemd_is(
    answer: str | None, noted: bool, expected: str, tmp_path: Path
) -> None:
    tools, flag = tmp_path / "bin", tmp_path / "synchronized"
    tools.mkdir()
    if answer is not None:
        (tools / "busctl").write_text(f"#!/bin/sh\n{answer}\n")
        (tools / "busctl").chmod(0o755)
    if noted:
        flag.touch()
    command = [sys.executable, "-c", FILTERED, str(flag)]
    environment = {**os.environ, "PATH": str(tools)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(expected)
