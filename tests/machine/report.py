"""Results of checks: kept as JUnit XML, one file for each target, and shown as the tables of docs/machine.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

Outcome = Literal["passed", "failed", "skipped"]
BEGIN = "<!-- results: scripts/machine report -->"
END = "<!-- end of results -->"
WORDS: Mapping[str, str] = {"passed": "yes", "failed": "**no**", "skipped": "not run"}


@dataclass(frozen=True)
class Result:
    """What became of a check: ``seen`` when it passed, or why it failed or was skipped. ``date`` is ISO, UTC."""

    name: str
    outcome: Outcome
    seen: str
    seconds: float = 0.0
    date: str = ""
    package: str = ""


def read(path: Path) -> dict[str, Result]:
    """The results of a JUnit file by their name; none when there is no file."""
    if not path.exists():
        return {}
    results = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        words = {one.get("name", ""): one.get("value", "") for one in case.iter("property")}
        failure, skipped = case.find("failure"), case.find("skipped")
        outcome: Outcome = "failed" if failure is not None else "skipped" if skipped is not None else "passed"
        wrong = failure if failure is not None else skipped
        seen = words.get("seen", "") if wrong is None else wrong.get("message", "")
        name = case.get("name", "")
        seconds = float(case.get("time", "0"))
        results[name] = Result(name, outcome, seen, seconds, words.get("date", ""), words.get("package", ""))
    return results


def write(path: Path, suite: str, results: Iterable[Result]) -> None:
    """Write a JUnit file; ``suite`` is the target's name."""
    results = list(results)
    root = ElementTree.Element("testsuites")
    element = ElementTree.SubElement(root, "testsuite", name=f"machine-{suite}", tests=str(len(results)))
    for key, value in (("failures", "failed"), ("skipped", "skipped")):
        element.set(key, str(sum(one.outcome == value for one in results)))
    for result in results:
        case = ElementTree.SubElement(
            element, "testcase", classname=f"machine.{suite}", name=result.name, time=f"{result.seconds:.1f}"
        )
        properties = ElementTree.SubElement(case, "properties")
        for key in ("seen", "date", "package"):
            ElementTree.SubElement(properties, "property", name=key, value=_clean(getattr(result, key)))
        if result.outcome != "passed":
            tag = "failure" if result.outcome == "failed" else "skipped"
            ElementTree.SubElement(case, tag, message=_clean(result.seen))
    ElementTree.indent(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n", encoding="utf-8")


def merge(path: Path, suite: str, result: Result) -> None:
    """Put one result into a JUnit file in the place of the earlier one of that name."""
    write(path, suite, {**read(path), result.name: result}.values())


def tables(shows: Mapping[str, Mapping[str, tuple[str, str]]], results: Mapping[str, Mapping[str, Result]]) -> str:
    """The tables of the page: per target row and sentence of the checks that suit it, and their results by name."""
    parts = []
    for target, found in results.items():
        passed = sum(one.outcome == "passed" for one in found.values())
        missing = [name for name in shows[target] if name not in found]
        parts.append(
            f"### {target}\n\n{passed} of {len(found)} checks that were run passed; {len(missing)} were not run.\n"
        )
        parts.append("| check | row | must show | holds | seen | seconds | run on |\n|---|---|---|---|---|---|---|")
        for name, (row, text) in shows[target].items():
            one = found.get(name, Result(name, "skipped", ""))
            seconds = f"{one.seconds:.0f}" if one.seconds else ""
            words = (f"`{name}`", row, text, WORDS[one.outcome], one.seen, seconds, one.date)
            parts.append("| " + " | ".join(_cell(word) for word in words) + " |")
        parts.append("")
    return "\n".join(parts)


def put(page: str, text: str) -> str:
    """``page`` with ``text`` between its marks; raises ``ValueError`` when it has none."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page lacks the marks {BEGIN} and {END}")
    before, rest = page.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{rest.split(END, 1)[1]}"


def summary(results: Sequence[Result]) -> str:
    """One closing line for a terminal."""
    counts = {kind: sum(one.outcome == kind for one in results) for kind in ("passed", "failed", "skipped")}
    return f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"


def _clean(text: str) -> str:
    """``text`` on one line, without what XML cannot hold."""
    return re.sub(r"[^\x20-\x7e\u00a0-\ud7ff]+", " ", text)[:2000]


def _cell(text: str) -> str:
    return _clean(text).replace("|", "/").strip()[:400]
