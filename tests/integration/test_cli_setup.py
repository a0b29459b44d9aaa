"""``edge-agent setup``: with a person at a terminal, in a script, and what it refuses; a real broker throughout."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.dashboard import film
from tests.support.fixtures import MakeBroker
from tests.support.recordings import tone, write

PLAIN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
PASSWORD = "correct horse"


class Terminal:
    """A command at a pseudo-terminal of 80 columns."""

    def __init__(self, cli: Cli, *arguments: str) -> None:
        self._own, theirs = os.openpty()
        command = [str(cli.script), *arguments]
        environment = {**cli.environment, "COLUMNS": "80", "TERM": "xterm"}
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self.shown = ""
        self._after = 0

    def until(self, text: str, patience: float = 90.0) -> None:
        """Wait until it is shown, after what was waited for before."""
        deadline = time.monotonic() + patience
        while (found := self.shown.find(text, self._after)) < 0:
            assert time.monotonic() < deadline, f"not shown: {text!r} in {self.shown}"
            self._read()
        self._after = found + len(text)

    def _read(self) -> bool:
        if not select.select([self._own], [], [], 1.0)[0]:
            return True
        try:
            data = os.read(self._own, 65536)
        except OSError:  # the other side is closed
            return False
        self.shown += PLAIN.sub("", data.decode("utf-8", "replace"))
        return bool(data)

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._own, f"{text}\n".encode())

    def answer(self, question: str, text: str) -> None:
        """Type a line once that is asked."""
        self.until(question)
        self.type(text)

    def end(self) -> int:
        """The exit code."""
        while self._read():
            if self._process.poll() is not None and not select.select([self._own], [], [], 0.1)[0]:
                break
        return self._process.wait(60)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(20)
        os.close(self._own)


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("devices")
    sound = write(folder / "tone.wav", sound=tone(3.0)[:, None], rate=44_100)
    return film(folder / "face.mp4", 3.0), sound


@pytest.fixture
def terminals(cli: Cli) -> Iterator[list[Terminal]]:
    found: list[Terminal] = []
    yield found
    for terminal in found:
        terminal.close()


def test_a_person_is_asked_and_devices_and_broker_are_tried(
    cli: Cli, terminals: list[Terminal], devices: tuple[Path, Path], make_broker: MakeBroker, tmp_path: Path
) -> None:
    broker, config = make_broker(password=PASSWORD), tmp_path / "etc/edge-agent/config.toml"
    terminal = Terminal(cli, "setup", "--root", str(tmp_path))
    terminals.append(terminal)
    terminal.answer("Name of this device", "Hall <2>")
    terminal.answer("Number, or a source", "plugin:Nope!")
    terminal.answer("Use it all the same?", "n")
    terminal.answer("Number, or a source", str(devices[0]))
    terminal.until("1 in the picture")
    terminal.answer("Number, or a source", str(devices[1]))
    terminal.until("level █")
    terminal.until("dBFS")
    terminal.answer("Where does it stand?", "exhibition")
    terminal.answer("MQTT broker", f"127.0.0.1:{broker.port}")
    terminal.answer("User at the broker", "agent")
    terminal.answer("Password", "wrong")
    terminal.answer("Keep it all the same?", "n")
    terminal.answer("MQTT broker", f"127.0.0.1:{broker.port}")
    terminal.answer("User at the broker", "agent")
    terminal.answer("Password", PASSWORD)
    terminal.until(f"wrote {tmp_path}")
    assert terminal.end() == 0
    assert PASSWORD not in terminal.shown
    tables = tomllib.loads(config.read_text())
    assert tables["device"] == {"id": "Hall-2", "name": "Hall <2>"}
    assert tables["mqtt"] == {"host": "127.0.0.1", "port": broker.port, "username": "agent", "tls": {}}
    assert (tables["camera"]["source"], tables["privacy"]["context"]) == (str(devices[0]), "exhibition")
    secret = tmp_path / "etc/credstore/edge-agent.mqtt-password"
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == (f"{PASSWORD}\n", 0o600)
    assert PASSWORD not in config.read_text()
    unit = (tmp_path / "etc/systemd/system/edge-agent.service").read_text()
    assert "/opt/edge-agent" not in unit
    assert re.search(r"ExecStart=/\S+edge-agent run", unit)
    assert cli("config", "check", "--config", str(config)).returncode == 0
    again = Terminal(cli, "setup", "--root", str(tmp_path))
    terminals.append(again)
    again.answer("has settings. Replace it", "n")
    assert again.end() == 2
    assert "was left as it is" in again.shown


def test_a_script_asks_nothing_and_replaces_nothing_unasked(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("# a sample\n[device]\n#id = 'x'\n")
    given = ("--config", str(config), "--root", str(tmp_path), "--camera", "none", "--microphone", "none")
    first = cli("setup", "--yes", *given, "--name", "kiosk 7", "--broker", "none", "--context", "home")
    assert first.returncode == 0, first.stderr
    assert max(map(len, first.stdout.splitlines())) <= 80 + len(str(tmp_path))
    tables = tomllib.loads(config.read_text())
    assert (tables["device"]["id"], tables["mqtt"]["enabled"], tables["privacy"]["context"]) == (
        "kiosk-7",
        False,
        "home",
    )
    refused = cli("setup", "--yes", *given)
    assert refused.returncode == 2
    assert f"{config} has settings; --force replaces it" in refused.stderr
    forced = cli("setup", "--yes", "--force", *given, "--broker", "none")
    assert forced.returncode == 0, forced.stderr
    assert "kiosk 7" in (tmp_path / "agent.toml.old").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "needs a terminal; in a script give --yes"),
        (("--yes", "--context", "workplace"), "prohibits inferring emotions"),
        (("--yes", "--context", "pub"), "choose one of undeclared, home, public"),
        (("--yes", "--password-file", "/nowhere/p"), "the password cannot be read"),
        (("--yes", "--camera", "plugin:Nope!"), "plugin's name"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    quick = ("--microphone", "none", "--broker", "none", "--camera", "none")
    result = cli("setup", "--root", str(tmp_path), *quick, *arguments)
    assert result.returncode == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.rglob("*.toml")) == []
