"""What systemd would receive, on a real datagram socket: with a path, and in the abstract namespace."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.runtime.lifecycle import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The service manager's end, and the value of NOTIFY_SOCKET."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@edge-agent-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + address[1:] if address.startswith("@") else address)
        receiver.settimeout(10)
        yield receiver, address


def test_every_notification_arrives_as_one_datagram(manager: tuple[socket.socket, str]) -> None:
    receiver, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    for send, expected in (
        (lambda: notifier.ready("watching as kiosk"), "READY=1\nSTATUS=watching as kiosk"),
        (lambda: notifier.status("camera: ü"), "STATUS=camera: ü"),
        (notifier.watchdog, "WATCHDOG=1"),
        (lambda: notifier.busy("fetching", 30.0), "STATUS=fetching\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC=30000000"),
        (lambda: notifier.watchdog_limit(90.5), "WATCHDOG_USEC=90500000"),
        (notifier.stopping, "STOPPING=1"),
    ):
        send()
        assert receiver.recv(4096).decode() == expected


@pytest.mark.parametrize(("value", "seconds"), [("30000000", 30.0), ("", None), ("soon", None)])
def test_the_units_watchdog_is_known(value: str, seconds: float | None) -> None:
    assert Notifier({"WATCHDOG_USEC": value}).watchdog_s == seconds
    assert Notifier({}).watchdog_s is None


def test_a_multiline_status_cannot_inject_an_assignment(manager: tuple[socket.socket, str]) -> None:
    receiver, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.status("lost\nWATCHDOG=trigger\n")
    notifier.ready("a\nSTOPPING=1")
    assert receiver.recv(4096).decode() == "STATUS=lost WATCHDOG=trigger"
    assert receiver.recv(4096).decode() == "READY=1\nSTATUS=a STOPPING=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    for notifier in (Notifier(), Notifier({}), Notifier({"NOTIFY_SOCKET": ""})):
        assert notifier.watchdog() is None


def test_the_socket_is_found_in_the_environment(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, address = manager
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    Notifier().watchdog()
    assert receiver.recv(4096) == b"WATCHDOG=1"


def test_a_manager_that_is_gone_is_logged_and_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("up")
    assert "cannot notify systemd" in caplog.text


def test_a_manager_that_does_not_read_cannot_block_the_agent(
    manager: tuple[socket.socket, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The queue of a datagram socket is short; then sending would block without the time limit."""
    _, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    sent = 0
    while "cannot notify systemd" not in caplog.text:
        notifier.watchdog()
        sent += 1
        assert sent < 10_000
    assert "timed out" in caplog.text
