"""``edge-agent watch`` beside a running agent and a real broker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto


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
    shown = cli("watch", "--host", "127.0.0.1", "--port", str(broker.port), "--json", "--count", "8")
    assert shown.returncode == 0, shown.stderr
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(rows) == 8
    assert {"edge-agent/kiosk-1/status", "edge-agent/kiosk-1/summary"} <= {row["topic"] for row in rows}
    assert not any(row["topic"].endswith("/pacing") for row in rows)
