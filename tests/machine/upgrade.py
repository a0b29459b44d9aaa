"""Cut the power while a package is upgraded, models are fetched and the agent starts for the first time.

No machine is booted: the commands run natively in a root on a disk that qemu-storage-daemon serves, and that disk is
photographed at random moments (see :mod:`tests.machine.power`).
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edge_agent.delivery.outbox.directory import figures
from tests.machine.emulator import Target, cache
from tests.machine.image import FILM_FILE, GUEST_FILM, Chroot, chroot, packaged
from tests.machine.power import Served, served

STATE = Path("var/lib/edge-agent")
OUTBOX = STATE / "outbox"
CONFIG = Path("etc/edge-agent/config.toml")
CUTS = 4
ROWS = 20_000
"""Rows of the backlog, about 40 MB: as many as two days without a broker leave."""
NOBODY = f"""\
[device]
id = "edge-vm"
[camera]
source = "{GUEST_FILM}"
loop = true
[microphone]
source = "none"
[summary]
window_s = 5.0
[mqtt]
host = "127.0.0.1"
port = 9
[models]
auto_pull = false
"""


class Missing(Exception):  # noqa: N818 - not an error: the check is skipped
    """Something that the check needs is not on this host."""


def previous() -> Path:
    """The package of the last release, in ``packages/old`` of the cache."""
    found = sorted((cache() / "packages/old").glob("*.deb"))
    if not found:
        raise Missing(f"no package of an earlier release in {cache() / 'packages/old'}")
    return found[-1]


def start(root: Path, seconds: float) -> None:
    """Run the installed agent as its own user for ``seconds``, then stop it with SIGTERM."""
    words = ["chroot", "--userspec=edge-agent:edge-agent", str(root), "/usr/bin/env", "-i", "PATH=/usr/bin:/bin"]
    words += ["timeout", "-s", "TERM", f"{seconds:.0f}", "edge-agent", "run", "--config", f"/{CONFIG}"]
    done = subprocess.run(["nice", *words], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 124), (done.stdout + done.stderr)[-1500:]


def multiply(folder: Path, rows: int) -> None:
    """Repeat the rows of the outbox in ``folder``, counted as produced, until it has ``rows``."""
    with closing(sqlite3.connect(folder / "outbox.db", isolation_level=None)) as db:
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(items)")]
        others = ", ".join(name for name in columns if name not in ("id", "seq"))
        db.execute("BEGIN")
        (present, last), step = db.execute("SELECT count(*), max(id) FROM items").fetchone(), 0
        assert present, "the agent stored nothing"
        while present + step < rows:
            step += present
            db.execute(
                f"INSERT INTO items (id, seq, {others}) SELECT id + ?, seq + ?, {others} FROM items WHERE id <= ?",
                (step + last, step + last, last),
            )
        db.execute("UPDATE counters SET produced = produced + ?", (step,))
        db.execute("UPDATE boots SET next_seq = (SELECT max(seq) + 1 FROM items)")
        db.execute("COMMIT")


def cut_while(disk: Served, work: Callable[[], None], cuts: int, length: float, chance: random.Random) -> list[Path]:
    """Photograph the disk ``cuts`` times at random moments of ``work``, which takes about ``length`` seconds."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run)
    moments = sorted(chance.uniform(0.0, length) for _ in range(cuts))
    begun, taken = time.monotonic(), []
    thread.start()
    for moment in moments:
        thread.join(max(0.0, begun + moment - time.monotonic()))
        if not thread.is_alive():
            break
        taken.append(disk.photograph())
    thread.join()
    if errors:
        raise errors[0]
    return taken


