"""Whatever names, payloads and locales hold, and wherever the output goes: a result, or one line that says why not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Subscriber

OWNED = "\x1b]0;owned\x07"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.jpg"
    Image.fromarray(data.astronaut()).save(path)
    return path


def call(cli: Cli, *arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """As :class:`Cli`, in bytes, for arguments that are no text."""
    script, *rest = (os.fsencode(cli.script), *(os.fsencode(a) for a in arguments))
    found = {**cli.environment, **environment}
    return subprocess.run([script, *rest], capture_output=True, timeout=110, env=found, check=False)


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_a_name_that_is_no_utf8_is_spelled_out(cli: Cli, picture: Path, locale: str) -> None:
    name = os.fsencode(picture.parent) + b"/caf\xe9.jpg"
    picture.rename(os.fsdecode(name))
    report = picture.parent / "r.html"
    result = call(cli, "analyze", "-f", "json", "--html", str(report), name, LC_ALL=locale)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.decode("utf-8"))["source"].endswith(r"caf\xe9.jpg")
    assert r"<title>caf\xe9.jpg" in report.read_text(encoding="utf-8")
    for form in ("csv", "table", "jsonl"):
        again = call(cli, "analyze", "-f", form, name, LC_ALL=locale)
        assert again.returncode == 0, again.stderr
        assert rb"caf\xe9.jpg" in again.stdout.replace(rb"\\", b"\\")


def test_characters_outside_the_locale_are_escaped(cli: Cli, tmp_path: Path) -> None:
    latin = {"PYTHONIOENCODING": "iso-8859-1", "EDGE_AGENT__DEVICE__NAME": "Küche → Flur"}
    state = {"EDGE_AGENT__DEVICE__STATE_DIR": str(tmp_path)}
    result = call(cli, "doctor", "--no-devices", **latin, **state)
    assert b"Traceback" not in result.stderr
    assert rb"\u2192" in result.stdout
    shown = call(cli, "config", "show", "--json", **latin)
    assert shown.stdout.isascii()
    assert json.loads(shown.stdout)["device"]["name"] == "Küche → Flur"


@pytest.mark.parametrize(
    "command", [("config", "show"), ("config", "init"), ("models", "list"), ("plugins", "list"), ("--version",)]
)
def test_a_full_disk_is_one_line(cli: Cli, command: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [cli.script, *command], stdout=full, stderr=subprocess.PIPE, text=True, env=cli.environment, check=False
        )
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("edge-agent:")]
    assert lines == ["edge-agent: the output cannot be written: No space left on device"]
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_a_reader_that_has_gone_is_no_reason_to_complain(cli: Cli) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [cli.script, "config", "init"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env=cli.environment,
        check=False,
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


def test_names_are_no_markup_and_command_no_terminal(cli: Cli, picture: Path) -> None:
    for name in ("Talk [dQw4w9WgXcQ].jpg", f"[bold]x{OWNED}.jpg"):
        path = picture.with_name(name)
        shutil.copy(picture, path)
        result = cli("analyze", "-f", "table", str(path), COLUMNS="400")
        assert result.returncode == 0, result.stderr
        assert name.replace(OWNED, r"\x1b]0;owned\x07") in result.stdout
        assert "\x1b]" not in result.stdout
    result = cli("analyze", str(picture.with_name(f"[red]{OWNED}.jpg")))
    assert r"[red]\x1b]0;owned\x07.jpg: no such file" in result.stderr
    assert "\x1b" not in result.stderr


def test_a_damaged_file_does_not_affect_the_others(cli: Cli, picture: Path) -> None:
    """It opens, so that the check before the start passes, and fails in the middle of the work."""
    damaged = picture.with_name("damaged.jpg")
    damaged.write_bytes(picture.read_bytes()[:1200])
    result = cli("analyze", "-f", "jsonl", str(damaged), str(picture))
    assert result.returncode == 3
    assert [json.loads(line)["source"] for line in result.stdout.splitlines() if '"report"' in line] == [str(picture)]
    assert str(damaged) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_report_that_cannot_be_written_is_printed_instead(cli: Cli, picture: Path) -> None:
    result = cli("analyze", "--html", "/dev/full", str(picture))
    assert result.returncode == 3
    assert "/dev/full: the report cannot be written: No space left on device" in result.stderr
    assert json.loads(result.stdout)["source"] == str(picture)


def test_watch_shows_payloads_as_text(cli: Cli, broker: Mosquitto) -> None:
    watching = cli.start("watch", "--host", "127.0.0.1", "--port", str(broker.port), "--count", "2")
    with Subscriber(broker.port) as publisher:
        publisher.publish("edge-agent/[b]/status", f"[red]on{OWNED}\nline".encode(), retain=True)
        publisher.publish("edge-agent/kiosk/health", b"[" * 3000, retain=True)
        output, _ = watching.communicate(timeout=60)
    assert "[b]" in output
    assert r"[red]on\x1b]0;owned\x07\nline" in output
    assert "kiosk" in output
    assert "not understood" in output
    assert "\x1b" not in output


def test_watch_ends_with_a_closed_pipe(cli: Cli, broker: Mosquitto) -> None:
    with Subscriber(broker.port) as publisher:
        publisher.publish("edge-agent/kiosk/status", b"online", retain=True)
        with open("/dev/full", "w") as full:
            result = subprocess.run(
                [cli.script, "watch", "--host", "127.0.0.1", "--port", str(broker.port)],
                stdout=full, stderr=subprocess.PIPE, text=True, env=cli.environment, check=False, timeout=60,
            )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr == "edge-agent: the output cannot be written: No space left on device\n"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="becoming a number takes root")
def test_a_user_without_a_name_and_a_home_is_one_line_away_from_working(cli: Cli, tmp_path: Path) -> None:
    """As in a container that runs as a number. It may read what root may, for the interpreter may stand in /root."""
    number = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "--inh-caps", "+dac_read_search",
              "--ambient-caps", "+dac_read_search", "env", "-i", f"PATH={os.environ['PATH']}"]  # fmt: skip

    def as_number(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        pairs = [f"{name}={value}" for name, value in environment.items()]
        command = [*number, *pairs, str(cli.script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)

    for command in (("config", "init"), ("config", "check"), ("plugins", "list"), ("models", "list")):
        result = as_number(*command)
        assert result.returncode == 0, result.stderr
        assert result.stdout
    refused = as_number("run", EDGE_AGENT__CAMERA__SOURCE="~/x.mp4")
    assert refused.returncode == 2
    assert "there is no home folder to use for ~" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
