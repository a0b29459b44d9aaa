"""``edge-agent run`` with its web side, as a process of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync import client

from tests.support.cli import Cli
from tests.support.mosquitto import free_port


def wait_for(condition: Callable[[], Any], what: str, within: float = 60.0) -> None:
    """Until ``condition`` holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(0.1)


class WebAgent:
    """Started on ``folder``, whose ``state`` is its state; ``tables`` are those of the config, by name."""

    def __init__(self, cli: Cli, folder: Path, web: str = "", **tables: str) -> None:
        self.port = free_port()
        self.state = folder / "state"
        self.config = folder / "config.toml"
        tables = {"device": 'id = "kiosk-1"', "web": f"enabled = true\nport = {self.port}\n{web}", **tables}
        self.config.write_text("".join(f"[{name}]\n{body}\n" for name, body in tables.items()))
        self._cli = cli
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Run it, without waiting for anything."""
        self.process = self._cli.start(
            "run", "--config", str(self.config), EDGE_AGENT__DEVICE__STATE_DIR=str(self.state)
        )

    def end(self) -> str:
        """SIGTERM; what it logged."""
        assert self.process is not None
        self.process.terminate()
        try:
            output, _ = self.process.communicate(timeout=20)
        finally:
            self.process.kill()
        assert self.process.returncode == 0, output
        return output

    @property
    def token(self) -> str:
        """That which the agent made up for itself."""
        return (self.state / "web-token").read_text().strip()

    def http(self, **headers: str) -> httpx.Client:
        """A client without the token."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=20)

    def answers(self) -> bool:
        """Whether the web side is there."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(self.process.communicate()[0])
        try:
            return self.http().get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    @contextmanager
    def live(self, token: str) -> Iterator[Iterator[dict[str, Any]]]:
        """The messages of ``/api/v1/live``."""
        headers = {"Authorization": f"Bearer {token}"}
        with client.connect(f"ws://127.0.0.1:{self.port}/api/v1/live", additional_headers=headers) as socket:
            yield (json.loads(socket.recv(30)) for _ in iter(int, 1))


@contextmanager
def running(cli: Cli, folder: Path, web: str = "", **tables: str) -> Iterator[WebAgent]:
    """Such an agent, until the block ends."""
    agent = WebAgent(cli, folder, web, **tables)
    agent.start()
    try:
        wait_for(agent.answers, "the web side")
        yield agent
    finally:
        agent.end()
