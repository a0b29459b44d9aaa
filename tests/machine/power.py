"""Cut the power again and again: photographs of a running disk, each opened as the next boot would find it."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.delivery.outbox.records import OutboxStats
from edge_agent.domain.clock import SystemClock
from tests.machine.emulator import Qmp
from tests.machine.guest import Guest
from tests.machine.image import mounted
from tests.support.outboxes import MQTT, make_outbox, query

Number = tuple[str, int]
"""A message: the start of the agent (``boot_id``) and its number."""
CUTS = 12
"""Photographs of one run of the power checks: two runs (one for each cache mode) make two dozen."""


@dataclass(frozen=True)
class Cut:
    """A moment without power: the frozen disk, and the numbers that a subscriber had received by then, per start."""

    disk: Path
    received: Mapping[str, frozenset[int]]
    backlog: bool


@dataclass(frozen=True)
class Verdict:
    """What the next boot found: the outbox's pending rows, and what of all that was stored is nowhere."""

    pending: int
    lost: int
    sound: bool
    words: str = ""


def cut_often(guest: Guest, cuts: int, chance: random.Random) -> list[Cut]:
    """Photograph the disk at random moments of normal work; in the second half the cable is out."""
    taken = []
    for number in range(cuts):
        backlog = number >= cuts // 2
        guest.emulator.cable(plugged=not backlog)
        time.sleep(chance.uniform(1.0, 9.0))
        received = {boot: frozenset(numbers) for boot, numbers in guest.numbers().items()}
        taken.append(Cut(guest.emulator.photograph(), received, backlog))
    guest.emulator.cable(plugged=True)
    return taken


@dataclass(frozen=True)
class Found:
    """The outbox on a disk as the next start finds it: ``owed`` are all numbers that it ever gave out."""

    owed: frozenset[Number]
    waiting: frozenset[Number]
    broken: bool
    stats: OutboxStats


def find(image: Path) -> Found:
    """Mount a frozen disk, which replays its journal, and open the outbox in it as the next boot would."""
    with served(image) as disk:
        folder = disk.root / "var/lib/edge-agent/outbox"
        broken = query(folder, "PRAGMA integrity_check") != [("ok",)]
        outbox = make_outbox(folder, boot_id="after-cut", clock=SystemClock(lambda: False))
        try:
            given = query(folder, "SELECT boot_id, next_seq FROM boots")
            rows = outbox.lease(MQTT, 1_000_000)
            stats = outbox.stats()
        finally:
            outbox.close()
    owed = frozenset((boot, number) for boot, next_seq in given for number in range(1, next_seq))
    return Found(owed, frozenset((row.boot_id, row.seq) for row in rows), broken, stats)


def judge(found: Found, received: Mapping[str, frozenset[int]], before: frozenset[Number] = frozenset()) -> Verdict:
    """Judge what a boot would find. Lost is a number that was given out, waits no more, and that nobody ``received``.

    ``before``: what had been settled before anybody listened.
    """
    got = frozenset((boot, number) for boot, numbers in received.items() for number in numbers)
    lost = found.owed - found.waiting - got - before
    stats = found.stats
    sound = not (found.broken or stats.salvages or stats.degraded) and stats.balanced
    words = "" if sound and not lost else f"lost {sorted(lost)[:5]}, {stats}"
    return Verdict(len(found.waiting), len(lost), sound, words)


@dataclass
class Served:
    """A disk that is mounted at ``root`` and can be photographed, as :meth:`Emulator.photograph` does."""

    root: Path
    _qmp: Qmp
    _folder: Path
    _layers: list[Path]

    def photograph(self) -> Path:
        """Freeze the disk as it is now, without flushing anything to it, and go on in a new layer."""
        frozen, layer = self._layers[-1], self._folder / f"layer{len(self._layers)}.qcow2"
        node = "disk" if len(self._layers) == 1 else f"layer{len(self._layers) - 1}"
        self._qmp.execute(
            "blockdev-snapshot-sync",
            **{"node-name": node, "snapshot-file": str(layer), "snapshot-node-name": layer.stem, "format": "qcow2"},
        )
        self._layers.append(layer)
        return frozen


@contextlib.contextmanager
def served(image: Path, *, kind: str = "qcow2") -> Iterator[Served]:
    """Mount an image for the length of the block; changes go to layers of their own, which are deleted after it."""
    with tempfile.TemporaryDirectory(dir=image.parent, prefix="cut-") as scratch:
        layer, raw, control = (Path(scratch, name) for name in ("layer0.qcow2", "disk.raw", "qmp"))
        raw.touch()
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(image), str(layer)]
        subprocess.run(words, check=True)
        command = ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=file,filename={layer}"]
        command += ["--blockdev", "driver=qcow2,node-name=disk,file=file,discard=unmap"]
        command += ["--export", f"type=fuse,id=raw,node-name=disk,mountpoint={raw},writable=on"]
        command += ["--chardev", f"socket,id=qmp,path={control},server=on,wait=off", "--monitor", "chardev=qmp"]
        with subprocess.Popen(command) as daemon:
            try:
                _until_mounted(raw, daemon)
                qmp = Qmp(control)
                with mounted(raw) as root:
                    yield Served(root, qmp, Path(scratch), [layer])
                qmp.close()
            finally:
                daemon.terminate()
                daemon.wait(60)


def _until_mounted(raw: Path, daemon: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not os.path.ismount(raw):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("qemu-storage-daemon exports no disk: is there /dev/fuse?")
        time.sleep(0.05)


def power_cuts(guest: Guest) -> str:
    """The check of power cuts: see its declaration in :mod:`tests.machine.checks`."""
    base = guest.emulator.photograph()
    cuts = cut_often(guest, CUTS, random.Random(24))
    guest.emulator.pull_plug()
    found = find(base)
    verdicts = [judge(find(cut.disk), cut.received, found.owed - found.waiting) for cut in cuts]
    guest.emulator.forget_photographs()
    wrong = [verdict for verdict in verdicts if verdict.lost or not verdict.sound]
    assert not wrong, wrong
    late = sum(cut.backlog for cut in cuts)
    most = max(verdict.pending for verdict in verdicts)
    return (
        f"{len(cuts)} cuts with cache {guest.emulator.boot.cache}, {late} with a backlog (at most {most} rows): 0 lost"
    )
