"""Kill loop: SIGKILL processes that use an outbox at random moments, and check that every committed row is kept.

``python -m tests.support.torture --kills 1000`` runs the outbox loop alone (``scripts/torture`` wraps it). The parent
forks a child that puts, leases, acks and dead-letters as fast as it can and writes committed keys to a pipe; it kills
the child after a random time, opens the outbox as a restarted agent would and compares.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edge_agent.domain.clock import SystemClock
from tests.support.outboxes import MQTT, make_outbox
from tests.support.windows import event_draft, summary_draft

LARGEST = 500
"""An outbox with more rows is emptied between two kills, because the check reads every row."""


@dataclass(slots=True)
class Outcome:
    """Result of a loop. ``lost``: committed and neither stored nor finished; ``doubled``: keys stored twice."""

    kills: int = 0
    committed: int = 0
    finished: int = 0
    lost: int = 0
    doubled: int = 0
    unbalanced: int = 0
    stuck: int = 0
    slowest_open_s: float = 0.0
    examples: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether the guarantees held."""
        return not (self.lost or self.doubled or self.unbalanced or self.stuck)


class KillLoop:
    """Kills ``kills`` children that share the outbox in ``folder``; all boots are numbered ``k1``, ``k2``, …"""

    def __init__(self, folder: Path, seed: int = 1, longest_s: float = 0.1) -> None:
        self._folder = folder
        self._rng = random.Random(seed)
        self._longest = longest_s
        self._committed: set[tuple[str, int]] = set()
        self._finished: set[tuple[str, int]] = set()
        self.outcome = Outcome()

    def run(self, kills: int) -> Outcome:
        """Run the loop."""
        for number in range(1, kills + 1):
            self._one(f"k{number}")
            self._check()
            self.outcome.kills += 1
        self.outcome.committed = len(self._committed)
        self.outcome.finished = len(self._finished)
        return self.outcome

    def _one(self, boot_id: str) -> None:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            try:
                work(self._folder, boot_id, write_end, self._rng.getrandbits(32))
            finally:
                os._exit(3)
        os.close(write_end)
        time.sleep(self._rng.uniform(0.0, self._longest))
        os.kill(child, signal.SIGKILL)
        self._collect(read_end)
        os.waitpid(child, 0)

    def _collect(self, pipe: int) -> None:
        with os.fdopen(pipe, "rb") as reports:
            text = reports.read().decode()
        for line in text.split("\n")[:-1]:  # the last line may be torn; its commit was not announced, so it is not owed
            what, boot_id, *numbers = line.split()
            keys = {(boot_id, int(number)) for number in numbers}
            (self._committed if what == "put" else self._finished).update(keys)

    def _check(self) -> None:
        started = time.monotonic()
        outbox = make_outbox(self._folder, boot_id="check", clock=SystemClock(lambda: False))
        try:
            rows = outbox.lease(MQTT, 1_000_000)
            self.outcome.slowest_open_s = max(self.outcome.slowest_open_s, time.monotonic() - started)
            keys = [(row.boot_id, row.seq) for row in rows]
            lost = self._committed - self._finished - set(keys)
            self.outcome.lost += len(lost)
            self.outcome.doubled += len(keys) - len(set(keys))
            stats = outbox.stats()
            self.outcome.unbalanced += not stats.balanced
            self.outcome.stuck += stats.degraded is not None or stats.pending != len(rows)
            if lost:
                self.outcome.examples.append(f"{sorted(lost)[:3]} {stats}")
                self._finished |= lost  # counted once
            if len(rows) > LARGEST:
                outbox.ack(MQTT, [row.id for row in rows])
                self._finished.update(keys)
        finally:
            outbox.close()


def work(folder: Path, boot_id: str, pipe: int, seed: int) -> None:
    """Use the outbox in a child process until it is killed."""
    rng = random.Random(seed)
    outbox = make_outbox(folder, boot_id=boot_id, clock=SystemClock(lambda: False))
    begin, seq = 0.0, 1
    while True:
        count = rng.randint(1, 8)
        drafts = [(summary_draft if rng.random() < 0.8 else event_draft)(begin + 10.0 * k) for k in range(count)]
        outbox.put(drafts)
        os.write(pipe, f"put {boot_id} {' '.join(str(seq + k) for k in range(count))}\n".encode())
        begin, seq = begin + 10.0 * count, seq + count
        if rng.random() < 0.7:
            rows = outbox.lease(MQTT, rng.randint(1, 10))
            done, back = rows[: len(rows) // 2 + 1], rows[len(rows) // 2 + 1 :]
            for row in done:  # announced before: when the kill comes in between, either fate is right
                os.write(pipe, f"end {row.boot_id} {row.seq}\n".encode())
            settle = outbox.ack if rng.random() < 0.9 else lambda name, ids: outbox.dead_letter(name, ids, "test")
            settle(MQTT, [row.id for row in done])
            outbox.nack(MQTT, [row.id for row in back])


def undelivered(folder: Path, received: set[tuple[str, int]]) -> list[tuple[str, int]]:
    """Keys that the outbox in ``folder`` gave out, and that are neither stored in it nor ``received``."""
    with closing(sqlite3.connect(folder / "outbox.db")) as db:
        stored = set(db.execute("SELECT boot_id, seq FROM items"))
        boots = db.execute("SELECT boot_id, next_seq FROM boots").fetchall()
    given = {(boot_id, seq) for boot_id, next_seq in boots for seq in range(1, next_seq)}
    return sorted(given - stored - received)


def main() -> int:
    """Command line of the loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    try:
        outcome = KillLoop(folder, arguments.seed).run(arguments.kills)
    finally:
        shutil.rmtree(folder)
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    sys.exit(main())
