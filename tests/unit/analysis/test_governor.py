"""Slowing down under load and heat, and what the machine says about both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.analysis.pacing import Allowance, Governor, Load, LoadLimits, next_allowance
from edge_agent.domain.clock import ManualClock
from edge_agent.runtime.machine import CpuShare, hottest, machine_probe, process_seconds, throttled

LIMITS = LoadLimits()
COOL = Load(cpu=0.1, celsius=50.0, throttled=False)
LOADS = st.builds(
    Load,
    st.none() | st.floats(0, 1),
    st.none() | st.floats(-20, 120),
    st.none() | st.booleans(),
)


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (Load(cpu=0.9), "CPU share 90%"),
        (Load(celsius=81.0), "81 °C"),
        (Load(throttled=True), "firmware throttles"),
        (Load(cpu=0.9, celsius=81.0), "81 °C is above 75, CPU share 90% is above 50%"),
    ],
)
def test_any_excess_halves_the_rate_with_a_reason(load: Load, told: str) -> None:
    allowance = next_allowance(Allowance(), load, LIMITS)
    assert allowance.value == 0.5
    assert told in allowance.reason


def test_recovery_takes_ten_calm_steps() -> None:
    allowance, steps = Allowance(0.0, "hot"), 0
    while allowance.value < 1:
        allowance = next_allowance(allowance, COOL, LIMITS)
        steps += 1
    assert steps in (10, 11)
    assert allowance.reason == "no limit"


def test_what_is_not_known_does_not_limit() -> None:
    assert next_allowance(Allowance(), Load(), LIMITS) == Allowance()


@given(st.lists(LOADS, max_size=60))
def test_the_allowance_stays_between_0_and_1_and_only_excess_lowers_it(loads: list[Load]) -> None:
    allowance = Allowance()
    for load in loads:
        after = next_allowance(allowance, load, LIMITS)
        assert 0 <= after.value <= 1
        assert after.reason
        excess = bool(load.throttled) or (load.celsius or 0) > LIMITS.celsius or (load.cpu or 0) > LIMITS.cpu
        assert (after.value <= allowance.value) if excess else (after.value >= allowance.value)
        allowance = after


def test_the_governor_reads_the_machine_every_few_seconds() -> None:
    asked: list[float] = []

    def probe() -> Load:
        asked.append(1.0)
        return Load(celsius=90.0)

    governor = Governor(probe, every=5.0)
    values = [governor.allowance(second / 2).value for second in range(30)]
    assert len(asked) == 3
    assert values[0] == 0.5
    assert values[-1] == 0.125


def test_the_hottest_zone_counts_and_nonsense_does_not(tmp_path: Path) -> None:
    for number, text in enumerate(("41000\n", "67500\n", "-274000\n", "broken\n")):
        zone = tmp_path / f"class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(text)
    assert hottest(tmp_path) == 67.5
    assert hottest(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", False), ("50005", True), ("50000", False), ("4", True), ("8", True), ("80000", False), ("what", None)],
)
def test_throttle_bits_of_now_count(tmp_path: Path, text: str, expected: bool | None) -> None:
    word = tmp_path / "devices/platform/soc/soc:firmware"
    word.mkdir(parents=True)
    (word / "get_throttled").write_text(text)
    assert throttled(tmp_path) is expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [("echo throttled=0x50005", True), ("echo throttled=0x0", False), ("exit 1", None), ("echo error=1", None)],
)
def test_without_sysfs_vcgencmd_is_asked(tmp_path: Path, script: str, expected: bool | None) -> None:
    program = tmp_path / "vcgencmd"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert throttled(tmp_path, str(program)) is expected


def test_no_firmware_is_no_answer(tmp_path: Path) -> None:
    assert throttled(tmp_path) is None
    assert throttled(tmp_path, str(tmp_path / "missing")) is None


def test_the_cpu_share_is_of_all_cores() -> None:
    clock, used = ManualClock(), iter([0.0, 2.0, 2.0, 99.0])
    share = CpuShare(clock, lambda: next(used), cores=4)
    clock.advance(1.0)
    assert share() == 0.5
    assert share() is None
    clock.advance(1.0)
    assert share() == 1.0


def test_a_child_missed_once_is_not_counted_twice() -> None:
    """A process that ends while the numbers are read may be in neither list."""
    clock, used = ManualClock(), iter([10.0, 3.0, 11.0])
    share = CpuShare(clock, lambda: next(used), cores=1)
    clock.advance(2.0)
    assert share() == 0.0
    clock.advance(2.0)
    assert share() == 0.5


def test_this_machine_answers() -> None:
    clock = ManualClock()
    probe = machine_probe(clock)
    clock.advance(1.0)
    load = probe()
    assert load.cpu is not None
    assert 0 <= load.cpu <= 1


def test_cpu_time_of_a_child_counts_during_and_after_its_life() -> None:
    """An analyzer with a process of its own must not escape the limit."""
    busy = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    before = process_seconds()
    child = subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    alive = process_seconds()
    child.communicate(b"\n")
    gone = process_seconds()
    assert alive - before >= 0.45
    assert gone >= alive - 0.02
