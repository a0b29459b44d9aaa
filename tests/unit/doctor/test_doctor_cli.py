"""The command: table, JSON, exit code and bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edge_agent.cli.doctor import doctor

GOOD = """
[device]
state_dir = "{state}"
[camera]
source = "none"
[microphone]
source = "none"
[plugins]
allow = ["emotion"]
[models]
auto_pull = false
[mqtt]
enabled = false
"""


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(doctor)
    return app


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(GOOD.format(state=tmp_path / "state"))
    return path


def test_the_exit_code_is_that_of_the_worst_finding(app: typer.Typer, config: Path) -> None:
    done = CliRunner().invoke(app, ["--config", str(config), "--json"])
    answer = json.loads(done.stdout)
    statuses = {check["status"] for check in answer["checks"]}
    assert answer["status"] == next(status for status in ("fail", "warn", "ok") if status in statuses)
    # The machine that runs the tests may have faults of its own: a sound card that is barred, heat.
    assert done.exit_code == int("fail" in statuses)
    assert {"name", "status", "detail", "remedy"} == set(answer["checks"][0])


def test_before_the_first_pull_a_missing_model_is_a_warning_with_the_command(app: typer.Typer, config: Path) -> None:
    """A start would download it; where it may not, the same is a failure."""
    fresh = f'dir = "{config.parent / "models"}"\nauto_pull = '
    text = config.read_text().replace('["emotion"]', '["face"]')
    for auto_pull, status in (("true", "warn"), ("false", "fail")):
        config.write_text(text.replace("auto_pull = false", fresh + auto_pull))
        checks = json.loads(CliRunner().invoke(app, ["--config", str(config), "--json"]).stdout)["checks"]
        found = [check for check in checks if check["name"] in ("models", "plugins")]
        assert {check["status"] for check in found} == {status}, found
        face = next(check for check in found if check["detail"].startswith("face: "))
        assert "edge-agent models " in face["remedy"]
    assert not (config.parent / "models").exists(), "an examination changed the machine"


def test_a_failure_is_exit_code_1_and_shows_its_remedy(app: typer.Typer, config: Path) -> None:
    config.write_text(config.read_text() + "port = 70000\n")
    done = CliRunner().invoke(app, ["--config", str(config)], env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert "line 14" in done.stdout
    assert "→ edge-agent config check" in done.stdout


def test_the_bundle_is_written_beside_the_findings(app: typer.Typer, config: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "support.tar.gz"
    done = CliRunner().invoke(app, ["--config", str(config), "--bundle", str(bundle)], env={"COLUMNS": "200"})
    assert bundle.exists(), done.output
    assert "look through it" in done.stdout


def test_square_brackets_in_findings_are_text(app: typer.Typer, config: Path) -> None:
    config.write_text(config.read_text() + "[analyzers.emotion]\nnonsense = 1\n")
    done = CliRunner().invoke(app, ["--config", str(config)], env={"COLUMNS": "200"})
    assert "unknown key analyzers.emotion.nonsense" in done.stdout
    assert done.exit_code == 1
