"""What a user does wrong ends in one line that says what to do, and in a distinct exit code."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent import __version__
from tests.support.cli import Cli
from tests.support.soak import NotifySocket


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_version(cli: Cli) -> None:
    assert cli("--version").stdout.strip() == f"edge-agent {__version__}"


@pytest.mark.parametrize(
    "command", [(), ("run",), ("analyze",), ("models",), ("plugins",), ("config",), ("outbox",), ("demo",)]
)
def test_every_command_explains_itself(cli: Cli, command: tuple[str, ...]) -> None:
    result = cli(*command, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout
    assert "edge-agent" in result.stdout


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("[mqtt\n", "line 1", "not valid TOML"),
        ("[mqtt]\n\nhots = 'broker'\n", "line 3", "did you mean 'hosts'"),
        ("[camera]\nfps = 'fast'\n", "line 2", "camera.fps"),
        ("[analyzers.face]\nmin_scor = 1\n", "line 2", "did you mean 'min_score'"),
        ("[analyzers.fase]\nenabled = true\n", "line 1", "did you mean 'face'"),
    ],
)
def test_bad_configuration_names_the_line(cli: Cli, tmp_path: Path, text: str, line: str, hint: str) -> None:
    """Row 32, at the start: not TOML, unknown and ill-typed options: exit 2, one line with its number and a hint."""
    result = cli("config", "check", "-c", write(tmp_path / "c.toml", text))
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert line in result.stderr
    assert hint in result.stderr


def test_a_missing_config_file_says_how_to_make_one(cli: Cli, tmp_path: Path) -> None:
    result = cli("run", "-c", str(tmp_path / "none.toml"))
    assert result.returncode == 2
    assert "config init" in result.stderr


def test_an_unknown_environment_variable_is_refused(cli: Cli) -> None:
    result = cli("config", "check", EDGE_AGENT__MQQT__HOST="x")
    assert result.returncode == 2
    assert "did you mean 'mqtt'" in result.stderr


def test_init_check_show_make_a_round(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert cli("config", "init", str(path)).returncode == 0
    assert cli("config", "init", str(path)).returncode == 2  # never overwrites silently
    assert cli("config", "check", "-c", str(path)).returncode == 0
    shown = cli("config", "show", "-c", str(path), "--json")
    assert json.loads(shown.stdout)["mqtt"]["host"] == "localhost"


def test_show_masks_the_password(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "[mqtt]\nusername = 'me'\npassword = 'correct horse'\n")
    for arguments in (("--json",), ()):
        result = cli("config", "show", "-c", path, *arguments)
        assert result.returncode == 0, result.stderr
        assert "correct horse" not in result.stdout + result.stderr


def test_a_damaged_model_costs_its_analyzer_only(cli: Cli, tmp_path: Path) -> None:
    store = tmp_path / "models"
    store.mkdir()
    (store / "blazeface-short.tflite").write_bytes(b"not the model")
    (store / "blazeface-full.tflite").write_bytes(b"not the model")
    result = cli("plugins", "list", "--json", EDGE_AGENT__MODELS__DIR=str(store))
    assert result.returncode == 0, result.stderr
    by_name = {row["name"]: row for row in json.loads(result.stdout)}
    assert by_name["face"]["status"] == "load-error"
    assert "edge-agent models pull" in by_name["face"]["detail"]
    assert by_name["emotion"]["status"] == "enabled"


def test_an_unwritable_state_directory_is_explained(cli: Cli, tmp_path: Path, eventually: Callable[..., Any]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    config = write(
        tmp_path / "c.toml",
        '[camera]\nsource = "none"\n[microphone]\nsource = "none"\n[mqtt]\nport = 1\n[models]\nauto_pull = false\n',
    )
    notify = NotifySocket(tmp_path / "notify")
    environment = {"EDGE_AGENT__DEVICE__STATE_DIR": f"{blocked}/state", "NOTIFY_SOCKET": str(notify.path)}
    agent = cli.start("run", "-c", config, **environment)
    try:
        # It works from memory rather than not at all: ready, and alive from then on.
        eventually(lambda: (notify.ready and len(notify.pings) > 2) or agent.poll() is not None, timeout=60)
        assert agent.poll() is None
    finally:
        agent.terminate()
        output, _ = agent.communicate(timeout=20)
        notify.close()
    assert agent.returncode == 0
    assert "Traceback" not in output
    assert f"{blocked} is not a folder: move it away, or set device.state_dir" in output


def test_a_damaged_model_fails_the_analysis(cli: Cli, tmp_path: Path) -> None:
    store = tmp_path / "models"
    store.mkdir()
    (store / "blazeface-short.tflite").write_bytes(b"not the model")
    (store / "blazeface-full.tflite").write_bytes(b"not the model")
    sound = tmp_path / "silence.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 16000, 16000, "NONE", "not compressed"))
        file.writeframes(bytes(32000))
    result = cli("analyze", str(sound), EDGE_AGENT__MODELS__DIR=str(store))
    assert result.returncode == 4
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "edge-agent models pull" in result.stderr


def test_watch_reports_why_there_are_no_messages(cli: Cli) -> None:
    watching = cli.start("watch", "--host", "127.0.0.1", "--port", "1")
    try:
        assert watching.stdout is not None
        assert "trying again" in watching.stdout.readline()
    finally:
        watching.terminate()
        watching.communicate(timeout=20)


def test_the_demo_leaves_a_real_device_alone(cli: Cli, tmp_path: Path) -> None:
    state = tmp_path / "state"
    result = cli(
        "demo",
        "--seconds",
        "6",
        "--window",
        "2",
        EDGE_AGENT__DEVICE__STATE_DIR=str(state),
        EDGE_AGENT__DEVICE__ID="real",
        EDGE_AGENT__MQTT__PORT="1",
    )
    assert result.returncode == 0, result.stderr
    assert "1.0 faces" in result.stdout
    assert not state.exists()


@pytest.mark.parametrize("host", ["mqtt://localhost", "localhost:1883", "[::1]", " localhost ", "wss://localhost/mqtt"])
def test_a_broker_address_that_is_more_than_a_host_is_refused_with_what_to_write(cli: Cli, host: str) -> None:
    """Case 12: config check called it fine, and run tried for ever."""
    result = cli("config", "check", EDGE_AGENT__MQTT__HOST=host)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "EDGE_AGENT__MQTT__HOST" in result.stderr
    assert 'write host = "' in result.stderr
