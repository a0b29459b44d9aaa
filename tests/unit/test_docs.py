"""Documentation agrees with the repository: links resolve, paths exist, the changelog knows the version."""

from __future__ import annotations

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from edge_agent import __version__

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(
    r"`((?:edge_agent|plugins|tests|scripts|docs|config|constraints|training|benchmarks|packaging)/[\w./-]+)`"
)
CODE = re.compile(r"```.*?```", re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as forges make them: lower case, spaces to hyphens, punctuation dropped."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Relative links of ``page`` whose file or heading does not exist."""
    broken = []
    for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


def missing_files(text: str) -> list[str]:
    """Paths of the repository that ``text`` names in code style but that do not exist; ``NAME`` stands for any name."""
    return [path for path in NAMED.findall(text) if "NAME" not in path and not (ROOT / path).exists()]


def house() -> ModuleType:
    """``scripts/house`` as a module."""
    loader = SourceFileLoader("house", str(ROOT / "scripts" / "house"))
    spec = spec_from_loader("house", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    assert broken_links(page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `title`, here\n[a](gone.md) [b](#nowhere) [c](#a-title-here) [d](https://example.org/x)", "utf-8"
    )
    assert broken_links(page) == ["gone.md", "#nowhere"]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "RELEASING.md", "docs/architecture.md"])
def test_named_files_exist(name: str) -> None:
    assert missing_files((ROOT / name).read_text(encoding="utf-8")) == []


def test_missing_files_are_found() -> None:
    assert missing_files("`edge_agent/api.py`, `edge_agent/gone.py` and `tests/nowhere/`") == [
        "edge_agent/gone.py",
        "tests/nowhere/",
    ]


def test_walk_from_frame_to_payload_names_the_files_that_run() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = re.findall(r"^\d+\. `([\w./]+)`", page, re.MULTILINE)
    traced = [f"{name.replace('.', '/')}.py" for name in house().frame_files()]
    assert sorted(walk) == sorted(traced)


def test_newest_release_in_the_changelog_is_the_version() -> None:
    releases = re.findall(r"^## (\S+)(?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    assert releases[1][0] == __version__
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for _, date in releases[1:])
