"""The web side of an agent without devices, and requests to it byte by byte."""

from __future__ import annotations

import base64
import secrets
import socket
import threading
import time
from pathlib import Path

from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder
from edge_agent.domain.clock import SystemClock
from edge_agent.live import EventBus, Live
from edge_agent.runtime.lifecycle import Stop
from edge_agent.runtime.supervisor import Beat
from edge_agent.settings import ConfigText
from edge_agent.web import server
from tests.support.mosquitto import free_port

TOKEN = "0123456789abcdef-right"
BEARER = f"Authorization: Bearer {TOKEN}"


def live_of(agent: Agent) -> Live:
    """The view of an agent that was made with an event bus."""
    assert agent.live is not None
    return agent.live


class Web:
    """The web side of an agent without devices, on a free port; ``bus`` is where it looks; ``more`` of ``[web]``
    and of ``[device]``."""

    def __init__(self, state: Path, more: str = "", device: str = "") -> None:
        self.port = free_port()
        text = (
            f'[device]\nid = "kiosk-1"\nstate_dir = "{state}"\n{device}\n[plugins]\nallow = []\n'
            '[camera]\nsource = "none"\n[microphone]\nsource = "none"\n'
            f'[web]\nenabled = true\nport = {self.port}\ntoken = "{TOKEN}"\n{more}\n'
        )
        config = ConfigText("test", text)
        settings = config.settings()
        self.bus = EventBus()
        self.agent = Agent(settings, PipelineBuilder(config, settings), bus=self.bus)
        self.live = live_of(self.agent)
        self._stop = Stop()
        self.beat = Beat(SystemClock(lambda: True))
        run = server.component(self.live, self.agent.remote.handlers, server.token_of(settings)).run
        self._thread = threading.Thread(target=run, args=(self.beat, self._stop))
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < deadline, "the web side did not start"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def connect(self) -> socket.socket:
        """A connection that gives up after 20 s."""
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def ask(self, method: str, path: str, *headers: str, body: bytes = b"", host: str = "") -> tuple[int, bytes]:
        """Status and body of one request, its bytes as given."""
        with self.connect() as sock:
            sock.sendall(head(method, path, f"Host: {host or f'127.0.0.1:{self.port}'}", "Connection: close", *headers))
            sock.sendall(body)
            return answer(sock)

    def stop(self) -> None:
        self._stop.request("the test is over")
        self._thread.join(20)
        assert not self._thread.is_alive()


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", *headers, "", ""]).encode("latin-1")


def answer(sock: socket.socket) -> tuple[int, bytes]:
    """Status and the rest, read until the server closes; status 0 when it said nothing."""
    received = b""
    try:
        while chunk := sock.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    status = int(received.split(b" ", 2)[1]) if received else 0
    return status, received.partition(b"\r\n\r\n")[2]


def upgrade(web: Web, *headers: str, path: str = "/api/v1/live") -> bytes:
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    return head(
        "GET", path, f"Host: 127.0.0.1:{web.port}", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *headers,
    )  # fmt: skip
