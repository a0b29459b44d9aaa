"""What is wrong with the web side is told, costs the agent nothing, and mends itself where it can."""

from __future__ import annotations

import logging
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import ConnectionClosed
from websockets.sync import client

from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.errors import ConfigError
from edge_agent.live.bus import EventBus
from edge_agent.runtime.lifecycle import Stop
from edge_agent.runtime.supervisor import Beat
from edge_agent.settings import ConfigText, Settings
from edge_agent.web import batch, echo, hume, server, upload
from tests.support.cli import Cli
from tests.support.mosquitto import free_port
from tests.support.web_side import live_of

TOKEN = "0123456789abcdef-right"
ENABLED = "[web]\nenabled = true\n"
WITHOUT_EXTRA = "import sys; sys.modules[sys.argv.pop(1)] = None; from edge_agent.cli import main; main()"


# ---------------------------------------------------------------------- at the start


def test_without_the_extra_the_start_says_what_to_install(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(ENABLED)
    command = [sys.executable, "-c", WITHOUT_EXTRA, "uvicorn", "run", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=cli.environment, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "uvicorn" in line
    assert "pip install 'edge-emotion-agent[web]'" in line
    assert "web.enabled = false" in line


def test_a_token_file_that_is_not_there_ends_the_start(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'{ENABLED}token_file = "{tmp_path / "none"}"\n')
    done = cli("run", "--config", str(config))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert str(tmp_path / "none") in line
    assert "no such file" in line.lower()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "first line"),
        (b"\n0123456789abcdef\n", "first line"),
        (b"tooshort\n", "16 letters"),
        (b"a token of many words\n", "16 letters"),
        (b"0123456789abcdef\xff\xfe\n", "must be UTF-8"),
        (None, "is a folder: name the file"),
    ],
)
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "token"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as refused:
        server.token_of(Settings(web={"enabled": True, "token_file": str(file)}))
    assert str(file) in str(refused.value)
    assert "0123456789abcdef" not in str(refused.value)


def test_the_first_line_of_a_token_file_is_the_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"  {TOKEN}\r\nthe rest is a remark\n")
    assert server.token_of(Settings(web={"enabled": True, "token_file": str(tmp_path / "token")})) == TOKEN


def test_a_token_is_generated_once_and_private(tmp_path: Path) -> None:
    def settings(folder: str) -> Settings:
        return Settings(device={"state_dir": str(tmp_path / folder)}, web={"enabled": True})

    token = server.token_of(settings("one"))
    file = tmp_path / "one" / "web-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.read_text() == f"{token}\n"
    assert len(token) == 32
    assert server.token_of(settings("one")) == token
    assert server.token_of(settings("two")) != token
    file.write_text("")
    with pytest.raises(ConfigError, match="first line"):
        server.token_of(settings("one"))


def test_a_state_folder_that_cannot_be_written_does_not_end_the_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    settings = Settings(device={"state_dir": str(tmp_path / "file" / "state")}, web={"enabled": True})
    assert len(server.token_of(settings)) == 32
    assert "give a web.token_file" in caplog.text


# ---------------------------------------------------------------------- while running


@contextmanager
def served(agent: Agent) -> Iterator[Beat]:
    """The web side of ``agent`` running."""
    stop, beat = Stop(), Beat(SystemClock(lambda: True))
    thread = threading.Thread(
        target=server.component(live_of(agent), agent.remote.handlers, TOKEN).run, args=(beat, stop)
    )
    thread.start()
    try:
        yield beat
    finally:
        stop.request("the test is over")
        thread.join(20)
        assert not thread.is_alive()


def an_agent(state: Path, port: int, bus: EventBus, web: str = "") -> Agent:
    device = f'[device]\nid = "kiosk-1"\nstate_dir = "{state}"\n[plugins]\nallow = []\n'
    config = ConfigText("test", f"{device}{ENABLED}port = {port}\n{web}")
    settings = config.settings()
    return Agent(settings, PipelineBuilder(config, settings), bus=bus)


def asked(port: int, name: str, *headers: str, at: str = "127.0.0.1") -> int:
    """The status of a request to the server ``at`` that address, which is called ``name``; 0 when there is none."""
    lines = ["GET /healthz HTTP/1.1", f"Host: {name}", "Connection: close", *headers, "", ""]
    try:
        with socket.create_connection((at, port), 5) as sock:
            sock.sendall("\r\n".join(lines).encode())
            return int(sock.recv(100).split(b" ")[1])
    except OSError:
        return 0


