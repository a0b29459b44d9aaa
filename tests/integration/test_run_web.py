"""The web side of a running daemon over reloads: the same port again, switched off and on, and nothing left behind."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync import client

from edge_agent.app.daemon import ConfigFile, Daemon
from edge_agent.cli.run import web_side
from edge_agent.runtime.lifecycle import Stop
from tests.support.mosquitto import free_port

TOKEN = "0123456789abcdef-right"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Running:
    """A daemon without devices in this process; ``write`` changes its config."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "config.toml"
        self._state = folder / "state"
        self.token_file = folder / "token"
        self.token_file.write_text(TOKEN)
        self.hangup = threading.Event()
        self.write()

    def write(self, web: str = "", *, enabled: bool = True) -> None:
        self._config.write_text(
            f'[device]\nid = "kiosk-1"\nstate_dir = "{self._state}"\n[plugins]\nallow = []\n[mqtt]\nenabled = false\n'
            f'[camera]\nsource = "none"\n[microphone]\nsource = "none"\n'
            f'[web]\nenabled = {str(enabled).lower()}\nport = {self.port}\ntoken_file = "{self.token_file}"\n{web}'
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = Stop()
        daemon = Daemon(ConfigFile(self._config), stop, self.hangup, web=partial(web_side, self._config))
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            until(self.boot)
            yield
        finally:
            stop.request("the test is over")
            thread.join(20)
            assert not thread.is_alive()

    def boot(self, token: str = TOKEN) -> str:
        """Which agent answers; empty when none does, or not to that token."""
        headers = {"Authorization": f"Bearer {token}"}
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/api/v1/status", headers=headers, timeout=5)
        except httpx.TransportError:
            return ""
        return str(answer.json().get("boot_id", ""))

    def reload(self, web: str) -> None:
        """Until another agent answers."""
        before = self.boot()
        self.write(web)
        until(lambda: self.boot() not in ("", before))


def until(condition: Callable[[], object], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate())


class Nothing:
    """That this process has no more descriptors and the same threads as now; httpx and uvicorn take a moment."""

    def __init__(self) -> None:
        self._before = threads()
        self._descriptors = self._open()

    def left(self) -> bool:
        return threads() == self._before and self._open() <= self._descriptors

    @staticmethod
    def _open() -> int:
        return len(os.listdir("/proc/self/fd"))


def drain(live: client.ClientConnection) -> None:
    while True:
        live.recv(5)


def listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path)
    with found.running():
        yield found
    assert not listening(found.port)


def test_live_clients_are_disconnected_at_a_reload(daemon: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Without a word in the log, on the same port again, and with nothing left behind."""
    caplog.set_level(logging.INFO)
    daemon.reload("clients = 10")
    nothing = Nothing()
    for clients in (11, 12):
        url = f"127.0.0.1:{daemon.port}"
        with (
            client.connect(f"ws://{url}/api/v1/live", additional_headers=BEARER) as live,
            httpx.stream("GET", f"http://{url}/stream-emotion-feed", headers=BEARER) as feed,
        ):
            assert live.recv(5)
            lines = feed.iter_lines()
            assert next(lines)
            daemon.reload(f"clients = {clients}")
            assert list(lines)[-1:] == [""], "it broke off in the middle"
            with pytest.raises(ConnectionClosed) as over:
                drain(live)
            assert over.value.rcvd is not None
            assert (over.value.rcvd.code, "begins anew" in over.value.rcvd.reason) == (1012, True)
    until(nothing.left)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_switched_off_and_on_while_running(daemon: Running) -> None:
    nothing, boot = Nothing(), daemon.boot()
    daemon.write(enabled=False)
    until(lambda: not listening(daemon.port))
    until(lambda: "web" not in threads() and "summariser" in threads())
    daemon.write()
    until(daemon.boot)
    assert daemon.boot() != boot
    until(nothing.left)


def test_another_token_in_the_same_file_holds_from_the_next_hangup(daemon: Running) -> None:
    boot = daemon.boot()
    daemon.hangup.set()
    until(lambda: not daemon.hangup.is_set())
    time.sleep(1.0)
    assert daemon.boot() == boot, "nothing has changed"
    daemon.token_file.write_text("another-0123456789abcdef")
    time.sleep(1.0)
    assert daemon.boot() == boot, "nobody asked"
    daemon.hangup.set()
    until(lambda: daemon.boot("another-0123456789abcdef"))
    assert not daemon.boot(TOKEN)
