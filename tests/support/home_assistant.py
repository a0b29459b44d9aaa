"""Driving a real Home Assistant (:mod:`tests.support.ha_core`) as a process in its own virtual environment."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


def home_assistant_python() -> str:
    """Python of the environment that scripts/ha-venv makes, or skips the test with the reason it cannot be made."""
    script = HERE.parent.parent / "scripts" / "ha-venv"
    made = subprocess.run([str(script)], capture_output=True, text=True, check=False, timeout=900)
    if made.returncode:
        last = made.stderr.strip().splitlines()[-1:] or ["no output"]
        pytest.skip(f"no Home Assistant: scripts/ha-venv failed: {last[0]}")
    return made.stdout.strip()


class HomeAssistant:
    """One core with the MQTT integration. Use as a context manager; ``folder`` keeps its registries over restarts."""

    def __init__(self, python: str, folder: Path, port: int) -> None:
        folder.mkdir(exist_ok=True)
        self._command = [python, str(HERE / "ha_core.py"), str(folder), str(port)]
        self._log = folder / "log"
        self._lines: queue.Queue[str] = queue.Queue()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> HomeAssistant:
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        assert self._line(60) == "ready", self.log()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate(timeout=30)

    def log(self) -> str:
        """What it complained about."""
        return self._log.read_text(encoding="utf-8")

    def ask(self, do: str, **more: Any) -> Any:
        """The answer to one request; fails the test when Home Assistant refuses."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._line(30))
        assert "error" not in answer, answer["error"]
        return answer["ok"]

    def state(self, entity: str) -> str | None:
        """The state of ``entity``, None when there is none."""
        found = self.ask("states").get(entity)
        return found["state"] if found else None

    def attributes(self, entity: str) -> dict[str, Any]:
        """State and attributes of ``entity``."""
        found: dict[str, Any] = self.ask("states")[entity]
        return found

    def call(self, service: str, entity: str, **data: Any) -> None:
        """Call a service on ``entity``."""
        self.ask("call", service=service, data={"entity_id": entity, **data})

    def wait(self, condition: Callable[[], Any], what: str, within: float = 40.0) -> None:
        """Until ``condition()`` holds."""
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                states = {entity: value["state"] for entity, value in self.ask("states").items()}
                pytest.fail(f"not within {within:.0f} s: {what}; {states}; {self.log()[-6000:]}")
            time.sleep(0.25)

    def wait_state(self, entity: str, *states: str, within: float = 40.0) -> None:
        """Until ``entity`` is in one of ``states``."""
        self.wait(lambda: self.state(entity) in states, f"{entity} in {states}", within)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line.rstrip("\n"))

    def _line(self, seconds: float) -> str:
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            pytest.fail(f"Home Assistant says nothing: {self.log()[-6000:]}")
