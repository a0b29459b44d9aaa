"""``edge-agent watch`` beside a running agent and a real broker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Subscriber


@pytest.fixture
def agent(cli: Cli, broker: Mosquitto, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    config = tmp_path / "config.toml"
    config.write_text(
        '[device]\nid = "kiosk-1"\n[camera]\nsource = "demo"\n[microphone]\nsource = "none"\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[summary]\nwindow_s = 2\n[pacing]\nexplain = true\n'
    )
    process = cli.start("run", "-c", str(config), EDGE_AGENT__DEVICE__STATE_DIR=str(tmp_path / "state"))
    yield process
    process.terminate()
    process.communicate(timeout=20)


@pytest.mark.usefixtures("agent")
def test_lines_for_people_and_the_reasons(cli: Cli, broker: Mosquitto) -> None:
    shown = cli("watch", "--host", "127.0.0.1", "--port", str(broker.port), "--why", "--count", "12")
    assert shown.returncode == 0, shown.stderr
    assert "online" in shown.stdout
    assert "faces" in shown.stdout
    assert "next look in" in shown.stdout
    assert "not understood" not in shown.stdout


@pytest.mark.usefixtures("agent")
def test_json_for_programs(cli: Cli, broker: Mosquitto) -> None:
    shown = cli("watch", "--host", "127.0.0.1", "--port", str(broker.port), "--json", "--count", "12")
    assert shown.returncode == 0, shown.stderr
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(rows) == 12
    assert {"edge-agent/kiosk-1/status", "edge-agent/kiosk-1/summary"} <= {row["topic"] for row in rows}
    assert not any(row["topic"].endswith("/pacing") for row in rows)


def test_a_prefix_with_a_slash_at_its_end_names_the_same_topics(cli: Cli, broker: Mosquitto) -> None:
    """Case 13: the agent published below home/edge/, and watch listened to home/edge//+/#."""
    with Subscriber(broker.port) as publisher:
        publisher.publish("home/edge/kiosk-1/status", b"online", retain=True)
        at = {"EDGE_AGENT__MQTT__PREFIX": "home/edge/", "EDGE_AGENT__MQTT__HOST": "127.0.0.1"}
        shown = cli("watch", "--port", str(broker.port), "--count", "1", timeout=60, **at)
    assert (shown.returncode, shown.stdout.split()) == (0, ["kiosk-1", "status", "online"]), shown.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--host", "mqtt://u:s3cret@h:1883", 'host = "h", port = 1883'),
        ("--port", "70000", "65535"),
        ("--device", "#", "+"),
    ],
)
def test_an_address_or_device_that_is_none_is_refused_in_one_line(cli: Cli, option: str, value: str, said: str) -> None:
    shown = cli("watch", option, value, timeout=60)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert len(shown.stderr.strip().splitlines()) == 1
    assert said in shown.stderr
    assert "s3cret" not in shown.stderr