def answers(port: int) -> bool:
    return asked(port, f"127.0.0.1:{port}") == 200


def until(condition: object, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_port_in_use_is_logged_and_retried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RETRY_S", 1.0)
    caplog.set_level(logging.INFO, "edge_agent")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        agent = an_agent(tmp_path, port, EventBus())
        with served(agent) as beat:
            until(lambda: caplog.text.count(f"cannot listen on 127.0.0.1:{port}: ") >= 2)
            assert "trying again in 1 s" in caplog.text
            assert beat.age < 2.0, "the supervisor would take it for hung"
            taken.close()
            until(lambda: answers(port))
    assert f"web: listening on 127.0.0.1:{port}" in caplog.text
    assert not answers(port), "it is over, and still there"


def test_it_answers_to_the_names_it_was_given_and_to_no_others(tmp_path: Path) -> None:
    """Also at an address of IPv6, and behind a proxy that speaks TLS for it."""
    addresses = Path("/proc/net/if_inet6")
    if not (addresses.exists() and f"{1:032x} " in addresses.read_text()):
        pytest.skip("needs IPv6")
    port = free_port()
    with served(an_agent(tmp_path, port, EventBus(), 'host = "::1"\nallowed_hosts = ["Kiosk.example"]\n')):
        until(lambda: asked(port, f"[::1]:{port}", at="::1") == 200)
        for name in ("kiosk.example", "KIOSK.example:443", f"localhost:{port}", "[::1]"):
            assert asked(port, name, at="::1") == 200, name
        for name in ("example", "kiosk.example.org", "kiosk.example:x", "kiosk.example, localhost", "[::1", "::1", ""):
            assert asked(port, name, at="::1") in (400, 421), name
        assert asked(port, "kiosk.example", "Origin: https://kiosk.example", at="::1") == 200
        assert asked(port, "kiosk.example", "Origin: https://kiosk.example:444", at="::1") == 403
        assert asked(port, "kiosk.example", "Host: localhost", at="::1") == 400, "two names"


def test_an_unexpected_failure_is_logged_and_retried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RETRY_S", 1.0)
    monkeypatch.setattr(server, "make_app", lambda *_args: 1 / 0)
    with served(an_agent(tmp_path, free_port(), EventBus())) as beat:
        until(lambda: caplog.text.count("web: failed; trying again") >= 2)
        assert beat.age < 2.0
    assert "ZeroDivisionError" in caplog.text


def hear_out(live: client.ClientConnection) -> None:
    while "health" in str(live.recv(5)):
        pass


def test_clients_are_let_go_when_it_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Soon, with a word to those who listen, and without noise in the log."""
    port, bus = free_port(), EventBus()
    bearer = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with ExitStack() as stack:
        with served(an_agent(tmp_path, port, bus)):
            until(lambda: answers(port))
            feed = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            feed.sendall(f"GET /stream-emotion-feed HTTP/1.1\r\n{bearer}".encode())
            address = f"ws://127.0.0.1:{port}/api/v1/live?token={TOKEN}"
            live = stack.enter_context(client.connect(address))
            bus.publish("health", {"status": "ok"})
            assert "health" in live.recv(20)
            assert feed.recv(4096).startswith(b"HTTP/1.1 200")
            began = time.monotonic()
        assert time.monotonic() - began < 1.5
        with pytest.raises(ConnectionClosed) as closed:
            hear_out(live)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code in (1001, 1012)  # going away, service restart
        said = b""
        while chunk := feed.recv(4096):
            said += chunk
        assert said.endswith(b"0\r\n\r\n"), "the feed was torn"
    assert not caplog.records


def test_only_where_pictures_and_sound_are_sent_may_messages_be_large() -> None:
    talkative = [route.path for route in (*hume.routes(), *echo.routes()) if isinstance(route, WebSocketRoute)]
    talkative.remove("/ws/emotion")  # it is sent text only
    assert sorted(server.TALKATIVE) == sorted(talkative)
    routes = [route for route in upload.routes(health=None) if isinstance(route, Route)]
    uploads = {route.path for route in routes if "POST" in (route.methods or ())}
    assert set(server.ROOMY) == uploads | {"/video-stream/face-recognition", batch.PATH, batch.CUSTOM_PATH}


# ---------------------------------------------------------------------- what is delivered


def test_the_wheel_has_the_pages(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True, timeout=100)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = {name.removeprefix("edge_agent/web/") for name in wheel.namelist()}
    here = repository / "edge_agent" / "web"
    wanted = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {"static/docs.html", "static/index.html", "static/main.js"} <= wanted <= names
