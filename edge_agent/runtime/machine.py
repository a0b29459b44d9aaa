"""Read the machine: load, heat, throttling, memory, descriptors and clock discipline.

The one reader for the governor, the health topic and the doctor. Sources are /proc, /sys, the control group's files,
adjtimex(2) or systemd-timedated, and the Raspberry Pi's firmware. What a machine lacks reads as None.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.analysis.pacing import Load
from edge_agent.domain.clock import Clock

log = logging.getLogger(__name__)

SYS = Path("/sys")

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5
"""Of adjtimex(2)."""
_TIMEDATED = (
    *("busctl", "get-property", "org.freedesktop.timedate1", "/org/freedesktop/timedate1"),
    *("org.freedesktop.timedate1", "NTPSynchronized"),
)

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
        """Whether the supply is too weak now."""
        return bool(self.flags & _UNDER_VOLTAGE)

    @property
    def slowed(self) -> bool:
        """Whether the processor is slowed now, because of heat or voltage."""
        return bool(self.flags & (_CAPPED | _THROTTLED | _SOFT_LIMIT))

    @property
    def was_under_voltage(self) -> bool:
        """Whether the supply was too weak at some time since boot."""
        return Throttling(self.flags >> _SINCE_BOOT).under_voltage

    @property
    def was_slowed(self) -> bool:
        """Whether the processor was slowed at some time since boot."""
        return Throttling(self.flags >> _SINCE_BOOT).slowed


def hottest(sysfs: Path = SYS) -> float | None:
    """Temperature of the hottest thermal zone in °C."""
    return hottest_zone(sysfs / "class/thermal")


def hottest_zone(thermal: Path) -> float | None:
    """Temperature of the hottest zone in °C, given the folder of the zones."""
    temperatures = []
    for zone in _matching(thermal, "thermal_zone*/temp"):
        text = _read(zone)
        if text is not None and text.lstrip("-").isdigit():
            celsius = int(text) / 1000
            if -40 <= celsius <= 150:  # a zone that is switched off reports nonsense
                temperatures.append(celsius)
    return max(temperatures, default=None)


def read_throttling(sysfs: Path = SYS, vcgencmd: str | None = None) -> Throttling | None:
    """The firmware's flags: from sysfs (a Pi 5 has another path there than a Pi 4), else from ``vcgencmd`` when given
    its path; None where no firmware tells."""
    texts = [_read(file) for file in _matching(sysfs, "devices/platform/soc*/soc*firmware/get_throttled")]
    text = next((text for text in texts if text), None) or (_ask(vcgencmd) if vcgencmd else None)
    if text is None:
        return None
    try:
        return Throttling(int(text.removeprefix("throttled="), 16))
    except ValueError:
        log.debug("not a word of throttle bits: %r", text)
        return None


def throttled(sysfs: Path = SYS, vcgencmd: str | None = None) -> bool | None:
    """Whether the Pi's firmware limits the machine now, the soft temperature limit of a Pi 3B+ included."""
    found = read_throttling(sysfs, vcgencmd)
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


def machine_probe(clock: Clock, sysfs: Path = SYS) -> Callable[[], Load]:
    """A probe of this machine and this process."""
    share = CpuShare(clock, process_seconds, os.cpu_count() or 1)
    vcgencmd = shutil.which("vcgencmd")
    return lambda: Load(share(), hottest(sysfs), throttled(sysfs, vcgencmd))


def process_seconds(proc: Path = Path("/proc")) -> float:
    """Processor seconds of this process and of its children, those that are gone included: analyzers may be children.

    A kernel that does not list children (``CONFIG_PROC_CHILDREN``) counts them only when they are gone.
    """
    times = os.times()
    living = [text for pid in children(proc) if (text := _read(proc / pid / "stat"))]
    return times.user + times.system + times.children_user + times.children_system + sum(map(_seconds, living))


