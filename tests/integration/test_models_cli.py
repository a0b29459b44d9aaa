"""``edge-agent models`` as a person and as a program use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.progress import Progress
from typer.testing import CliRunner, Result

from edge_agent.cli.models import app
from edge_agent.cli.terminal import Bars
from edge_agent.domain.errors import ConfigError, ModelError
from edge_agent.models import ModelStore, Transfer


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EDGE_AGENT_CONFIG", raising=False)
    file = tmp_path / "config.toml"
    file.write_text(f"[models]\ndir = '{tmp_path / 'store'}'\n")
    return file


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def models(config: Path) -> dict[str, str]:
    result = call("list", "--json", "--config", config)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["dir"] == str(config.parent / "store")
    return {model["name"]: model["state"] for model in document["models"]}


def test_add_list_verify(config: Path, model_store: ModelStore) -> None:
    assert models(config)["blazeface-short"] == "missing"
    added = call("add", "blazeface-short", model_store.locate("blazeface-short"), "--config", config)
    assert (added.exit_code, added.stdout.count("\n")) == (0, 1)
    assert models(config)["blazeface-short"] == "installed"
    assert call("verify", "--config", config).exit_code == 0
    for word in ("blazeface-short", "installed", "yamnet", "missing", "Apache-2.0"):
        assert word in call("list", "--config", config).stdout


def test_pull_from_a_folder_and_again(config: Path, model_store: ModelStore) -> None:
    words = ("pull", "blazeface-short", "blazeface-full", "--from", model_store.directory, "--config", config)
    assert "blazeface-full: " in call(*words).stdout
    again = call(*words)
    assert again.stdout.count("already installed") == 2
    assert again.exit_code == 0


def test_verify_reports_damage_and_fails(config: Path, model_store: ModelStore) -> None:
    call("add", "blazeface-short", model_store.locate("blazeface-short"), "--config", config)
    (config.parent / "store" / "blazeface-short.tflite").write_bytes(b"damaged")
    result = call("verify", "--json", "--config", config)
    (model,) = [m for m in json.loads(result.stdout)["models"] if m["state"] == "damaged"]
    assert model["name"] == "blazeface-short"
    assert "it has 7 bytes instead of" in model["problem"]
    assert isinstance(result.exception, ModelError)
    assert result.exception.exit_code == 4


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("pull", "yamnett"), "did you mean 'yamnet'"),
        (("pull", "yamnet", "--from", "nowhere"), "not found in nowhere: the folder cannot be read"),
        (("add", "yamnet", "nowhere"), "nowhere cannot be read"),
        (("verify", "yamnet"), "not installed: run 'edge-agent models pull yamnet'"),
        (("bench", "yamnet"), "not installed: run 'edge-agent models pull yamnet'"),
    ],
)
def test_failures_are_raised_in_one_line(config: Path, words: tuple[str, ...], reason: str) -> None:
    result = call(*words, "--config", config)
    assert isinstance(result.exception, ModelError)
    assert reason in str(result.exception)
    assert "\n" not in str(result.exception)


def test_config_is_respected(tmp_path: Path) -> None:
    assert isinstance(call("list", "--config", tmp_path / "absent.toml").exception, ConfigError)


def test_progress_of_known_and_unknown_length() -> None:
    display = Progress(disable=True)
    bars = Bars(display)
    for done in (10, 20):
        bars(Transfer("a", "host", done, 100))
        bars(Transfer("a", "package", done, None))
    assert [(task.description, task.completed, task.total) for task in display.tasks] == [
        ("a from host", 20, 100),
        ("a from package", 20, None),
    ]


def test_bench_for_programs_and_people(config: Path, model_store: ModelStore) -> None:
    call("add", "blazeface-short", model_store.locate("blazeface-short"), "--config", config)
    words = ("bench", "blazeface-short", "--runs", 20, "-t", 1, "-t", 2, "--config", config)
    results = json.loads(call(*words, "--json").stdout)
    assert [(r["model"], r["threads"], r["runs"]) for r in results] == [
        ("blazeface-short", 1, 20),
        ("blazeface-short", 2, 20),
    ]
    for result in results:
        assert 0 < result["invoke"]["p50_ms"] <= result["call"]["p50_ms"]
        assert 0 < result["overhead"]["p50_ms"] < result["call"]["p50_ms"]
    assert call(*words).stdout.count("blazeface-short") == 2
