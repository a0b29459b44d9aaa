"""A start that waits for models on a network that takes connections and answers nothing: systemd hears of it."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli

CONFIG = """
[device]
id = "kiosk-1"
[camera]
source = "none"
[microphone]
source = "none"
[plugins]
allow = ["face"]
"""


@pytest.fixture
def silent_proxy() -> Iterator[str]:
    """Takes connections into its backlog and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_slow_download_neither_starves_the_watchdog_nor_holds_up_a_stop(
    cli: Cli, silent_proxy: str, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    told: list[tuple[float, str]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0.1)
        process = cli.start(
            "run",
            "--config",
            str(config),
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            EDGE_AGENT__DEVICE__STATE_DIR=str(tmp_path / "state"),
            EDGE_AGENT__MODELS__DIR=str(tmp_path / "models"),
            EDGE_AGENT__MODELS__AUTO_PULL="true",
            https_proxy=silent_proxy,
            HTTPS_PROXY=silent_proxy,
            no_proxy="",
            NO_PROXY="",
        )

        def pinged() -> int:
            with contextlib.suppress(TimeoutError):
                told.append((time.monotonic(), manager.recv(4096).decode()))
            assert process.poll() is None, process.communicate()[0]
            return sum("fetching models" in message for _, message in told) >= 6

        try:
            eventually(pinged, timeout=60)
            assert not any(message.startswith("READY=1") for _, message in told)
            pings = [(at, message) for at, message in told if "WATCHDOG=1" in message]
            assert all("EXTEND_TIMEOUT_USEC=" in message for _, message in pings)
            gaps = [b[0] - a[0] for a, b in itertools.pairwise(pings)]
            assert max(gaps) < 15, "half of WatchdogSec"
            process.terminate()
            began = time.monotonic()
            output, _ = process.communicate(timeout=20)
            assert time.monotonic() - began < 9, "TimeoutStopSec is 10 s"
            assert process.returncode == 0, output
        finally:
            process.kill()


@pytest.mark.parametrize("usual", ["0.001", "3600"])
def test_where_a_start_takes_long_the_watchdog_waits_longer(usual: str, cli: Cli, tmp_path: Path) -> None:
    """On a starved machine a tick of the main loop takes longer than WatchdogSec: the agent was restarted for ever."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        process = cli.start(
            "run",
            "--config",
            str(config),
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC=f"{float(usual) * 1e6:.0f}",
            EDGE_AGENT__DEVICE__STATE_DIR=str(tmp_path / "state"),
            EDGE_AGENT__MODELS__AUTO_PULL="false",
        )
        try:
            while not told or "READY=1" not in told[-1]:
                told.append(manager.recv(4096).decode())
        finally:
            process.kill()
            process.wait(10)
    limits = [int(message.removeprefix("WATCHDOG_USEC=")) for message in told if message.startswith("WATCHDOG_USEC=")]
    assert len(limits) == (usual == "0.001"), told
    assert all(1_000 < limit <= 300_000_000 for limit in limits)


def test_a_stop_asks_for_the_time_that_a_starved_machine_needs(cli: Cli, tmp_path: Path) -> None:
    """Where each step takes seconds, TimeoutStopSec=10 would kill the agent before its open window is stored."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        process = cli.start(
            "run",
            "--config",
            str(config),
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            EDGE_AGENT__DEVICE__STATE_DIR=str(tmp_path / "state"),
            EDGE_AGENT__MODELS__AUTO_PULL="false",
        )
        try:
            while not told or "READY=1" not in told[-1]:
                told.append(manager.recv(4096).decode())
            process.terminate()
            while told[-1] != "STOPPING=1":
                told.append(manager.recv(4096).decode())
            stopping: list[str] = []
            while len(stopping) < 3:
                message = manager.recv(4096).decode()
                stopping += [message] if message.startswith("EXTEND_TIMEOUT_USEC=") else []
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait(10)
    asked = [int(message.removeprefix("EXTEND_TIMEOUT_USEC=")) for message in stopping]
    assert min(asked) > 10_000_000, "more than TimeoutStopSec, at each step"
