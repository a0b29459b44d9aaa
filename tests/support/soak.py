"""A long run of ``edge-agent run`` under a fake service manager: does it stay alive, and its memory as it was?

``scripts/soak`` is its command line. The agent is the installed command with a recording (or ``demo``) as its devices,
a real mosquitto and a notify socket of ours. Memory is what ``/proc`` says of the agent and all of its children.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from edge_agent.models import Catalogue, ModelStore, cache_dir
from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto

WARM_UP = 0.2
"""Share of the run that is not judged: interpreters, caches and buffers are filled then."""
ALLOWED_MB = 3.0
ALLOWED_SHARE = 0.03
"""What memory may grow by after the warm-up: the larger of the two is noise of allocators."""
ALLOWED_DESCRIPTORS = 1.0
PING_S = 30.0
"""No two watchdog pings may be further apart: ``WatchdogSec`` of the unit."""
STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The agent and its children ``seconds`` after the start; ``rss_mb`` resident, ``descriptors`` open.

    ``written`` are the bytes that the agent has sent to storage since its start, ``log_bytes`` those of its log.
    """

    seconds: float
    rss_mb: float
    descriptors: int
    threads: int = 0
    written: int = 0
    log_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Trend:
    """Medians of the first and the last third of what is judged."""

    first: float
    last: float

    @property
    def grown(self) -> float:
        return self.last - self.first


def trends(samples: Sequence[Sample]) -> tuple[Trend, Trend]:
    """Memory and descriptors after the warm-up.

    Raises:
        ValueError: too few samples to say anything.
    """
    judged = samples[int(len(samples) * WARM_UP) :]
    third = len(judged) // 3
    if third < 1:
        raise ValueError(f"{len(samples)} samples are too few to see a trend: let it run longer")
    ends = judged[:third], judged[-third:]
    rss = Trend(*(statistics.median(s.rss_mb for s in end) for end in ends))
    return rss, Trend(*(statistics.median(s.descriptors for s in end) for end in ends))


def slope(samples: Sequence[Sample]) -> float:
    """MiB of resident memory an hour after the warm-up, by the line that fits the samples best."""
    judged = samples[int(len(samples) * WARM_UP) :]
    fitted = statistics.linear_regression([one.seconds for one in judged], [one.rss_mb for one in judged])
    return fitted.slope * 3600 * 1e6 / (1 << 20)


