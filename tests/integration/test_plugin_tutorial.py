"""The tutorial of docs/plugins.md, followed word by word by a reader with an environment of their own."""

from __future__ import annotations

from pathlib import Path

from tests.support.cli import Cli
from tests.support.documents import SHELL, Reader, blocks


def test_a_stranger_gets_an_analyzer_a_sink_and_a_source(repository: Path, cli: Cli, tmp_path: Path) -> None:
    reader = Reader(tmp_path, cli.environment)
    page = repository / "docs" / "plugins.md"
    steps = blocks(page, "Tutorial: an analyzer, a sink and a source")
    assert [block for block in blocks(page) if block.language in SHELL and block not in steps] == []
    assert sum(1 for block in steps if not block.title) >= 7
    for block in steps:
        reader.follow(block)
