"""Checks of the disk that holds the state: room for the outbox, and how fast the card wears out.

An SD card does not tell how worn it is, so its life is estimated from what was written since the machine started; an
eMMC keeps a counter. Both are estimates of orders of magnitude.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from edge_agent.delivery.service import outbox_folder
from edge_agent.doctor.result import CheckResult, fail, ok, warn
from edge_agent.settings import Settings

COMMIT_BYTES = 20_000
"""What one summary's commit writes to the disk, journal and file system included (measured, see docs/hardware.md)."""

SPARE_MB = 64.0
"""Room that should stay free besides the outbox: logs, updates, the ballast."""

CYCLES = 1000
AMPLIFICATION = 3.0
"""How often a consumer card's cells can be written, and how much more it writes than it is given; usual assumptions."""

SHORT_LIFE_YEARS = 3.0
EMMC_NEARLY_USED_UP = 0x09
EMMC_USED_UP = 0x0B
"""eMMC life time estimate, JEDEC JESD84-B51: n means (n-1)*10 to n*10 per cent used, 0x0B more than all."""

_SECTOR = 512
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Space:
    """Of the file system that holds the state directory, in bytes. ``writable``: a file can be made there."""

    path: Path
    free: int
    total: int
    writable: bool
    outbox: int
    """Bytes that the outbox has already taken."""


@dataclass(frozen=True, slots=True)
class Medium:
    """The disk below. ``kind``: SD, MMC (eMMC) or disk; ``life``: worst eMMC estimate; ``up``: seconds since start."""

    device: str
    kind: str
    capacity: int
    written: int
    up: float
    life: int | None = None


def check_space(settings: Settings) -> CheckResult:
    """Room on the disk that holds the state directory."""
    folder = existing(settings.device.state_dir)
    try:
        usage = shutil.disk_usage(folder)
        writable = not os.statvfs(folder).f_flag & os.ST_RDONLY
    except OSError as error:
        return fail("disk", f"{folder} cannot be looked at: {error.strerror}", f"ls -ld {folder}; dmesg | tail")
    outbox = sum(_size(file) for file in outbox_folder(settings).glob("*"))
    return judge_space(Space(folder, usage.free, usage.total, writable, outbox), settings.outbox.max_mb)


def judge_space(space: Space, outbox_mb: float) -> CheckResult:
    """``outbox_mb``: the outbox's cap."""
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
    """Wear of the disk that holds the state directory."""
    medium = read_medium(existing(settings.device.state_dir), sysfs, proc)
    return judge_wear(medium, 86_400 / settings.summary.window_s * COMMIT_BYTES)


def judge_wear(medium: Medium | None, own_bytes_per_day: float) -> CheckResult:
    """``own_bytes_per_day``: what the agent itself is expected to write."""
    own = f"the agent writes about {own_bytes_per_day / _MB:,.0f} MB a day"
    if medium is None:
        return ok("wear", f"{own}; this file system has no disk of its own to ask")
    if medium.life is not None and medium.life >= EMMC_NEARLY_USED_UP:
        percent = min(100, (medium.life - 1) * 10)
        judge = fail if medium.life >= EMMC_USED_UP else warn
        return judge(
            "wear", f"{medium.device}: {percent} % or more of its life is used", "replace the eMMC module soon"
        )
    per_day = medium.written / max(medium.up, 3600.0) * 86_400
    text = f"{medium.device} ({medium.kind}) took {per_day / _MB:,.0f} MB a day since the start; {own}"
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
    """``path``, or its closest parent that is there."""
    while not os.path.exists(path) and path != path.parent:  # Path.exists raises where it may not look
        path = path.parent
    return path


def read_medium(folder: Path, sysfs: Path, proc: Path) -> Medium | None:
    """The disk that holds ``folder``; None for memory, overlays and network file systems."""
    number = folder.stat().st_dev
    node = sysfs / "dev/block" / f"{os.major(number)}:{os.minor(number)}"
    if not node.exists():
        return None
    disk = node.resolve()
    if (disk / "partition").exists():
        disk = disk.parent
    kind = _text(disk / "device/type") if disk.name.startswith("mmcblk") else "disk"
    written = _text(disk / "stat").split()
    return Medium(
        device=disk.name,
        kind=kind or "disk",
        capacity=_number(_text(disk / "size")) * _SECTOR,
        written=_number(written[6]) * _SECTOR if len(written) > 6 else 0,
        up=float((_text(proc / "uptime").split() or ["0"])[0]),
        life=_life(_text(disk / "device/life_time")),
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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