def upgrade_cuts(target: Target) -> str:
    """The check of upgrades: see its declaration in :mod:`tests.machine.checks`."""
    old, new = previous(), packaged(target)
    with served(target.folder / "base.raw", kind="raw") as disk:
        root = disk.root
        with chroot(root) as inside:
            for name, package in (("old", old), ("new", new)):
                shutil.copyfile(package, root / f"root/{name}.deb")
            inside("dpkg -i /root/old.deb")
            (root / CONFIG).write_text(NOBODY)
            shutil.copyfile(cache() / FILM_FILE, root / GUEST_FILM.lstrip("/"))
            _models(root, inside)
            start(root, 60)
            multiply(root / OUTBOX, ROWS)
            backlog = int(figures(root / OUTBOX)["pending"])
            begun = time.monotonic()
            inside("sync; cp -r /opt/edge-agent /opt/copy; rm -r /opt/copy; sync")
            length = 2 * (time.monotonic() - begun) + 10
            cuts = cut_while(disk, lambda: _install(inside), CUTS, length, random.Random(24))
            told = _judge_upgrade(root, inside, backlog)
            down = _downgrade(root, inside, backlog)
        for cut in cuts:
            with served(cut) as again, chroot(again.root) as inside:
                _install(inside)
                _judge_upgrade(again.root, inside, backlog)
    assert cuts, "the upgrade was over before the first cut"
    return f"{old.stem} to {told}, {backlog} rows waiting, {len(cuts)} cuts: all rows kept; {down}; purge left nothing"


def _install(inside: Chroot) -> None:
    inside("dpkg -i /root/new.deb")


def _models(root: Path, inside: Chroot) -> None:
    (root / STATE / "models").mkdir(exist_ok=True)
    for model in sorted((cache() / "models").glob("*.tflite")):
        shutil.copyfile(model, root / STATE / "models" / model.name)
    inside("chown -R edge-agent:edge-agent /var/lib/edge-agent")


def _judge_upgrade(root: Path, inside: Chroot, backlog: int) -> str:
    version = inside("edge-agent --version").stdout.strip()
    inside("edge-agent config check --config /etc/edge-agent/config.toml && dpkg -V edge-agent")
    assert (root / CONFIG).read_text() == NOBODY, "the configuration was changed"
    found = int(figures(root / OUTBOX)["pending"])
    assert found == backlog, f"{found} rows of {backlog}"
    start(root, 20)
    grown = figures(root / OUTBOX)
    assert grown["pending"] > backlog, "the new version stored nothing"
    assert grown["dropped"] == grown["salvages"] == 0, grown
    return version


def _downgrade(root: Path, inside: Chroot, backlog: int) -> str:
    inside("dpkg -i --force-downgrade /root/old.deb")
    before = int(figures(root / OUTBOX)["pending"])
    try:
        start(root, 20)
        kept = int(figures(root / OUTBOX)["pending"])
        assert kept >= before >= backlog, f"{kept} rows of {before} after the downgrade"
        told = "the downgraded one goes on with them"
    except AssertionError as refused:
        assert int(figures(root / OUTBOX)["pending"]) == before, "refused, but not left alone"
        told = f"the downgraded one refuses: {str(refused).strip().splitlines()[-1][:120]}"
    inside("dpkg --purge edge-agent")
    left = [str(path) for path in (root / STATE, root / CONFIG, root / "opt/edge-agent") if path.exists()]
    assert not left, left
    return told


def first_start_cuts(target: Target) -> str:
    """The check of a first start: see its declaration in :mod:`tests.machine.checks`."""
    with served(target.folder / "agent.raw", kind="raw") as disk:
        root = disk.root
        with chroot(root) as inside:
            (root / CONFIG).write_text(NOBODY)
            source = root / "root/models"
            shutil.copytree(cache() / "models", source)
            inside("rm -rf /var/lib/edge-agent/models /var/lib/edge-agent/outbox; chmod -R a+rX /root; sync")

            def work() -> None:
                _pull(inside)
                start(root, 25)

            cuts = cut_while(disk, work, 2 * CUTS, 30, random.Random(25))
        for cut in cuts:
            with served(cut) as again, chroot(again.root) as inside:
                _pull(inside)
                start(again.root, 20)
                stats = figures(again.root / OUTBOX)
                assert stats["pending"] > 0, stats
                assert stats["salvages"] == 0, stats
    return f"{len(cuts)} cuts: models whole, a sound outbox, windows stored"


def _pull(inside: Chroot) -> None:
    names = " ".join(sorted(model.stem for model in (cache() / "models").glob("*.tflite")))
    inside(f"edge-agent models pull --from /root/models {names} && chown -R edge-agent:edge-agent /var/lib/edge-agent")
