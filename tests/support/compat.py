"""Documented lines of the services that this one replaces: found in ``tests/compat``, run word for word, and listed.

A test in ``tests/compat`` names the line that it runs, as the service's own documentation writes it::

    @pytest.mark.documented("Echo", 'curl "http://localhost:8000/camera/stop"', differs="stays off over a restart")
    def test_camera_stop(shell: Shell) -> None: ...

``differs`` (optional) says in a few words what the device does otherwise. A test of something that is not there is
marked ``xfail(strict=True, reason="…")``; the reason is listed. A test may be marked with several lines. The marks are
read from the source, so their arguments are literals; ``scripts/docs`` writes them into ``docs/compatibility.md``.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "pytest.mark.documented"
SERVICES = ("Hume", "Hume batch", "Hume stream", "Hume custom models", "Echo", "Flask", "Hug")
"""In the order of the table; others follow."""

_HOST = re.compile(r"(?P<scheme>https?|ws)://(?:localhost|127\.0\.0\.1):(?:8000|5000)(?P<path>[^\s\"'\\]*)")


@dataclass(frozen=True, slots=True)
class Line:
    """A documented line, the test that runs it, and what is different here or missing."""

    service: str
    text: str
    test: str
    differs: str = ""
    missing: str = ""

    @property
    def verdict(self) -> str:
        """For the table."""
        return f"✘ {self.missing}" if self.missing else f"◐ {self.differs}" if self.differs else "✔"


def documented(folder: Path) -> list[Line]:
    """Every line that a test below ``folder`` runs, by service and in the order of the tests.

    Raises:
        ValueError: a mark whose arguments are no literals, or a test without a line.
    """
    found = [line for path in sorted(folder.glob("test_*.py")) for line in _lines_of(path)]
    order = {service: number for number, service in enumerate(SERVICES)}
    return sorted(found, key=lambda line: order.get(line.service, len(order)))


def table(lines: list[Line]) -> str:
    """A Markdown table of the lines."""
    rows = ["| service | line | here | test |", "| --- | --- | --- | --- |"]
    for line in lines:
        text = re.sub(r"\s*\\?\s*\n\s*", " ", line.text).replace("|", "\\|")
        verdict = line.verdict.replace("|", "\\|")
        rows.append(f"| {line.service} | `{text}` | {verdict} | `{line.test}` |")
    return "\n".join(rows) + "\n"


def _lines_of(path: Path) -> Iterator[Line]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")):
            continue
        calls = {ast.unparse(call.func): call for call in reversed(node.decorator_list) if isinstance(call, ast.Call)}
        missing = str(_arguments(calls["pytest.mark.xfail"])[1]["reason"]) if "pytest.mark.xfail" in calls else ""
        marks = [d for d in node.decorator_list if isinstance(d, ast.Call) and ast.unparse(d.func) == MARK]
        if not marks:
            raise ValueError(f"{path.name}::{node.name}: @{MARK}(service, line) says which documented line this runs")
        for mark in marks:
            given, named = _arguments(mark)
            yield Line(*given, test=f"{path.name}::{node.name}", missing=missing, **named)


def _arguments(call: ast.Call) -> tuple[list[Any], dict[str, Any]]:
    given = [ast.literal_eval(argument) for argument in call.args]
    return given, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs documented lines in ``folder`` against the device at ``port`` (the only things changed: host and token).

    ``prefix`` is the path under which a service's endpoints lie, ``/flask`` for those that native ones would hide.
    """

    port: int
    token: str
    folder: Path
    line: str = ""
    prefix: str = ""

    def here(self, text: str) -> str:
        """``text`` with this device's address, and its token where an address is that of a WebSocket."""

        def replace(found: re.Match[str]) -> str:
            token = f"?token={self.token}" if found["scheme"] == "ws" else ""
            return f"{found['scheme']}://127.0.0.1:{self.port}{self.prefix}{found['path']}{token}"

        return _HOST.sub(replace, text)

    def run(self, line: str = "", *options: str) -> str:
        """Run ``line`` (default: the one that the test documents) in a shell; what it printed.

        Raises:
            AssertionError: it failed.
        """
        text = self.here(line or self.line)
        text = re.sub(r"\bcurl\b", " ".join(["curl -sS -H", f"'Authorization: Bearer {self.token}'", *options]), text)
        return self._run(["bash", "-c", text])

    def javascript(self, text: str, timeout: float = 60.0) -> str:
        """Run a script in Node with the global ``WebSocket`` of browsers; what it printed."""
        return self._run(["node", "--experimental-websocket", "--no-warnings", "-e", self.here(text)], timeout)

    def _run(self, command: list[str], timeout: float = 60.0) -> str:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
