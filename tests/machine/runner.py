"""Run checks on machines: those with the same boot share one, a failed check costs the next one a fresh machine."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from tests.machine import image, report
from tests.machine.checks import CHECKS, Check
from tests.machine.emulator import Architecture, Boot, Target, accelerator, cache
from tests.machine.guest import Guest
from tests.machine.report import Result
from tests.machine.upgrade import Missing

FAULTS = (AssertionError, RuntimeError, OSError, subprocess.SubprocessError, KeyError, TypeError, ValueError)
"""What a check that fails may raise; anything else is a bug of the harness."""
PAGE = image.ROOT / "docs/machine.md"
KIOSK = image.ROOT.parent / "shared/media/kiosk.mp4"


def main(usage: str) -> int:
    """The command ``scripts/machine``; returns its exit code, 1 when a check failed."""
    options = _options(usage)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that machines and brokers end with it
    target = Target(options.suite, options.arch)
    if options.command == "list":
        for check in CHECKS.values():
            print(f"{check.name:28} {check.row:4} {check.shows}")
        return 0
    if options.command == "report":
        PAGE.write_text(report.put(PAGE.read_text(encoding="utf-8"), page_tables()), encoding="utf-8")
        return 0
    with _alone():
        image.build(target, media=options.media, package=options.package)
        if options.command == "run":
            return _shell(target)
        if options.command == "test":
            return test(target, options.only, options.results or _results(target), _package_name(options.package))
    return 0


def page_tables() -> str:
    """The tables of docs/machine.md from the results in the cache."""
    found = {path.stem: report.read(path) for path in sorted((cache() / "results").glob("*.xml"))}
    shows = {}
    for name in found:
        arch: Architecture = "arm64" if "-arm64" in name else "amd64"
        target = Target("trixie" if name.startswith("trixie") else "bookworm", arch)
        shows[name] = {check.name: (check.row, check.shows) for check in CHECKS.values() if check.suits(target)}
    return report.tables(shows, found)


def test(target: Target, only: Sequence[str], results: Path, package: str) -> int:
    """Run checks (``only`` those named, else all that suit the target), write results at once; 1 when one failed."""
    chosen = [check for check in CHECKS.values() if check.suits(target) and (not only or check.name in only)]
    done = []
    for result in _run(target, ordered(chosen)):
        stamped = Result(result.name, result.outcome, result.seen, result.seconds, _today(), package)
        report.merge(results, target.name, stamped)
        done.append(stamped)
        print(f"{result.outcome:7} {result.name} ({result.seconds:.0f} s): {result.seen[:300]}", flush=True)
    print(report.summary(done))
    return int(any(one.outcome == "failed" for one in done))


def ordered(checks: Sequence[Check]) -> list[Check]:
    """Checks so that those which can share a machine follow each other; ones with a machine of their own come last."""
    boots = list(dict.fromkeys(check.boot for check in checks))
    return sorted(checks, key=lambda check: (check.bare, boots.index(check.boot), check.own_boot))


def _run(target: Target, checks: Sequence[Check]) -> Iterator[Result]:
    guest: Guest | None = None
    boot: Boot | None = None
    with contextlib.ExitStack() as stack:
        for check in checks:
            if check.bare:
                yield _bare(target, check)
                continue
            if guest is None or boot != check.boot or check.own_boot or not check.settles:
                stack.close()
                guest, boot = stack.enter_context(Guest(target, check.boot, fresh=not check.settles)), check.boot
            begun = time.monotonic()
            try:
                if check.settles:
                    guest.settle()
                    begun = time.monotonic()
                yield Result(check.name, "passed", check.run(guest), time.monotonic() - begun)
                broken = check.own_boot
            except FAULTS as error:
                yield _failed(target, check, error, begun, _evidence(guest))
                broken = True
            if broken:
                stack.close()
                guest = None


def _bare(target: Target, check: Check) -> Result:
    begun = time.monotonic()
    try:
        return Result(check.name, "passed", check.run(target), time.monotonic() - begun)
    except Missing as missing:
        return Result(check.name, "skipped", str(missing))
    except FAULTS as error:
        return _failed(target, check, error, begun, "")


def _failed(target: Target, check: Check, error: Exception, begun: float, evidence: str) -> Result:
    trace = cache() / f"{target.name}-{check.name}.trace"
    trace.write_text(f"{traceback.format_exc()}\n{evidence}\n", encoding="utf-8")
    return Result(check.name, "failed", str(error) or repr(error), time.monotonic() - begun)


def _evidence(guest: Guest) -> str:
    try:
        journal = guest.run("journalctl -b --no-pager -o short-monotonic | tail -300", timeout=90)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        journal = f"no journal: {error}"
    heard = "\n".join(f"{topic} {str(body)[:1500]}" for topic, body, _ in list(guest.messages())[-25:])
    return f"{guest.emulator.console()[-2000:]}\n== journal\n{journal}\n== heard\n{heard}"


def _shell(target: Target) -> int:
    with Guest(target, Boot()) as guest:
        guest.emulator.wait()
        return subprocess.call(guest.emulator.shell())


@contextlib.contextmanager
def _alone() -> Iterator[IO[str]]:
    """Hold the lock of the cache: two machines at once would share a broker's port, and starve each other."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _options(usage: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=usage, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("build", "run", "test", "list", "report"))
    parser.add_argument("--suite", choices=("bookworm", "trixie"), default="bookworm")
    parser.add_argument("--arch", choices=("amd64", "arm64"), default="amd64")
    parser.add_argument("--only", nargs="+", choices=sorted(CHECKS), default=[], metavar="CHECK")
    parser.add_argument(
        "--media",
        type=Path,
        default=KIOSK if KIOSK.exists() else None,
        help="kiosk.mp4, the film of the devices; default: a portrait",
    )
    parser.add_argument("--package", type=Path, help="test this Debian package instead of one of this checkout")
    parser.add_argument(
        "--results", type=Path, help="JUnit file; default: in the cache, results of earlier runs are kept"
    )
    return parser.parse_args()


def _results(target: Target) -> Path:
    return cache() / "results" / f"{target.name}-{accelerator(target.arch)}.xml"


def _package_name(package: Path | None) -> str:
    if package is not None:
        return package.stem
    words = ["git", "-C", str(image.ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
