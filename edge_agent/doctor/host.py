"""Checks of the machine: clock, temperature and power, swap space, disk space and wear.

SD cards do not report their wear, so their life is estimated from what was written since the machine started; an eMMC
keeps a counter. Both are estimates of orders of magnitude.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.delivery.service import outbox_folder
from edge_agent.doctor.result import CheckResult, fail, ok, warn
from edge_agent.runtime.machine import Throttling, clock_is_synced, hottest, read_throttling
from edge_agent.settings import Settings

OLDEST_PLAUSIBLE = 1_735_689_600.0
"""2025-01-01: an earlier time means a machine without a clock battery and without a time server."""

WARM_C, HOT_C = 70.0, 80.0
"""A Raspberry Pi throttles at 80 °C; above 70 °C a hot day is enough to reach that."""

_POWER = "use the board's own power supply and a short cable"
_COOLING = "add a heat sink or a fan, or lower pacing.max_fps"

COMMIT_BYTES = 20_000
"""Bytes written to the disk per summary, journal and file system included (measured, see docs/hardware.md)."""

SPARE_MB = 64.0
"""Space to keep free besides the outbox: logs, updates, the ballast file."""

CYCLES = 1000
AMPLIFICATION = 3.0
"""Write cycles and write amplification of a consumer SD card; usual assumptions."""

SHORT_LIFE_YEARS = 3.0
EMMC_NEARLY_USED_UP = 0x09
EMMC_USED_UP = 0x0B
"""eMMC life time estimate, JEDEC JESD84-B51: n means (n-1)*10 to n*10 per cent used, 0x0B more than 100."""

_SECTOR = 512
_MB = 1e6


def check_clock() -> CheckResult:
    """Check the time synchronisation."""
    return judge_clock(time.time(), synced=clock_is_synced(), has_rtc=Path("/dev/rtc0").exists())


def judge_clock(now: float, *, synced: bool, has_rtc: bool) -> CheckResult:
    """Judge the clock. ``now``: Unix time; ``has_rtc``: there is a battery-backed clock."""
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    remedy = "sudo timedatectl set-ntp true && timedatectl timesync-status"
    if now < OLDEST_PLAUSIBLE:
        return fail("time", f"the clock says {shown}: certificates cannot be checked with it", remedy)
    if not synced:
        after = "" if has_rtc else "; without a clock battery it is wrong after every power cut"
        return warn("time", f"{shown}, not synchronised: summaries are marked so until it is{after}", remedy)
    return ok("time", f"{shown}, synchronised")


def check_heat() -> CheckResult:
    """Check temperature, throttling and supply voltage."""
    return judge_heat(hottest(), read_throttling(vcgencmd=shutil.which("vcgencmd")))


def judge_heat(celsius: float | None, throttling: Throttling | None) -> CheckResult:
    """Judge heat and power. ``celsius``: hottest sensor, None without one; ``throttling``: None when not reported."""
    if celsius is None and throttling is None:
        return ok("heat", "no temperature sensor")
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
    """Check that memory, and so pictures, cannot be swapped to a disk."""
    return judge_swap(_swaps(_read(proc / "swaps")), limited=_controls_memory(cgroup))


def judge_swap(swaps: Sequence[str], *, limited: bool) -> CheckResult:
    """Judge swap space. ``swaps``: areas on a disk; ``limited``: the kernel obeys the unit's ``MemorySwapMax=0``."""
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
    """List the areas in ``/proc/swaps`` that are not compressed memory."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return [row[0] for row in rows if row and not row[0].startswith("/dev/zram")]


def _controls_memory(cgroup: Path) -> bool:
    return "memory" in _read(cgroup / "cgroup.controllers").split()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Space:
    """Space in the file system of the state directory, in bytes. ``writable``: not mounted read-only."""

    path: Path
    free: int
    total: int
    writable: bool
    outbox: int
    """Bytes that the outbox uses."""


@dataclass(frozen=True, slots=True)
class Medium:
    """A disk. ``kind``: SD, MMC (eMMC) or disk; ``life``: worst eMMC estimate; ``up``: seconds since boot."""

    device: str
    kind: str
    capacity: int
    written: int
    up: float
    life: int | None = None


def check_space(settings: Settings) -> CheckResult:
    """Check the free space on the disk of the state directory."""
    folder = existing(settings.device.state_dir)
    try:
        usage = shutil.disk_usage(folder)
        writable = not os.statvfs(folder).f_flag & os.ST_RDONLY
    except OSError as error:
        return fail("disk", f"{folder} cannot be read: {error.strerror}", f"ls -ld {folder}; dmesg | tail")
    outbox = sum(_size(file) for file in outbox_folder(settings).glob("*"))
    return judge_space(Space(folder, usage.free, usage.total, writable, outbox), settings.outbox.max_mb)


def judge_space(space: Space, outbox_mb: float) -> CheckResult:
    """Judge free space. ``outbox_mb``: maximum size of the outbox (outbox.max_mb)."""
    free = space.free / _MB
    text = f"{free:,.0f} MB of {space.total / _MB:,.0f} MB free at {space.path}"
    if not space.writable:
        return fail("disk", f"{space.path} is mounted read-only", f"sudo mount -o remount,rw {space.path}")
    growth = max(0.0, outbox_mb - space.outbox / _MB)
    if free < growth:
        remedy = "free some space, or lower outbox.max_mb"
        return fail("disk", f"{text}: the outbox may still grow by {growth:,.0f} MB (outbox.max_mb)", remedy)
    if free < growth + SPARE_MB:
        return warn(
            "disk", f"{text}: little is left once the outbox is full", "free some space, or lower outbox.max_mb"
        )
    return ok("disk", text)


def check_wear(settings: Settings, sysfs: Path = Path("/sys"), proc: Path = Path("/proc")) -> CheckResult:
    """Check the wear of the disk of the state directory."""
    medium = read_medium(existing(settings.device.state_dir), sysfs, proc)
    return judge_wear(medium, 86_400 / settings.summary.window_s * COMMIT_BYTES)


def judge_wear(medium: Medium | None, own_bytes_per_day: float) -> CheckResult:
    """Judge wear. ``own_bytes_per_day``: bytes that the agent is expected to write."""
    own = f"the agent writes about {own_bytes_per_day / _MB:,.0f} MB a day"
    if medium is None:
        return ok("wear", f"{own}; its wear is unknown: this file system has no disk of its own")
    if medium.life is not None and medium.life >= EMMC_NEARLY_USED_UP:
        percent = min(100, (medium.life - 1) * 10)
        judge = fail if medium.life >= EMMC_USED_UP else warn
        return judge(
            "wear", f"{medium.device}: {percent} % or more of its life is used", "replace the eMMC module soon"
        )
    per_day = medium.written / max(medium.up, 3600.0) * 86_400
    text = f"{medium.device} ({medium.kind}) took {per_day / _MB:,.0f} MB a day since boot; {own}"
    if medium.kind != "SD" or not medium.capacity:
        return ok("wear", text)
    years = medium.capacity * CYCLES / AMPLIFICATION / max(per_day, own_bytes_per_day) / 365
    estimate = f"{text}; an ordinary card lasts about {_years(years)}"
    if years < SHORT_LIFE_YEARS:
        remedy = "find the writer (sudo iotop -ao); keep logs in memory (journald.conf: Storage=volatile)"
        return warn("wear", estimate, remedy)
    return ok("wear", estimate)


def _years(years: float) -> str:
    return "more than 30 years" if years > 30 else f"{years:.1f} years"


def existing(path: Path) -> Path:
    """Return ``path``, or its closest parent that exists."""
    while not os.path.exists(path) and path != path.parent:  # Path.exists raises PermissionError
        path = path.parent
    return path


def read_medium(folder: Path, sysfs: Path, proc: Path) -> Medium | None:
    """Read the disk of ``folder``; None for memory, overlays and network file systems."""
    number = folder.stat().st_dev
    node = sysfs / "dev/block" / f"{os.major(number)}:{os.minor(number)}"
    if not node.exists():
        return None
    disk = node.resolve()
    if (disk / "partition").exists():
        disk = disk.parent
    kind = _read(disk / "device/type") if disk.name.startswith("mmcblk") else "disk"
    written = _read(disk / "stat").split()
    return Medium(
        device=disk.name,
        kind=kind or "disk",
        capacity=_number(_read(disk / "size")) * _SECTOR,
        written=_number(written[6]) * _SECTOR if len(written) > 6 else 0,
        up=float((_read(proc / "uptime").split() or ["0"])[0]),
        life=_life(_read(disk / "device/life_time")),
    )


def _life(text: str) -> int | None:
    values = [int(word, 16) for word in text.split() if word.startswith("0x")]
    return max(values) or None if values else None


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
