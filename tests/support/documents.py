"""Blocks of code in the documentation, and a folder in which a reader's steps are followed one by one.

A block with ``title="PATH"`` is a file to write. In a ``console`` block each line after ``$`` is a command; a line that
follows is expected in its output, with ``…`` for anything in between. In a ``sh`` block each line is a command.
"""

from __future__ import annotations

import os
import re
import signal
import site
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"\n]+)\")?[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
SHELL = frozenset({"console", "sh"})
"""Languages of the blocks that hold commands."""


@dataclass(frozen=True)
class Block:
    """One block: its ``language``, the file it is (``title``), and the ``line`` it begins in."""

    language: str
    title: str
    text: str
    line: int

    def steps(self) -> Iterator[tuple[str, list[str]]]:
        """Commands of a block, each with the lines that its output holds."""
        prompt = "$ " if self.language == "console" else ""
        command, expected = "", list[str]()
        for line in self.text.splitlines():
            if command.endswith("\\"):
                command += "\n" + line
            elif line.strip() and line.startswith(prompt):
                if command:
                    yield command, expected
                command, expected = line.removeprefix(prompt), []
            elif line.strip():
                expected.append(line)
        yield command, expected


def blocks(page: Path, section: str = "") -> list[Block]:
    """Blocks of ``page``, or of one second-level section of it."""
    text = page.read_text(encoding="utf-8")
    begin = text.index(f"\n## {section}\n") if section else 0
    end = text.find("\n## ", begin + 1) if section else -1
    found = BLOCK.finditer(text, begin, end if end > 0 else len(text))
    return [Block(m["language"], m["title"] or "", m["text"], text.count("\n", 0, m.start()) + 1) for m in found]


@dataclass
class Reader:
    """A reader with an environment of their own with ``edge-agent``, ``pip``, ``python`` and ``pytest``.

    ``until``: what a command that does not end by itself tells before the reader presses Ctrl-C, by the command.
    ``returns``: exit codes other than 0.
    """

    folder: Path
    environment: Mapping[str, str]
    until: Mapping[str, str] = field(default_factory=dict)
    returns: Mapping[str, int] = field(default_factory=dict)
    _bin: Path = field(init=False)
    _variables: dict[str, str] = field(default_factory=dict)

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
        self._tool("sudo", "sh -c 'echo sudo: a reader who is a test changes no system; exit 1'")

    def _tool(self, name: str, command: str) -> None:
        script = self._bin / name
        script.write_text(f"#!/bin/sh\nexec {command}\n", encoding="utf-8")
        script.chmod(0o755)

    def follow(self, block: Block, left_out: Mapping[str, str] | None = None) -> None:
        """Write the block's file, or run its commands but those ``left_out``; fails the test with its line."""
        if block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language in SHELL:
            for command, expected in block.steps():
                if not any(command.startswith(start) for start in left_out or ()):
                    self._step(block, command, expected)

    def _step(self, block: Block, command: str, expected: list[str]) -> None:
        told = self.run(command)
        for line in expected:
            pattern = ".*".join(re.escape(part.strip()) for part in line.split("…"))
            assert re.search(pattern, told), f"line {block.line}: {command!r} tells {told!r}, not {line!r}"

    def run(self, command: str) -> str:
        """Run a command to its end and return what it tells; a variable that it sets is there for later ones."""
        bare = command.split(" #", maxsplit=1)[0].strip()
        if bare in self.until:
            return self._run_until(bare, self.until[bare])
        sets = re.match(r"(\w+)=", command)
        script = f'set -e\n{command}\necho; printf %s "${sets[1]}"' if sets else f"set -e\n{command}"
        process = self._start(script)
        told, _ = process.communicate(timeout=120)
        assert process.returncode in (0, self.returns.get(bare, 0)), f"{command!r} fails: {told[-2000:]}"
        if sets:
            self._variables[sets[1]] = told.rsplit("\n", 1)[1]
        return told

    def _run_until(self, command: str, pattern: str) -> str:
        process = self._start(f"exec {command}")
        assert process.stdout is not None
        told = ""
        end = threading.Timer(120, process.kill)
        end.start()
        for line in process.stdout:
            told += line
            if re.search(pattern, line):
                process.send_signal(signal.SIGINT)
                break
        process.communicate()
        end.cancel()
        assert re.search(pattern, told), f"{command!r} never tells {pattern!r}: {told[-2000:]}"
        assert process.returncode in (0, 130), f"{command!r} ends with {process.returncode}"
        return told

    def _start(self, script: str) -> subprocess.Popen[str]:
        path = f"{self._bin}{os.pathsep}{os.environ['PATH']}"
        environment = {**self.environment, **self._variables, "PATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return subprocess.Popen(
            ["bash", "-c", script], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
