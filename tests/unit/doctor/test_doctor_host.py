"""Clock, heat and swap: what is read from a sysfs-like tree, and how it is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.doctor.host import check_swap, judge_clock, judge_heat
from edge_agent.doctor.result import CheckStatus
from edge_agent.runtime.machine import Throttling, read_throttling, throttled

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("now", "synced", "status"),
    [
        (NOW, True, CheckStatus.OK),
        (NOW, False, CheckStatus.WARN),
        (0.0, False, CheckStatus.FAIL),
        (0.0, True, CheckStatus.FAIL),
    ],
)
def test_clock(now: float, synced: bool, status: CheckStatus) -> None:
    result = judge_clock(now, synced=synced, has_rtc=False)
    assert result.status is status
    assert bool(result.remedy) is (status is not CheckStatus.OK)


def test_an_unsynchronised_clock_without_battery_is_said_to_be_lost_at_a_power_cut() -> None:
    assert "power cut" in judge_clock(NOW, synced=False, has_rtc=False).detail
    assert "power cut" not in judge_clock(NOW, synced=False, has_rtc=True).detail


@pytest.mark.parametrize(
    ("celsius", "flags", "status", "says"),
    [
        (45.0, 0x0, CheckStatus.OK, "not throttled"),
        (45.0, None, CheckStatus.OK, "45 °C"),
        (None, None, CheckStatus.OK, "no temperature sensor"),
        (72.0, None, CheckStatus.WARN, "warm"),
        (81.0, None, CheckStatus.FAIL, "too hot"),
        (50.0, 0x50000, CheckStatus.WARN, "voltage was too low"),
        (50.0, 0x50005, CheckStatus.FAIL, "voltage is too low now"),
        (60.0, 0x80008, CheckStatus.FAIL, "too hot"),
        (60.0, 0x20000, CheckStatus.WARN, "was slowed by heat"),
    ],
)
def test_heat(celsius: float | None, flags: int | None, status: CheckStatus, says: str) -> None:
    result = judge_heat(celsius, None if flags is None else Throttling(flags))
    assert result.status is status
    assert says in result.detail


@pytest.mark.parametrize(("text", "flags"), [("50005\n", 0x50005), ("0x0\n", 0), ("0\n", 0)])
@pytest.mark.parametrize("soc", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_throttle_flags_are_hexadecimal(tmp_path: Path, soc: str, text: str, flags: int) -> None:
    file = tmp_path / "devices/platform" / soc / "get_throttled"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert read_throttling(tmp_path) == Throttling(flags)
    assert throttled(tmp_path) is bool(flags & 0xF)  # the governor reads the same


def test_no_firmware_or_nonsense_gives_no_flags(tmp_path: Path) -> None:
    assert read_throttling(tmp_path) is None
    file = tmp_path / "devices/platform/soc/soc:firmware/get_throttled"
    file.parent.mkdir(parents=True)
    file.write_text("error\n")
    assert read_throttling(tmp_path) is None


@pytest.mark.parametrize(
    ("swap", "controllers", "status"),
    [
        ("", "cpu io pids", CheckStatus.OK),
        ("/dev/zram0 partition 100 0 100\n", "cpu io pids", CheckStatus.OK),
        ("/var/swap file 102396 0 -2\n", "cpu io memory pids", CheckStatus.OK),
        ("/var/swap file 102396 0 -2\n", "cpu io pids", CheckStatus.WARN),
    ],
)
def test_swap_matters_when_it_is_on_a_disk_and_the_unit_cannot_forbid_it(
    tmp_path: Path, swap: str, controllers: str, status: CheckStatus
) -> None:
    (tmp_path / "swaps").write_text("Filename Type Size Used Priority\n" + swap)
    (tmp_path / "cgroup.controllers").write_text(controllers + "\n")
    result = check_swap(tmp_path, tmp_path)
    assert result.status is status
    if status is CheckStatus.WARN:
        assert "swapoff /var/swap" in result.remedy


def test_without_proc_and_cgroups_nothing_is_claimed_to_be_wrong(tmp_path: Path) -> None:
    assert check_swap(tmp_path, tmp_path).status is CheckStatus.OK
