"""``edge-agent outbox`` as a user sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.domain.errors import AlreadyRunningError, DeliveryError
from tests.support.outboxes import MQTT, make_outbox
from tests.support.payloads import validated
from tests.support.windows import event_draft, summary_draft


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config file whose state directory lies beside it."""
    file = tmp_path / "config.toml"
    file.write_text(f'[device]\nstate_dir = "{tmp_path / "state"}"\n', encoding="utf-8")
    return file


def _outbox(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from edge_agent.cli import main; main()", "outbox", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, check=False)


def test_stats_and_export_beside_a_running_agent_and_purge_when_it_is_stopped(config: Path, tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path / "state" / "outbox")
    outbox.put([summary_draft(0.0), event_draft(3.0), summary_draft(10.0)])
    outbox.dead_letter(MQTT, [outbox.lease(MQTT, 1)[0].id], "packet too large")

    stats = json.loads(_outbox("stats", "--json", "--config", config).stdout)
    assert {name: stats[name] for name in ("produced", "acked", "pending", "dropped", "dead_lettered")} == {
        "produced": 3, "acked": 0, "pending": 2, "dropped": 0, "dead_lettered": 1,
    }  # fmt: skip
    text = _outbox("stats", "--config", config).stdout
    assert "pending" in text
    assert "2026-" in text

    lines = _outbox("export", "--config", config).stdout.splitlines()
    assert [json.loads(line)["topic"] for line in lines] == ["event/burst", "summary"]
    for line in lines:
        validated(json.dumps(json.loads(line)["payload"]).encode())
    (letter,) = _outbox("export", "--dead", "--config", config).stdout.splitlines()
    assert json.loads(letter)["reason"] == "packet too large"

    busy = _outbox("purge", "--yes", "--config", config)
    assert busy.returncode == AlreadyRunningError.exit_code
    assert len(busy.stderr.strip().splitlines()) == 1
    outbox.close()

    declined = _outbox("purge", "--config", config, stdin="n\n")
    assert declined.returncode != 0
    assert "2 messages" in declined.stderr
    done = _outbox("purge", "--yes", "--json", "--config", config)
    assert json.loads(done.stdout) == {"dead_letters": 1, "dropped": 2}
    after = _outbox("stats", "--config", config).stdout
    assert "gap: 2 messages, purged" in after


def test_no_outbox_is_one_line_and_an_exit_code(config: Path) -> None:
    done = _outbox("stats", "--config", config)
    assert done.returncode == DeliveryError.exit_code
    assert "no outbox here" in done.stderr
    assert "Traceback" not in done.stderr
