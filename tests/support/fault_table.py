"""``docs/reliability.md`` as the tests make it: a line for every test whose docstring begins with ``Row N:``.

The docstring says how the fault is injected and what must hold. A test that repeats its fault or counts what was lost
says so with pytest's ``record_property`` (``runs``, ``lost``); any other passed test is one run that lost nothing, as
it asserts. ``scripts/reliability`` is the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

SOURCES = (
    "tests/faults/test_delivery_disk.py",
    "tests/faults/test_delivery_network.py",
    "tests/integration/test_cli_errors.py",
    "tests/integration/test_commands.py",
    "tests/integration/test_run.py",
    "tests/unit/delivery/test_commands.py",
    "tests/unit/delivery/test_delivery_outbox.py",
)

FAULTS = {
    1: "SIGKILL at a random moment",
    2: "SIGKILL between acknowledgement and delete",
    3: "power cut",
    4: "torn write",
    5: "disk full while running",
    6: "start on a full disk",
    7: "read-only or failing disk",
    8: "damaged database",
    9: "WAL or shm deleted",
    10: "second instance",
    11: "database of a newer version",
    12: "broker away for long",
    13: "broker restarts while draining",
    14: "half-open, slow or broken line",
    15: "no name, no access, no trust",
    16: "refusals and limits of the broker",
    17: "client id used twice",
    18: "hostile or stale command",
    19: "callback raises",
    20: "last will",
    28: "clock jumps, or is not set yet",
    30: "SIGTERM offline or under load",
    32: "bad config",
}
"""By the number of the fault; other rows that tests name belong to other documents."""

LONG = "## Long runs"

INTRO = """<!-- made by scripts/reliability: edit the tests' docstrings there -->
# Reliability

What delivery promises is tested by breaking it: real processes that are killed, real brokers, real files and disks.
Every line of the first table is a test that also runs in CI, made by `scripts/reliability`, which runs them all. `lost`
counts messages that were committed to the outbox and then neither delivered nor kept nor counted as dropped: the
promise is 0, and every test fails when it sees another figure. Where a fault destroys data (a torn or overwritten
file), what is missing must be counted, and is not "lost" in this sense. A fault that cannot be injected on the machine
that made the table says so instead.

"""

LONG_INTRO = f"""
{LONG}

Too long for CI: the runs of `scripts/torture`, put here by `scripts/reliability --long`. The rates are those of one
machine; the ratio to plain paho on the same broker in the same run carries over.

"""

LONG_HEADER = "| fault | how injected | runs | lost | |\n|---|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Line:
    """A test, all its parameters together. ``runs`` and ``lost`` are None until it ran; ``skipped`` says why it did
    not.
    """

    number: int
    injected: str
    runs: int | None = None
    lost: int | None = None
    skipped: str = ""

    def markdown(self) -> str:
        """The line of the table."""
        runs, lost = ("–", "–") if self.skipped else (self.runs, self.lost)
        text = f"{self.injected} (not run here: {self.skipped})" if self.skipped else self.injected
        return f"| {self.number} | {FAULTS[self.number]} | {text} | {runs} | {lost} |"


def described(docstring: str | None) -> tuple[int, str] | None:
    """Number and description in a test's docstring, None when it is not one of :data:`FAULTS`.

    >>> described("Row 30, offline: nobody answers.")
    (30, 'Offline: nobody answers.')
    """
    found = re.match(r"Row (\d+)(?:, ([^:]+))?: (.+)", " ".join((docstring or "").split()))
    if found is None or int(found[1]) not in FAULTS:
        return None
    text = (f"{found[2]}: " if found[2] else "") + found[3].replace("``", "`").replace("|", "/")
    return int(found[1]), text[0].upper() + text[1:]


class Recorder:
    """A pytest plugin that keeps the tests that make the table, and what they report."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.failed: list[str] = []
        self._of: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect everything else; before ``-k`` does, whose choice tells nothing about which tests there are."""
        kept, rest = [], []
        for item in items:
            found = described(getattr(getattr(item, "function", None), "__doc__", None))
            (rest if found is None else kept).append(item)
            if found is not None:
                name = item.nodeid.split("[")[0]
                self._of[item.nodeid] = name
                self.lines[name] = Line(*found)
        config.hook.pytest_deselected(items=rest)
        items[:] = kept

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported is a failure."""
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up what one test says."""
        name = self._of[report.nodeid]
        line = self.lines[name]
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.lines[name] = replace(line, skipped=report.longrepr[2].removeprefix("Skipped: "))
        elif report.when == "call":
            said = dict(report.user_properties)
            runs, lost = int(str(said.get("runs", 1))), int(str(said.get("lost", 0)))
            self.lines[name] = replace(line, runs=(line.runs or 0) + runs, lost=(line.lost or 0) + lost)


def document(lines: Iterable[Line], old: str) -> str:
    """The whole file; ``old`` is what it held: lines that were not run and the long runs are kept.

    Raises:
        ValueError: a line was not run now and is not in ``old``.
    """
    known = _rows(old)
    rows = []
    for line in sorted(lines, key=lambda line: line.number):
        row = line.markdown() if line.skipped or line.runs is not None else known.get(_key(line.markdown()))
        if row is None:
            raise ValueError(f"has not been run: row {line.number}: {line.injected}")
        rows.append(row)
    table = "| # | fault | how injected, and what must hold | runs | lost |\n|---|---|---|---|---|\n"
    long_table = LONG_INTRO + LONG_HEADER + "".join(row + "\n" for row in long_rows(old))
    return INTRO + table + "".join(row + "\n" for row in rows) + long_table


def long_rows(text: str) -> list[str]:
    """The lines of the second table in the file's ``text``."""
    return [line for line in text.partition(LONG)[2].splitlines() if line.startswith("| ")][1:]


def with_long_rows(text: str, new: Iterable[str]) -> str:
    """The file's ``text`` with the lines ``new`` in its second table, in place of older ones on the same fault."""
    rows = {row.split("|")[1]: row for row in [*long_rows(text), *new]}
    return text.partition(LONG_HEADER)[0] + LONG_HEADER + "".join(row + "\n" for row in rows.values())


def drift(text: str, lines: Iterable[Line]) -> list[str]:
    """Why the file's ``text`` does not belong to the tests, as they are collected; figures may differ."""
    there = _rows(text).keys()
    wanted = {_key(line.markdown()): line for line in lines}
    missing = sorted(FAULTS.keys() - {line.number for line in wanted.values()})
    found = [f"no test names row {number} ({FAULTS[number]})" for number in missing]
    found += [f"not in the table: row {wanted[k].number}: {wanted[k].injected}" for k in sorted(wanted.keys() - there)]
    found += [f"no such test: row {k.strip()}" for k in sorted(there - wanted.keys())]
    if not text.startswith(INTRO):
        found.append("the text above the table is not what scripts/reliability writes")
    return found


def _rows(text: str) -> dict[str, str]:
    """The lines of the first table, by what does not change from run to run."""
    first = text.partition(LONG)[0]
    return {_key(row): row for row in first.splitlines() if re.match(r"\| \d", row)}


def _key(row: str) -> str:
    return " ".join(re.sub(r" \(not run here: [^|]*\) \|", " |", row).split("|")[1:4])


def collect(root: Path, *arguments: str) -> Recorder:
    """Run pytest in this process over :data:`SOURCES`, with more ``arguments``."""
    recorder = Recorder()
    pytest.main([*(str(root / source) for source in SOURCES), "--rootdir", str(root), *arguments], plugins=[recorder])
    return recorder
