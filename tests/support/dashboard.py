"""A running agent with its web side, as the dashboard's tests need it: a face in a film, a cough in a recording."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import av
import numpy as np

from edge_agent.capture.replay import DemoCamera
from edge_agent.domain.clock import ManualClock
from edge_agent.live.history import FILE, History, HistoryFile
from tests.support.cli import Cli
from tests.support.mosquitto import free_port
from tests.support.recordings import FPS, write
from tests.support.windows import SECONDS, a_summary

COUGH_S = (19.0, 23.0)
"""Where somebody coughs in ``kiosk.mp4``."""


def film(path: Path, seconds: float = 6.0) -> Path:
    """The demo camera's portrait as a file, so that an open camera can be told from a released one."""
    clock = ManualClock()
    camera = DemoCamera(clock, 320, 240, FPS)
    camera.open()
    pictures = []
    for _ in range(int(seconds * FPS)):
        frame = camera.read()
        assert frame is not None
        pictures.append((clock.monotonic(), np.ascontiguousarray(frame.data[:, :, ::-1])))
        clock.advance(1 / FPS + 1e-6)
    return write(path, pictures)


def cough(path: Path, kiosk: Path) -> Path:
    """A few seconds of sound with a cough."""
    rate, parts = 16_000, []
    with av.open(str(kiosk)) as container:
        resampler = av.AudioResampler("flt", "mono", rate)
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    begin, end = (int(seconds * rate) for seconds in COUGH_S)
    sound = np.concatenate(parts)[begin:end]
    return write(path, sound=sound[:, None].astype(np.float32), rate=rate)


def remember(state: Path, hours: int, until: float) -> None:
    """Give a device that was never started a past: ``hours`` hours of two people, up to ``until`` (Unix seconds)."""
    history, seconds = History(), 3600.0 * hours
    for k in range(int(seconds / SECONDS)):
        history.add(a_summary(k * SECONDS, wall=until - seconds))
    state.mkdir(parents=True, exist_ok=True)
    HistoryFile(state / FILE, ManualClock()).keep(history, now=True)


class Device:
    """``edge-agent run`` in ``folder`` with ``film`` as its camera and ``sound`` as its microphone."""

    def __init__(
        self, cli: Cli, folder: Path, film: Path, sound: Path | None, preview: str = "false", **tables: str
    ) -> None:
        self._cli = cli
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        all_tables = {
            "device": 'id = "lobby"\nname = "Lobby"',
            "camera": f'source = "{film}"\nloop = true',
            "microphone": f'source = "{sound}"\nloop = true' if sound else 'source = "none"',
            "mqtt": "enabled = false",
            "summary": "window_s = 1",
            "web": f"enabled = true\nport = {self.port}\npreview = {preview}",
            **tables,
        }
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(f"[{name}]\n{body}\n" for name, body in all_tables.items())
        (folder / "config.toml").write_text(text)

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self._folder / "state"

    @property
    def token(self) -> str:
        """What it made up."""
        return (self.state / "web-token").read_text().strip()

    def start(self, **environment: str) -> None:
        """Start, and wait until it answers."""
        state = {"EDGE_AGENT__DEVICE__STATE_DIR": str(self.state)}
        self._process = self._cli.start("run", "--config", str(self._folder / "config.toml"), **state, **environment)
        deadline = time.monotonic() + 40
        while not self._answers():
            assert self._process.poll() is None, self._process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("healthz")["status"])
        except (OSError, urllib.error.URLError):
            return False

    def stop(self) -> None:
        """Orderly."""
        if self._process is not None:
            self._process.terminate()
            output, _ = self._process.communicate(timeout=20)
            assert self._process.returncode == 0, output
            self._process = None

    def ask(self, path: str, value: object = None) -> Any:
        """A document; with ``value`` it is posted."""
        return json.loads(self.fetch(path, value))

    def fetch(self, path: str, value: object = None) -> bytes:
        """The body of an answer. Raises urllib.error.HTTPError."""
        body = None if value is None else json.dumps({"value": value}).encode()
        headers = {"Authorization": f"Bearer {self.token}"} if (self.state / "web-token").exists() else {}
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/{path}", body, headers), timeout=10) as answer:
            content: bytes = answer.read()
            return content

    def open_files(self) -> set[str]:
        """Of the agent's process."""
        assert self._process is not None
        folder = Path(f"/proc/{self._process.pid}/fd")
        found = set()
        for link in folder.iterdir():
            try:
                found.add(os.readlink(link))
            except FileNotFoundError:  # closed meanwhile
                continue
        return found
