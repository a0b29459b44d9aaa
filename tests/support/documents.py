"""Blocks of code in the documentation, and a folder in which a reader's steps are followed one by one.

A block with ``title="PATH"`` is a file to write. In a ``console`` block each line after ``$`` is a command; a line that
follows is expected in its output, with ``…`` for anything in between. A comment ``<!-- not run: REASON -->`` before a
block leaves it out.
"""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n\n?)?"
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"\n]+)\")?[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block: its ``language``, the file it is (``title``), why it is not run, and the ``line`` it begins in."""

    language: str
    title: str
    text: str
    reason: str
    line: int

    def steps(self) -> Iterator[tuple[str, list[str]]]:
        """Commands of a console block, each with the lines that its output holds."""
        command, expected = "", list[str]()
        for line in self.text.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, expected
                command, expected = line[2:], []
            elif command.endswith("\\"):
                command += "\n" + line
            elif line.strip():
                expected.append(line)
        yield command, expected


def blocks(page: Path, section: str = "") -> list[Block]:
    """Blocks of ``page``, or of one second-level section of it."""
    text = page.read_text(encoding="utf-8")
    begin = text.index(f"\n## {section}\n") if section else 0
    end = text.find("\n## ", begin + 1) if section else -1
    found = BLOCK.finditer(text, begin, end if end > 0 else len(text))
    return [
        Block(m["language"], m["title"] or "", m["text"], m["reason"] or "", text.count("\n", 0, m.start()) + 1)
        for m in found
    ]


@dataclass
class Reader:
    """A reader with an environment of their own with ``edge-agent``, ``pip``, ``python`` and ``pytest``."""

    folder: Path
    environment: Mapping[str, str]
    _bin: Path = field(init=False)

    def __post_init__(self) -> None:
        venv = self.folder / ".venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        (packages,) = (venv / "lib").glob("python3.*/site-packages")
        # addsitedir, unlike a plain path, also honours the .pth file of an editable edge-agent.
        ours = [p for p in site.getsitepackages() if Path(p).is_dir()]
        (packages / "ours.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in ours))
        self._bin = venv / "bin"
        python = self._bin / "python"
        # What it needs is there, and the test has no network.
        pip = f"{sys.executable} -m pip --python {python} --disable-pip-version-check"
        self._tool("pip", f'{pip} "$@" --no-deps --no-build-isolation -q')
        self._tool("edge-agent", f'{python} -m edge_agent "$@"')
        self._tool("pytest", f'{python} -m pytest "$@"')

    def _tool(self, name: str, command: str) -> None:
        script = self._bin / name
        script.write_text(f"#!/bin/sh\nexec {command}\n", encoding="utf-8")
        script.chmod(0o755)

    def follow(self, block: Block) -> None:
        """Write the block's file, or run its commands; fails the test with its line."""
        if block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            return
        for command, expected in block.steps():
            told = self.run(command)
            for line in expected:
                pattern = ".*".join(re.escape(part.strip()) for part in line.split("…"))
                assert re.search(pattern, told), f"line {block.line}: {command!r} tells {told!r}, not {line!r}"

    def run(self, command: str) -> str:
        """Run a command to its end and return what it tells."""
        path = f"{self._bin}{os.pathsep}{os.environ['PATH']}"
        environment = {**self.environment, "PATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=environment, timeout=120, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{command!r} fails: {done.stdout[-2000:]}"
        return done.stdout
