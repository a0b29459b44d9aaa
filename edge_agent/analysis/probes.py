"""Read the machine's load, heat and throttling from Linux and the Raspberry Pi's firmware, for the governor, the health
topic and the doctor alike. What a machine lacks reads as None.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.analysis.pacing import Load
from edge_agent.domain.clock import Clock

log = logging.getLogger(__name__)

SYS = Path("/sys")

_UNDER_VOLTAGE, _CAPPED, _THROTTLED, _SOFT_LIMIT = (1 << bit for bit in range(4))
_SINCE_BOOT = 16
"""The same four flags again this many bits up: whether it happened since the machine was started."""


@dataclass(frozen=True, slots=True)
class Throttling:
    """The firmware's flag word, as ``vcgencmd get_throttled`` prints it."""

    flags: int

    @property
    def now(self) -> bool:
        """Whether the firmware limits the machine now, because of voltage or heat."""
        return self.under_voltage or self.slowed

    @property
    def under_voltage(self) -> bool:
        """The supply is too weak now."""
        return bool(self.flags & _UNDER_VOLTAGE)

    @property
    def slowed(self) -> bool:
        """The processor runs slower than it could, because of heat or voltage, now."""
        return bool(self.flags & (_CAPPED | _THROTTLED | _SOFT_LIMIT))

    @property
    def was_under_voltage(self) -> bool:
        """The supply was too weak at some time since the start."""
        return Throttling(self.flags >> _SINCE_BOOT).under_voltage

    @property
    def was_slowed(self) -> bool:
        """The processor was slowed at some time since the start."""
        return Throttling(self.flags >> _SINCE_BOOT).slowed


def hottest(sys: Path = SYS) -> float | None:
    """Temperature of the hottest thermal zone in °C."""
    return hottest_zone(sys / "class/thermal")


def hottest_zone(thermal: Path) -> float | None:
    """The same, given the folder of the zones."""
    temperatures = []
    for zone in matching(thermal, "thermal_zone*/temp"):
        text = _read(zone)
        if text is not None and text.lstrip("-").isdigit():
            celsius = int(text) / 1000
            if -40 <= celsius <= 150:  # a zone that is switched off reports nonsense
                temperatures.append(celsius)
    return max(temperatures, default=None)


def read_throttling(sys: Path = SYS, vcgencmd: str | None = None) -> Throttling | None:
    """The firmware's flags: from sysfs (a Pi 5 has another path there than a Pi 4), else from ``vcgencmd`` when given
    its path; None where no firmware tells."""
    texts = [_read(file) for file in matching(sys, "devices/platform/soc*/soc*firmware/get_throttled")]
    text = next((text for text in texts if text), None) or (_ask(vcgencmd) if vcgencmd else None)
    if text is None:
        return None
    try:
        return Throttling(int(text.removeprefix("throttled="), 16))
    except ValueError:
        log.debug("not a word of throttle bits: %r", text)
        return None


def throttled(sys: Path = SYS, vcgencmd: str | None = None) -> bool | None:
    """Whether the Pi's firmware limits the machine now, the soft temperature limit of a Pi 3B+ included."""
    found = read_throttling(sys, vcgencmd)
    return None if found is None else found.now


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