def children(proc: Path = Path("/proc")) -> list[str]:
    """Ids of the running child processes."""
    lists = (_read(task) for task in _matching(proc, "self/task/*/children"))
    return [pid for found in lists if found for pid in found.split()]


_IDLE_NICE = "19"
"""Niceness of work that gives way to everything else, such as batch jobs: it takes nothing from the agent."""


def _seconds(stat: str) -> float:
    """Of a line of ``/proc/PID/stat``, whose second field may hold anything in brackets: see proc(5)."""
    fields = stat.rpartition(")")[2].split()
    if fields[16] == _IDLE_NICE:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Paths that match ``pattern``; none where folders cannot be listed, without free descriptors for instance."""
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


def board(root: Path = Path("/")) -> str:
    """The model of this machine as its firmware tells it, e.g. ``Raspberry Pi 4 Model B Rev 1.4``; empty: unknown."""
    for name in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        told = (_read(root / name) or "").strip("\0 ")
        if told:
            return told[:100]
    return ""


def hardware() -> dict[str, object]:
    """Model, architecture, processors and memory of this machine, as published in ``info``."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000
    known = {"model": board()} if board() else {}
    return known | {"machine": platform.machine(), "processors": os.cpu_count() or 1, "memory_mb": memory}


def system_name() -> str:
    """Name and version of the operating system, e.g. ``Debian GNU/Linux 12 (bookworm)``; empty: unknown."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")[:100]
    except OSError:
        return ""


# ---------------------------------------------------------------------- memory and descriptors


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """Resources in use by the agent and its child processes.

    ``rss_mb``: resident memory, and ``cpu_s``: processor seconds so far. ``memory_limit_mb``: what the service may use,
    else what the machine has. ``descriptors``: open files and sockets.
    """

    rss_mb: float | None
    memory_limit_mb: float
    cpu_s: float
    descriptors: int | None
    descriptor_limit: int
    temperature_c: float | None


def allow_descriptors(wanted: int) -> int:
    """Raise this process's limit of open files and sockets to ``wanted``, as far as its hard limit goes.

    Returns the limit that holds then. A service may be forbidden to raise it: its unit sets ``LimitNOFILE=``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < reachable:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
            soft = reachable
    return wanted if soft == resource.RLIM_INFINITY else soft


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


# ---------------------------------------------------------------------- clock discipline


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2); only ``modes`` and ``status`` matter, the rest is room for the kernel."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_byte * 256),
    )


def clock_is_synced() -> bool:
    """Whether a time source disciplines the kernel's clock; False where nobody can be asked.

    The kernel says so by adjtimex(2). Where a filter of system calls forbids it, as our unit does, systemd is asked.
    """
    if not sys.platform.startswith("linux"):
        return False
    timex = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    if state == -1 and ctypes.get_errno() == errno.EPERM:
        return systemd_says_synced()
    return state not in (-1, _TIME_ERROR) and not timex.status & _STA_UNSYNC


def systemd_says_synced(flag: Path = Path("/run/systemd/timesync/synchronized")) -> bool:
    """What systemd-timedated, which may ask the kernel, says over D-Bus; without it, what systemd-timesyncd noted."""
    try:
        done = subprocess.run(_TIMEDATED, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return flag.exists()
    return done.stdout.strip() == "b true" if done.returncode == 0 else flag.exists()


def sync_probe(trusted: bool) -> Callable[[], bool]:
    """Probe for :class:`~edge_agent.domain.clock.SystemClock`; a clock that is ``trusted`` counts as synchronised."""
    return (lambda: True) if trusted else clock_is_synced


_M_ARENA_MAX = -8
"""Of mallopt(3)."""


def share_one_heap() -> None:
    """Let all threads allocate from one heap; call before threads start.

    The C library otherwise gives each thread a heap that keeps what was freed in it, up to 20 MB for a decoder. The
    threads here allocate too seldom to wait for each other. Other C libraries have no such option, and no such heaps.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
