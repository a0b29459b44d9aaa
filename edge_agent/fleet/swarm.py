"""Run a swarm of simulated devices in a few processes, with outages, restarts, kills and wrong clocks by seed.

Each process runs its devices' delivery services on their own threads, and closes their windows on its main thread.
Faults of the network come from a relay between each site and the broker; kills are SIGKILL of a whole process, whose
devices then go on from their outboxes.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from edge_agent.fleet.ledger import DeliveryTally, Ledger
from edge_agent.fleet.simulation import FaultyClock, SimulatedDevice, Uplinks
from edge_agent.settings import MqttSettings, Settings

SITE_SIZE = 10
"""Devices that share an uplink."""

REPORT_S = 1.0
"""Seconds between two reports of a process; more with many devices, since each is asked for its counters."""

STOP_S = 20.0
POLL_S = 0.5
"""Seconds between two looks at whether a device has started or stopped."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. ``outages``: share of the time that a site's uplink is down, for ``outage_s`` seconds (shortest and
    longest); ``restarts``: per device and hour; ``kills``: SIGKILLs of a process per minute; ``wrong_clocks``: share of
    the devices; ``drain_s``: longest wait for the outboxes to empty at the end."""

    devices: int
    seconds: float
    mqtt: MqttSettings
    state_dir: Path
    processes: int = 2
    seed: int = 0
    window_s: float = 10.0
    outages: float = 0.0
    outage_s: tuple[float, float] = (3.0, 30.0)
    restarts: float = 0.0
    kills: float = 0.0
    wrong_clocks: float = 0.0
    drain_s: float = 30.0
    lean: bool = False
    ledger: Path | None = None

    @property
    def ramp_s(self) -> float:
        """Seconds over which devices start: no fleet boots in one instant, and each opens a database."""
        return self.devices / 25

    def device_id(self, number: int) -> str:
        """Id of device ``number``."""
        return f"swarm-{self.seed}-{number:05d}"

    def of_process(self, index: int) -> range:
        """Numbers of the devices of process ``index``: whole sites."""
        sites = -(-self.devices // SITE_SIZE)
        first, last = (SITE_SIZE * (sites * k // self.processes) for k in (index, index + 1))
        return range(first, min(last, self.devices))


def place(number: int) -> dict[str, Any]:
    """Site and labels of device ``number``."""
    site = number // SITE_SIZE
    labels = {"kind": ("kiosk", "lobby", "shop")[number % 3], "region": ("north", "south")[site % 2]}
    return {"site": f"site-{site:03d}", "labels": labels}


@dataclass(slots=True)
class SwarmFigures:
    """State of a process, or of the whole swarm. ``late_s``: worst delay of closing a window, which says whether the
    machine keeps up; ``sums``: counters of the outboxes since each was made."""

    tally: DeliveryTally = field(default_factory=DeliveryTally)
    devices: int = 0
    connected: int = 0
    pending: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    outages: int = 0
    restarts: int = 0
    windows: int = 0
    late_s: float = 0.0
    threads: int = 0
    descriptors: int = 0
    rss_mb: float = 0.0
    base_mb: float = 0.0
    cpu_s: float = 0.0

    def add(self, other: SwarmFigures) -> None:
        """Add those of another process."""
        self.tally.add(other.tally)
        self.sums.update(other.sums)
        self.late_s = max(self.late_s, other.late_s)
        for name in ("devices", "connected", "pending", "outages", "restarts", "windows", "threads", "descriptors"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("rss_mb", "base_mb", "cpu_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def lasting(self) -> SwarmFigures:
        """What remains true of a process that was killed: what it did, not what it held."""
        return SwarmFigures(
            tally=self.tally,
            outages=self.outages,
            restarts=self.restarts,
            windows=self.windows,
            late_s=self.late_s,
            cpu_s=self.cpu_s,
        )


class _Process:
    """The devices of one process, and what is due for them next."""

    def __init__(self, plan: Plan, index: int, generation: int, seconds: float) -> None:
        self._plan = plan
        self._numbers = plan.of_process(index)
        self._rng = random.Random(f"{plan.seed}/{index}/{generation}")
        self._ledger = Ledger(plan.ledger, plan.mqtt.prefix)
        self._figures = SwarmFigures(tally=self._ledger.tally, base_mb=_rss_mb())
        self._pool = ThreadPoolExecutor(8, "start-stop")
        self._due: list[tuple[float, int, Callable[[], float | None]]] = []
        self._serial = 0
        self._report_at = 0.0
        now = time.monotonic()
        self._end = now + seconds
        sites = -(-len(self._numbers) // SITE_SIZE)
        broker = plan.mqtt.brokers[0]
        self._uplinks = Uplinks(broker.host, broker.effective_port, sites) if plan.outages else None
        self._devices = [self._device(k, number) for k, number in enumerate(self._numbers)]
        for device in self._devices:
            self._plan_at(now + self._rng.uniform(0, plan.ramp_s), self._life(device))
        for site in range(sites if self._uplinks else 0):
            self._plan_at(now + self._until_outage(), self._outage(site))

    def _device(self, k: int, number: int) -> SimulatedDevice:
        plan = self._plan
        mqtt = plan.mqtt
        if self._uplinks is not None:
            mqtt = mqtt.model_copy(
                update={"host": "127.0.0.1", "port": self._uplinks.ports[k // SITE_SIZE], "hosts": ()}
            )
        name = plan.device_id(number)
        settings = Settings(
            device={"id": name, "state_dir": plan.state_dir / name, **place(number)},
            summary={"window_s": plan.window_s},
            mqtt=mqtt,
            # What is sent before it is committed may arrive though a killed process knows nothing of it.
            outbox={"hold_s": 0} if plan.ledger is not None else {},
        )
        rng = random.Random(f"{plan.seed}/{number}/{self._rng.random()}")
        clock = FaultyClock.drawn(
            random.Random(f"{plan.seed}/{number}"), plan.wrong_clocks, self._end - plan.seconds, plan.seconds
        )
        return SimulatedDevice(settings, clock, self._ledger, rng, lean=plan.lean)

    def _plan_at(self, when: float, step: Callable[[], float | None]) -> None:
        self._serial += 1
        heapq.heappush(self._due, (when, self._serial, step))

    def _life(self, device: SimulatedDevice) -> Callable[[], float | None]:
        """Steps of one device: start, windows, and restarts in between; starts and stops run beside the windows."""
        chance = self._plan.restarts * self._plan.window_s / 3600
        pending: Future[None] | None = None

        def step() -> float | None:
            nonlocal pending
            if pending is not None:
                if not pending.done():
                    return time.monotonic() + POLL_S
                pending.result()
                pending = None
                if not device.down:
                    return device.due
            if device.down:
                pending = self._pool.submit(device.start)
                return time.monotonic() + POLL_S
            device.tick()
            self._figures.windows += 1
            if self._rng.random() >= chance:
                return device.due
            self._figures.restarts += 1
            self._report_at = 0.0
            device.down = True
            pending = self._pool.submit(device.stop)
            return time.monotonic() + self._rng.uniform(0.5, 5.0)

        return step

    def _until_outage(self) -> float:
        pause = sum(self._plan.outage_s) / 2 * (1 - self._plan.outages) / self._plan.outages
        return self._rng.expovariate(1 / pause)

    def _outage(self, site: int) -> Callable[[], float | None]:
        down = False

        def step() -> float | None:
            nonlocal down
            assert self._uplinks is not None
            down = not down
            if not down:
                self._uplinks.restore(site)
                return time.monotonic() + self._until_outage()
            self._figures.outages += 1
            self._report_at = 0.0  # a kill would make the last figures forget it
            (self._uplinks.cut if self._rng.random() < 0.7 else self._uplinks.silence)(site)
            return time.monotonic() + self._rng.uniform(*self._plan.outage_s)

        return step

    def run(self, pipe: Connection) -> None:
        """Run until the end or until the parent is gone; figures go to ``pipe`` each second and at the end."""
        while (now := time.monotonic()) < self._end:
            if now >= self._report_at:
                self._report_at = now + max(REPORT_S, len(self._devices) / 100)
                pipe.send((False, self.figures()))
            if self._due[0][0] <= now:
                due, _, step = heapq.heappop(self._due)
                self._figures.late_s = max(self._figures.late_s, now - due)
                if (then := step()) is not None:
                    self._plan_at(then, step)
            elif pipe.poll(max(0.0, min(self._due[0][0], self._report_at, self._end) - now)):
                pipe.recv()
                break
        self._drain(pipe)
        last = self.figures()
        list(self._pool.map(SimulatedDevice.stop, [d for d in self._devices if not d.down]))
        last.cpu_s = _cpu_s()
        pipe.send((True, last))

    def _drain(self, pipe: Connection) -> None:
        """Restore the uplinks and wait until the outboxes are empty."""
        for site in range(len(self._uplinks.ports) if self._uplinks else 0):
            self._uplinks.restore(site)  # type: ignore[union-attr]
        deadline = time.monotonic() + self._plan.drain_s
        while (figures := self.figures()).pending and time.monotonic() < deadline:
            pipe.send((False, figures))
            time.sleep(0.25)

    def figures(self) -> SwarmFigures:
        """Present figures."""
        figures = replace(self._figures, sums=Counter())
        running = [device.delivery for device in self._devices if not device.down]
        for stats in (delivery.stats() for delivery in running):
            figures.connected += stats.connected
            if stats.outbox is not None:
                figures.pending += stats.outbox.pending
                for name in ("produced", "acked", "merged_away", "dropped", "dead_lettered"):
                    figures.sums[name] += getattr(stats.outbox.counters, name)
        figures.devices, figures.threads = len(running), threading.active_count()
        figures.descriptors = len(os.listdir("/proc/self/fd"))
        figures.rss_mb, figures.cpu_s = _rss_mb(), _cpu_s()
        return figures


def _work(plan: Plan, index: int, generation: int, seconds: float, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells when to stop
    logging.basicConfig(level=logging.ERROR)  # lost connections are what a swarm is for
    with contextlib.suppress(BrokenPipeError, EOFError):
        _Process(plan, index, generation, seconds).run(pipe)


class Swarm:
    """The processes of a plan, as the parent sees them. Use as a context manager."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._context = multiprocessing.get_context("spawn")
        self._rng = random.Random(f"{plan.seed}/kills")
        self._workers: list[tuple[BaseProcess, Connection]] = []
        self._latest = [SwarmFigures() for _ in range(plan.processes)]
        self._generations = [0] * plan.processes
        self._gone = SwarmFigures()
        self._end = 0.0
        self.kills = 0
        self.backlog_peak = 0
        self.seconds = 0.0
        """How long windows were made, including processes' starts."""

    def __enter__(self) -> Swarm:
        _raise_descriptors()
        return self

    def __exit__(self, *_: object) -> None:
        for process, _pipe in self._workers:
            process.kill()
            process.join()

    def run(self) -> Iterator[SwarmFigures]:
        """Run the plan, yielding the figures of the whole swarm about once a second, the final ones last."""
        plan = self._plan
        start = time.monotonic()
        self._end = end = start + plan.seconds
        self._workers = [self._spawn(index, plan.seconds) for index in range(plan.processes)]
        kill_at: float | None = None
        done: set[int] = set()
        deadline = end + plan.drain_s + 3 * STOP_S
        while len(done) < plan.processes and time.monotonic() < deadline:
            waiting = {pipe: k for k, (_, pipe) in enumerate(self._workers) if k not in done}
            for pipe in multiprocessing.connection.wait(list(waiting), REPORT_S):
                done |= self._received(waiting[pipe], pipe)  # type: ignore[index,arg-type]
            now = time.monotonic()
            if kill_at is None and all(figures.windows for figures in self._latest):
                kill_at = now + self._until_kill()
            elif kill_at is not None and kill_at <= now < end - 2 * plan.window_s:
                kill_at = now + self._until_kill()
                self.kill(self._rng.randrange(plan.processes))
            total = self._total()
            self.backlog_peak = max(self.backlog_peak, total.pending)
            yield total
        self.seconds = min(time.monotonic(), end) - start

    def stop(self) -> None:
        """Ask every process to drain and end."""
        for _, pipe in self._workers:
            with contextlib.suppress(OSError):
                pipe.send("stop")

    def _received(self, index: int, pipe: Connection) -> set[int]:
        try:
            final, self._latest[index] = pipe.recv()
        except (EOFError, OSError):
            process = self._workers[index][0]
            process.join(STOP_S)
            raise RuntimeError(f"process {index} of the swarm ended with exit code {process.exitcode}") from None
        return {index} if final else set()

    def _until_kill(self) -> float:
        return self._rng.expovariate(self._plan.kills / 60) if self._plan.kills else float("inf")

    def kill(self, index: int) -> None:
        """SIGKILL process ``index`` and start it again."""
        process, pipe = self._workers[index]
        while pipe.poll():
            _, self._latest[index] = pipe.recv()
        process.kill()
        process.join()
        pipe.close()
        self.kills += 1
        self._gone.add(self._latest[index].lasting())
        self._latest[index] = SwarmFigures()
        self._generations[index] += 1
        self._workers[index] = self._spawn(index, max(0.0, self._end - time.monotonic()))

    def _spawn(self, index: int, seconds: float) -> tuple[BaseProcess, Connection]:
        ours, theirs = self._context.Pipe()
        arguments = (self._plan, index, self._generations[index], seconds, theirs)
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def _total(self) -> SwarmFigures:
        total = SwarmFigures()
        for figures in (self._gone, *self._latest):
            total.add(figures)
        return total


def _raise_descriptors() -> None:
    """Raise the limit of open files as far as allowed: a device needs about eight."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu_s() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime
