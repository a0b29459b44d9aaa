"""Load, heat and throttling as Linux and the Raspberry Pi's firmware tell them. What a machine lacks reads as None."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from edge_agent.analysis.governor import Load
from edge_agent.domain.clock import Clock

log = logging.getLogger(__name__)

SYS = Path("/sys")

_THROTTLED_NOW = 0b0111
"""Bits 0 to 2 of the firmware's word: under-voltage, clock capped, throttled, each now; bits 16 and up are the past."""


def hottest(sys: Path = SYS) -> float | None:
    """Temperature of the hottest thermal zone in °C."""
    temperatures = []
    for zone in matching(sys, "class/thermal/thermal_zone*/temp"):
        text = _read(zone)
        if text is not None and text.lstrip("-").isdigit():
            celsius = int(text) / 1000
            if -40 <= celsius <= 150:  # a zone that is switched off reports nonsense
                temperatures.append(celsius)
    return max(temperatures, default=None)


def throttled(sys: Path = SYS, vcgencmd: str | None = None) -> bool | None:
    """Whether the Pi's firmware limits the machine now: from sysfs, else from ``vcgencmd`` when given its path."""
    text = _read(sys / "devices/platform/soc/soc:firmware/get_throttled")
    if text is None and vcgencmd is not None:
        text = _ask(vcgencmd)
    if text is None:
        return None
    try:
        return bool(int(text.removeprefix("throttled="), 16) & _THROTTLED_NOW)
    except ValueError:
        log.debug("not a word of throttle bits: %r", text)
        return None


class CpuShare:
    """Our process's share of all cores between two calls."""

    def __init__(self, clock: Clock, used: Callable[[], float], cores: int) -> None:
        self._clock, self._used, self._cores = clock, used, cores
        self._at, self._last = clock.monotonic(), used()

    def __call__(self) -> float | None:
        """0 to 1; None when no time has passed."""
        now, used = self._clock.monotonic(), max(self._last, self._used())  # a child that is just ending may be missed
        elapsed, spent = now - self._at, used - self._last
        self._at, self._last = now, used
        return min(1.0, max(0.0, spent / elapsed / self._cores)) if elapsed > 0 else None


def machine_probe(clock: Clock, sys: Path = SYS) -> Callable[[], Load]:
    """A probe of this machine and this process."""
    share = CpuShare(clock, process_seconds, os.cpu_count() or 1)
    vcgencmd = shutil.which("vcgencmd")
    return lambda: Load(share(), hottest(sys), throttled(sys, vcgencmd))


def process_seconds(proc: Path = Path("/proc")) -> float:
    """Processor seconds of this process and of its children, those that are gone included: analyzers may be children.

    A kernel that does not list children (``CONFIG_PROC_CHILDREN``) counts them only when they are gone.
    """
    times = os.times()
    living = [text for pid in children(proc) if (text := _read(proc / pid / "stat"))]
    return times.user + times.system + times.children_user + times.children_system + sum(map(_seconds, living))


def children(proc: Path = Path("/proc")) -> list[str]:
    """Numbers of the processes that this one has started and that are still there."""
    lists = (_read(task) for task in matching(proc, "self/task/*/children"))
    return [pid for found in lists if found for pid in found.split()]


def _seconds(stat: str) -> float:
    """Of a line of ``/proc/PID/stat``, whose second field may hold anything in brackets: see proc(5)."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def matching(folder: Path, pattern: str) -> list[Path]:
    """What matches ``pattern``; nothing where folders cannot be listed, for want of descriptors for instance."""
    try:
        return list(folder.glob(pattern))
    except OSError:
        return []


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None  # absent here, or a sensor that does not answer: the caller goes on without


def _ask(vcgencmd: str) -> str | None:
    try:
        done = subprocess.run([vcgencmd, "get_throttled"], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
