"""What the process uses of the machine, read from /proc. Values are None where the kernel does not tell."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """``rss_mb``: resident memory. ``cpu_s``: processor seconds so far. ``descriptors``: open files and sockets."""

    rss_mb: float | None
    cpu_s: float
    descriptors: int | None
    descriptor_limit: int
    temperature_c: float | None


def process_use(proc: Path = Path("/proc/self"), thermal: Path = Path("/sys/class/thermal")) -> ProcessUse:
    """Read the current figures."""
    times = os.times()
    return ProcessUse(
        rss_mb=_rss_mb(proc),
        cpu_s=times.user + times.system,
        descriptors=_count(proc / "fd"),
        descriptor_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        temperature_c=_temperature(thermal),
    )


def _rss_mb(proc: Path) -> float | None:
    try:
        pages = int((proc / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _count(folder: Path) -> int | None:
    try:
        return len(os.listdir(folder))
    except OSError:
        return None


def _temperature(thermal: Path) -> float | None:
    """The hottest zone in degrees Celsius."""
    values = []
    for zone in thermal.glob("thermal_zone*/temp"):
        try:
            values.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return max(values, default=None)
