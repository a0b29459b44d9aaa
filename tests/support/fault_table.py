"""Pages about faults as the tests make them: a line for every test whose docstring begins with ``Row N:``.

The docstring says how the fault is injected and what must hold. A test that repeats its fault or counts what was lost
says so with pytest's ``record_property`` (``runs``, ``lost``); any other passed test is one run that lost nothing, as
it asserts. Which pages there are is in :mod:`tests.support.fault_pages`; ``scripts/reliability`` is the command line.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

LONG = "## Long runs"
LONG_HEADER = "| fault | how injected | runs | lost | |\n|---|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Page:
    """What a page is about and says beside its tables: ``faults`` by their numbers, ``sources`` the files of tests."""

    path: str
    faults: Mapping[int, str]
    sources: tuple[str, ...]
    intro: str
    long_intro: str


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

    def markdown(self, fault: str) -> str:
        """The line of the table."""
        runs, lost = ("–", "–") if self.skipped else (self.runs, self.lost)
        text = f"{self.injected} (not run here: {self.skipped})" if self.skipped else self.injected
        return f"| {self.number} | {fault} | {text} | {runs} | {lost} |"


def described(docstring: str | None) -> tuple[int, str] | None:
    """Number and description in a test's docstring, None when it is about no fault.

    >>> described("Row 30, offline: nobody answers.")
    (30, 'Offline: nobody answers.')
    """
    found = re.match(r"Row (\d+)(?:, ([^:]+))?: (.+)", " ".join((docstring or "").split()))
    if found is None:
        return None
    text = (f"{found[2]}: " if found[2] else "") + found[3].replace("``", "`").replace("|", "/")
    return int(found[1]), text[0].upper() + text[1:]


class Recorder:
    """A pytest plugin that keeps the tests about the faults ``numbers``, and what they report."""

    def __init__(self, numbers: Container[int]) -> None:
        self._numbers = numbers
        self.lines: dict[str, Line] = {}
        self.failed: list[str] = []
        self._of: dict[str, str] = {}

    def of(self, page: Page) -> list[Line]:
        """The lines of that page."""
        found = [(name.split("::")[0], line) for name, line in self.lines.items()]
        order = {source: position for position, source in enumerate(page.sources)}
        found = [(file, line) for file, line in found if file in order and line.number in page.faults]
        return [line for _, line in sorted(found, key=lambda each: (each[1].number, order[each[0]]))]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect everything else; before ``-k`` does, whose choice tells nothing about which tests there are."""
        kept, rest = [], []
        for item in items:
            found = described(getattr(getattr(item, "function", None), "__doc__", None))
            if found is not None and found[0] not in self._numbers:
                found = None
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


def document(page: Page, lines: Iterable[Line], old: str) -> str:
    """The whole file; ``old`` is what it held: lines that were not run and the long runs are kept.

    Raises:
        ValueError: a line was not run now and is not in ``old``.
    """
    known = _rows(old)
    rows = []
    for line in lines:
        new = line.markdown(page.faults[line.number])
        row = new if line.skipped or line.runs is not None else known.get(_key(new))
        if row is None:
            raise ValueError(f"has not been run: row {line.number}: {line.injected}")
        rows.append(row)
    table = "| # | fault | how injected, and what must hold | runs | lost |\n|---|---|---|---|---|\n"
    long_table = f"\n{LONG}\n\n{page.long_intro}\n{LONG_HEADER}" + "".join(row + "\n" for row in long_rows(old))
    return page.intro + table + "".join(row + "\n" for row in rows) + long_table


def long_rows(text: str) -> list[str]:
    """The lines of the second table in the file's ``text``."""
    return [line for line in text.partition(LONG)[2].splitlines() if line.startswith("| ")][1:]


def with_long_rows(text: str, new: Iterable[str]) -> str:
    """The file's ``text`` with the lines ``new`` in its second table, in place of older ones on the same fault."""
    rows = {row.split("|")[1]: row for row in [*long_rows(text), *new]}
    return text.partition(LONG_HEADER)[0] + LONG_HEADER + "".join(row + "\n" for row in rows.values())


def drift(page: Page, text: str, lines: Iterable[Line]) -> list[str]:
    """Why the file's ``text`` does not belong to the tests, as they are collected; figures may differ."""
    there = _rows(text).keys()
    wanted = {_key(line.markdown(page.faults[line.number])): line for line in lines}
    missing = sorted(page.faults.keys() - {line.number for line in wanted.values()})
    found = [f"no test names row {number} ({page.faults[number]})" for number in missing]
    found += [f"not in the table: row {wanted[k].number}: {wanted[k].injected}" for k in sorted(wanted.keys() - there)]
    found += [f"no such test: row {k.strip()}" for k in sorted(there - wanted.keys())]
    if not text.startswith(page.intro) or page.long_intro not in text:
        found.append("the text around the tables is not what scripts/reliability writes")
    return found


def _rows(text: str) -> dict[str, str]:
    """The lines of the first table, by what does not change from run to run."""
    first = text.partition(LONG)[0]
    return {_key(row): row for row in first.splitlines() if re.match(r"\| \d", row)}


def _key(row: str) -> str:
    return " ".join(re.sub(r" \(not run here: [^|]*\) \|", " |", row).split("|")[1:4])


def collect(root: Path, pages: Iterable[Page], *arguments: str) -> Recorder:
    """Run pytest in this process over the tests of ``pages``, with more ``arguments``."""
    chosen = list(pages)
    sources = dict.fromkeys(str(root / source) for page in chosen for source in page.sources)
    recorder = Recorder({number for page in chosen for number in page.faults})
    pytest.main([*sources, "--rootdir", str(root), *arguments], plugins=[recorder])
    return recorder
