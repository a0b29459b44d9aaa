"""Long fault runs as rows of ``docs/reliability.md``; ``scripts/torture`` is their command line."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.drain import fill, measure
from tests.support.mosquitto import Mosquitto
from tests.support.outboxes import MQTT, make_outbox
from tests.support.powercut import PowerCut
from tests.support.torture import KillLoop

WEEK = 60_480
MONTH = 259_200


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of the table; ``lost`` counts committed messages that were lost without being counted as dropped."""

    fault: str
    injected: str
    runs: int
    lost: int
    note: str
    passed: bool

    def markdown(self) -> str:
        """The row."""
        return f"| {self.fault} | {self.injected} | {self.runs} | {self.lost} | {self.note} |"


HEADER = "| fault | how injected | runs | lost | |\n|---|---|---|---|---|"


def kills(folder: Path, runs: int) -> Finding:
    """SIGKILL at random moments of a process that uses the outbox."""
    outcome = KillLoop(folder / "outbox").run(runs)
    note = (
        f"{outcome.committed} rows committed, {outcome.stuck} stuck, {outcome.doubled} doubled, "
        f"opened again in at most {outcome.slowest_open_s:.2f} s"
    )
    return Finding("SIGKILL", "fork, random delay, kill -9", outcome.kills, outcome.lost, note, outcome.clean)


def power_cuts(folder: Path, runs: int) -> Finding:
    """Unsynced writes lost, every other time only some of their blocks."""
    outbox_folder = folder / "outbox"
    outbox_folder.mkdir()
    cut = PowerCut(outbox_folder, folder / "workshop")
    rng = random.Random(1)
    owed: set[tuple[str, int]] = set()
    ended: set[tuple[str, int]] = set()
    lost = stuck = 0
    for number in range(runs):
        cut.begin()
        owed_now, ended_now = run_and_cut(cut, outbox_folder, f"p{number}", rng.uniform(0.02, 0.3))
        owed |= owed_now
        ended |= ended_now
        cut.strike(rng if number % 2 else None)
        outbox = make_outbox(outbox_folder, boot_id="check")
        kept = {(row.boot_id, row.seq) for row in outbox.lease(MQTT, 1_000_000)}
        missing = owed - ended - kept
        lost += len(missing)
        owed -= missing
        stats = outbox.stats()
        stuck += stats.degraded is not None or not stats.balanced
        outbox.close()
    note = f"{len(owed)} rows committed, {stuck} stuck"
    how = "preloaded library that knows what was synced; the rest dropped, or kept by chance per block"
    return Finding("power cut", how, runs, lost, note, lost == stuck == 0)


def run_and_cut(
    cut: PowerCut, folder: Path, boot_id: str, seconds: float
) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """One process that uses the outbox in ``folder`` until it is killed: keys committed, and keys finished."""
    repository = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.support.outbox_process", str(folder), boot_id]
    agent = subprocess.Popen(command, cwd=repository, env=cut.environment(), stdout=subprocess.PIPE, text=True)
    assert agent.stdout
    if agent.stdout.readline() != "ready\n":
        raise RuntimeError("the process under test did not start")
    time.sleep(seconds)
    agent.kill()
    text, _ = agent.communicate()
    owed: set[tuple[str, int]] = set()
    ended: set[tuple[str, int]] = set()
    for line in text.split("\n")[:-1]:
        what, boot, *numbers = line.split()
        (owed if what == "put" else ended).update((boot, int(number)) for number in numbers)
    return owed, ended


def week(folder: Path, _runs: int) -> Finding:
    """Seven days without a broker, then everything at once."""
    with Mosquitto(folder / "mosquitto") as broker:
        result = measure(folder, broker.port, WEEK, max_mb=128.0)
    note = (
        f"{result.rows} rows, in order: {result.in_order}, {result.rows / result.seconds:.0f} rows/s, "
        f"{result.ratio:.2f} of plain paho QoS 1 ({result.rows / result.paho_seconds:.0f}/s)"
    )
    passed = result.in_order and result.rows == WEEK and result.ratio >= 0.8
    return Finding("broker away for 7 days", f"{WEEK} windows, then mosquitto", 1, WEEK - result.rows, note, passed)


def month(folder: Path, _runs: int) -> Finding:
    """Thirty days without a broker within the default cap."""
    fill(folder / "state", MONTH, max_mb=64.0)
    outbox = make_outbox(folder / "state" / "outbox", boot_id="check")
    windows = sum(row.merged for row in outbox.lease(MQTT, MONTH))
    stats = outbox.stats()
    outbox.close()
    size = sum(file.stat().st_size for file in (folder / "state" / "outbox").iterdir()) / 1e6
    note = f"{stats.pending} rows stand for {windows} windows in {size:.1f} MB, {stats.counters.dropped} dropped"
    passed = windows == MONTH and size <= 64 and stats.balanced
    return Finding("broker away for 30 days", f"{MONTH} windows, default cap", 1, MONTH - windows, note, passed)


RUNS: dict[str, tuple[Callable[[Path, int], Finding], int]] = {
    "kills": (kills, 1000),
    "power": (power_cuts, 50),
    "week": (week, 1),
    "month": (month, 1),
}


def run(
    name: str, runs: int | None = None, known: Mapping[str, tuple[Callable[[Path, int], Finding], int]] = RUNS
) -> Finding:
    """Do one of ``known`` in a folder of its own."""
    what, usual = known[name]
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    try:
        return what(folder, runs or usual)
    finally:
        shutil.rmtree(folder)
