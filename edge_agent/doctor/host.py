"""Checks of the machine that need no configuration: its clock, its heat and power, and its swap space."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from edge_agent.analysis.probes import Throttling, hottest, read_throttling
from edge_agent.doctor.result import CheckResult, fail, ok, warn
from edge_agent.runtime.timesync import clock_is_synced

OLDEST_PLAUSIBLE = 1_735_689_600.0
"""2025-01-01: an earlier clock is a machine without a battery that has not heard from a time server."""

WARM_C, HOT_C = 70.0, 80.0
"""A Raspberry Pi slows down at 80 degrees Celsius; above 70 a summer's day is enough to get there."""

_POWER = "use the board's own power supply and a short cable"
_COOLING = "add a heat sink or a fan, or lower pacing.max_fps"


def check_clock() -> CheckResult:
    """Time synchronisation of this machine."""
    return judge_clock(time.time(), synced=clock_is_synced(), has_rtc=Path("/dev/rtc0").exists())


def judge_clock(now: float, *, synced: bool, has_rtc: bool) -> CheckResult:
    """``now`` is Unix time; ``has_rtc``: a battery-backed clock survives a power cut."""
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    remedy = "sudo timedatectl set-ntp true && timedatectl timesync-status"
    if now < OLDEST_PLAUSIBLE:
        return fail("time", f"the clock says {shown}: certificates cannot be checked with it", remedy)
    if not synced:
        after = "" if has_rtc else "; without a clock battery it is wrong after every power cut"
        return warn("time", f"{shown}, not synchronised: summaries are marked so until it is{after}", remedy)
    return ok("time", f"{shown}, synchronised")


def check_heat() -> CheckResult:
    """Temperature and throttling of this machine."""
    return judge_heat(hottest(), read_throttling(vcgencmd=shutil.which("vcgencmd")))


def judge_heat(celsius: float | None, throttling: Throttling | None) -> CheckResult:
    """``celsius``: the hottest sensor, None without one; ``throttling``: None where the firmware does not tell."""
    if celsius is None and throttling is None:
        return ok("heat", "no temperature sensor to ask")
    detail = "" if celsius is None else f"{celsius:.0f} °C"
    flags = throttling or Throttling(0)
    if flags.under_voltage:
        return fail("heat", _join(detail, "the supply voltage is too low now: the processor is slowed"), _POWER)
    if flags.slowed or (celsius is not None and celsius >= HOT_C):
        return fail("heat", _join(detail, "too hot: the processor is slowed"), _COOLING)
    if flags.was_under_voltage:
        return warn("heat", _join(detail, "the supply voltage was too low since the start"), _POWER)
    if flags.was_slowed or (celsius is not None and celsius >= WARM_C):
        past = "was slowed by heat since the start" if flags.was_slowed else "warm: close to being slowed"
        return warn("heat", _join(detail, past), _COOLING)
    return ok("heat", _join(detail, "not throttled" if throttling else ""))


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def check_swap(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> CheckResult:
    """Whether what is in memory can end up in a swap file."""
    return judge_swap(_swaps(_read(proc / "swaps")), limited=_controls_memory(cgroup))


def judge_swap(swaps: Sequence[str], *, limited: bool) -> CheckResult:
    """``swaps``: swap areas on a disk; ``limited``: the unit's ``MemorySwapMax=0`` takes effect on this kernel."""
    if not swaps:
        return ok("swap", "memory is never written to a disk")
    areas = ", ".join(swaps)
    if limited:
        return ok("swap", f"{areas} in use by others; the service's unit keeps the agent out of it")
    remedy = (
        f"sudo swapoff {swaps[0]} and disable it (Raspberry Pi OS: sudo systemctl disable --now dphys-swapfile), "
        "or add cgroup_enable=memory to /boot/firmware/cmdline.txt"
    )
    return warn("swap", f"{areas}: pictures in memory may be written to the disk when memory is short", remedy)


def _swaps(table: str) -> list[str]:
    """The areas of /proc/swaps that are not compressed memory."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return [row[0] for row in rows if row and not row[0].startswith("/dev/zram")]


def _controls_memory(cgroup: Path) -> bool:
    return "memory" in _read(cgroup / "cgroup.controllers").split()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