def day(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """What ``value`` grows by in a day, by its growth after the warm-up."""
    judged = samples[int(len(samples) * WARM_UP) :]
    return (value(judged[-1]) - value(judged[0])) / (judged[-1].seconds - judged[0].seconds) * 86_400


def pieces_text(pieces: Sequence[Mapping[str, Any]]) -> str:
    """One table of all pieces of a long run, and what they say together."""
    lines = [
        "| minutes | MiB/h | MB | descriptors | threads | MB written a day | MB of log a day | messages missed | |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for one in pieces:
        words = [f"{one['minutes']:.1f}", f"{one['slope']:+.2f}", f"{one['rss_mb']:.1f}", f"{one['descriptors']}"]
        words += [f"{one['threads']}", f"{one['written_a_day'] / 1e6:.1f}", f"{one['log_a_day'] / 1e6:.2f}"]
        lines.append("| " + " | ".join([*words, str(one["missed"]), one["said"]]) + " |")
    hours = sum(one["minutes"] for one in pieces) / 60
    mean = sum(one["slope"] * one["minutes"] for one in pieces) / max(1e-9, 60 * hours)
    return "\n".join([*lines, "", f"{hours:.2f} hours in {len(pieces)} pieces, {mean:+.2f} MiB/h on average"])


@dataclass(frozen=True, slots=True)
class Soak:
    """What a run showed. ``longest_ping_s``: between two watchdog pings; ``stopped_s``: from SIGTERM to the end."""

    samples: Sequence[Sample]
    ready: bool
    pings: int
    longest_ping_s: float
    exit_code: int
    stopped_s: float
    health: Mapping[str, Any] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """One line for every promise that was broken."""
        rss, descriptors = trends(self.samples)
        allowed = max(ALLOWED_MB, ALLOWED_SHARE * rss.first)
        found = {
            "never said READY=1": not self.ready,
            f"{self.longest_ping_s:.1f} s without a watchdog ping": self.longest_ping_s > PING_S,
            f"memory grew by {rss.grown:.1f} MB, more than {allowed:.1f}": rss.grown > allowed,
            f"{descriptors.grown:+.0f} descriptors": descriptors.grown > ALLOWED_DESCRIPTORS,
            f"ended with {self.exit_code}": self.exit_code != 0,
            f"took {self.stopped_s:.1f} s to stop": self.stopped_s > STOP_S,
            f"health: {self.health.get('status')} {self.health.get('problems')}": self.health.get("status") != "ok",
            "a component was restarted": any(c["restarts"] for c in self.health.get("components", {}).values()),
        }
        return [text for text, broken in found.items() if broken]

    def piece(self) -> dict[str, Any]:
        """The figures that are kept of one piece of a long run; ``missed`` windows of those that the time holds."""
        last = self.samples[-1]
        outbox = (self.health.get("delivery") or {}).get("outbox") or {}
        counters = outbox.get("counters", {})
        kept = counters.get("acked", 0) + counters.get("merged_away", 0) + outbox.get("pending", 0)
        return {
            "minutes": last.seconds / 60,
            "slope": slope(self.samples),
            "rss_mb": trends(self.samples)[0].last,
            "descriptors": last.descriptors,
            "threads": last.threads,
            "written_a_day": day(self.samples, lambda one: one.written),
            "log_a_day": day(self.samples, lambda one: one.log_bytes),
            "missed": max(0, counters.get("produced", 0) - kept),
            "said": "; ".join(self.faults()) or "flat",
        }

    def text(self) -> str:
        """The outcome in a few lines."""
        rss, descriptors = trends(self.samples)
        cpu = self.health.get("process", {}).get("cpu_s", 0.0)
        outbox = (self.health.get("delivery") or {}).get("outbox") or {}
        faults = self.faults()
        return "\n".join(
            [
                f"{self.samples[-1].seconds / 60:.1f} minutes, {len(self.samples)} samples, {cpu} s of CPU",
                f"resident: {rss.first:.1f} MB after the warm-up, {rss.last:.1f} MB at the end ({rss.grown:+.1f})",
                f"descriptors: {descriptors.first:.0f}, then {descriptors.last:.0f}",
                f"watchdog: {self.pings} pings, at most {self.longest_ping_s:.1f} s apart",
                f"stopped in {self.stopped_s:.1f} s",
                f"outbox: {json.dumps(outbox)}",
                "flat" if not faults else "NOT as promised: " + "; ".join(faults),
            ]
        )


class NotifySocket:
    """The service manager's end of ``$NOTIFY_SOCKET``. It always listens, as systemd does: senders need not wait."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ready = False
        self.pings: list[float] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(str(path))
        self._socket.settimeout(0.2)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError):
                lines = self._socket.recv(4096).decode().splitlines()
                self.ready |= "READY=1" in lines
                if "WATCHDOG=1" in lines:
                    self.pings.append(time.monotonic())

    def listen(self, seconds: float) -> None:
        """Let the next ``seconds`` pass; shorter when nothing can come any more."""
        self._closed.wait(seconds)

    def longest(self, until: float, first: int = 0) -> float:
        """Seconds of the longest silence from ping ``first`` on: between two, or between the last and ``until``."""
        times = [*self.pings[first:], until]
        return max((b - a for a, b in pairwise(times)), default=float("inf"))

    def close(self) -> None:
        self._closed.set()
        self._thread.join(5)
        self._socket.close()


def family(pid: int) -> list[int]:
    """``pid`` and every descendant that lives."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in children.read_text().split()]
    return found


def sample(pid: int, seconds: float, log: Path | None = None) -> Sample:
    """Measure now. Raises ProcessLookupError when ``pid`` is no more."""
    if not Path(f"/proc/{pid}/status").exists():
        raise ProcessLookupError(pid)
    rss_kb = descriptors = threads = written = 0
    for member in family(pid):
        with contextlib.suppress(OSError):  # a child may end while it is looked at
            status = Path(f"/proc/{member}/status").read_text()
            rss_kb += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
            descriptors += len(list(Path(f"/proc/{member}/fd").iterdir()))
            threads += len(list(Path(f"/proc/{member}/task").iterdir()))
            io = Path(f"/proc/{member}/io").read_text().splitlines()
            written += next((int(line.split()[1]) for line in io if line.startswith("write_bytes:")), 0)
    return Sample(seconds, rss_kb * 1024 / 1e6, descriptors, threads, written, log.stat().st_size if log else 0)


def installed(folder: Path) -> Cli:
    """The installed command with its state in ``folder`` and the models of this machine."""
    store = ModelStore(cache_dir(), Catalogue.load())
    store.pull(["blazeface-short", "blazeface-full"])
    state = str(folder / "state")
    return Cli({"EDGE_AGENT__MODELS__DIR": str(store.directory), "EDGE_AGENT__DEVICE__STATE_DIR": state})


def soak(
    folder: Path,
    minutes: float,
    media: str,
    more: str = "",
    every_s: float = 5.0,
    tell: Callable[[Sample], None] = print,
    broker_off_every_s: float = 0.0,
) -> Soak:
    """Run for ``minutes`` in ``folder``; ``media`` is a recording or ``demo``, ``more`` further TOML.

    ``broker_off_every_s``: the broker is away for a quarter of each such time, but not in the last one.

    Raises:
        RuntimeError: the agent ended before it was told to; with the end of its log.
    """
    cli = installed(folder)
    config = folder / "config.toml"
    notify = NotifySocket(folder / "notify")
    log_file = folder / "agent.log"
    with Mosquitto(folder / "mosquitto") as broker, log_file.open("w") as log:
        config.write_text(_CONFIG.format(media=media, port=broker.port) + more, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("edge-agent")), "run", "--config", str(config)]
        environment = {**cli.environment, "NOTIFY_SOCKET": str(notify.path)}
        agent = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            samples = _watch(
                agent, notify, 60 * minutes, every_s, tell, log_file, _Outages(broker, broker_off_every_s, 60 * minutes)
            )
            if agent.poll() is not None:
                raise RuntimeError(f"the agent ended by itself with {agent.returncode}: {log_file.read_text()[-4000:]}")
            until = time.monotonic()
            health = _health(broker.port)
            began = time.monotonic()
            agent.send_signal(signal.SIGTERM)
            code = agent.wait(60)
            stopped = time.monotonic() - began
        finally:
            agent.kill()
            agent.wait(10)
            notify.close()
    longest = notify.longest(until)
    return Soak(samples, notify.ready, len(notify.pings), longest, code, stopped, health)


_CONFIG = """
[device]
id = "soak"
[privacy]
context = "research"
[camera]
source = "{media}"
loop = true
[microphone]
source = "{media}"
loop = true
[mqtt]
host = "127.0.0.1"
port = {port}
"""


class _Outages:
    """Stops and starts a broker by the time of a run."""

    def __init__(self, broker: Mosquitto, every_s: float, seconds: float) -> None:
        self._broker, self._every_s = broker, every_s
        self._until = seconds - every_s
        self._off = False

    def at(self, seconds: float) -> None:
        off = self._every_s > 0 and seconds < self._until and seconds % self._every_s > 0.75 * self._every_s
        if off != self._off:
            (self._broker.stop if off else self._broker.start)()
            self._off = off


def _watch(
    agent: subprocess.Popen[bytes],
    notify: NotifySocket,
    seconds: float,
    every_s: float,
    tell: Callable[[Sample], None],
    log: Path,
    outages: _Outages,
) -> list[Sample]:
    began = time.monotonic()
    samples: list[Sample] = []
    while (elapsed := time.monotonic() - began) < seconds and agent.poll() is None:
        notify.listen(min(every_s, seconds - elapsed))
        if agent.poll() is None:
            outages.at(elapsed)
            samples.append(sample(agent.pid, time.monotonic() - began, log))
            tell(samples[-1])
    return samples


def _health(port: int) -> dict[str, Any]:
    """The retained document on the health topic, or nothing when there is none."""
    command = [
        "mosquitto_sub",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-t",
        "edge-agent/soak/health",
        "-C",
        "1",
        "-W",
        "5",
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return dict(json.loads(text)) if text else {}
