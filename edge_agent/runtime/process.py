"""What the agent and its child processes use of the machine, read from /proc and the cgroup's files.

Values are None where the kernel does not tell.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

from edge_agent.analysis.probes import children, hottest_zone, process_seconds


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """``rss_mb``: resident memory, and ``cpu_s``: processor seconds so far, both with those of child processes.

    ``memory_limit_mb``: what the service may use, else what the machine has. ``descriptors``: open files and sockets.
    """

    rss_mb: float | None
    memory_limit_mb: float
    cpu_s: float
    descriptors: int | None
    descriptor_limit: int
    temperature_c: float | None


def process_use(
    proc: Path = Path("/proc"), thermal: Path = Path("/sys/class/thermal"), cgroups: Path = Path("/sys/fs/cgroup")
) -> ProcessUse:
    """Read the current figures."""
    return ProcessUse(
        rss_mb=_rss_mb(proc),
        memory_limit_mb=_memory_limit_mb(proc, cgroups),
        cpu_s=process_seconds(proc),
        descriptors=_count(proc / "self" / "fd"),
        descriptor_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        temperature_c=hottest_zone(thermal),
    )


def _rss_mb(proc: Path) -> float | None:
    ours = _pages(proc / "self")
    if ours is None:
        return None
    pages = ours + sum(_pages(proc / child) or 0 for child in children(proc))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _pages(process: Path) -> int | None:
    try:
        return int((process / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _memory_limit_mb(proc: Path, cgroups: Path) -> float:
    """The lowest limit of our control group and of those that it is in, else all memory there is."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    group = next((line[3:] for line in _text(proc / "self" / "cgroup").splitlines() if line.startswith("0::")), "")
    folder = cgroups / group.lstrip("/")
    while folder != cgroups and cgroups in folder.parents:
        texts = (_text(folder / name).strip() for name in ("memory.max", "memory.high"))
        limits += [int(text) for text in texts if text.isdigit()]  # "max" is no limit
        folder = folder.parent
    return min(limits) / 1e6


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _count(folder: Path) -> int | None:
    try:
        return len(os.listdir(folder))
    except OSError:
        return None
