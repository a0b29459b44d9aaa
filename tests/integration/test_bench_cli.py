"""``edge-agent bench`` measures the real pipeline on a small film."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_agent.app.bench import BOUNDS_MS, StageCost
from edge_agent.cli.bench import _bars
from edge_agent.cli.main import build
from edge_agent.domain.errors import ConfigError
from edge_agent.models import ModelStore
from tests.support.recordings import tone, write


@pytest.fixture
def film(tmp_path: Path) -> Path:
    pictures = ((n / 10, np.full((120, 160, 3), 90 + n, np.uint8)) for n in range(30))
    return write(tmp_path / "film.mkv", pictures, tone(3.0), codec="mpeg4")


@pytest.fixture(autouse=True)
def _models(model_store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT__MODELS__DIR", str(model_store.directory))
    monkeypatch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")


def test_every_stage_is_counted_and_timed(film: Path) -> None:
    done = CliRunner().invoke(build(["bench"]), ["bench", str(film), "--seconds", "2", "--json"])
    told = json.loads(done.stdout)
    assert told["pictures"] == 21
    assert 1 <= told["looks"] < 21
    assert {"decode", "vision lane", "face", "burst", "audio lane", "windows"} <= told["stages"].keys()
    for stage in told["stages"].values():
        assert sum(stage["histogram"]) == stage["calls"]
        assert 0 <= stage["p50_ms"] <= stage["p99_ms"] <= stage["total_ms"] + 0.1
    assert told["stages"]["decode"]["calls"] == told["pictures"]
    assert 0 < told["look_kb"] < 2_000


def test_a_flame_graph_without_py_spy_is_refused_before_anything_is_measured(
    film: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_where, **_path: None)
    done = CliRunner().invoke(build(["bench"]), ["bench", str(film), "--profile", str(tmp_path / "flame.svg")])
    assert isinstance(done.exception, ConfigError)
    assert "pip install py-spy" in str(done.exception)


def test_quantiles_and_histogram_of_a_stage() -> None:
    stage = StageCost("one", [0.005, 0.02, 0.02, 500.0])
    assert (stage.quantile(0.5), stage.quantile(0.99)) == (0.02, 500.0)
    assert stage.histogram() == [1, 2, *[0] * (len(BOUNDS_MS) - 2), 1]
    assert StageCost("none").quantile(0.5) == 0.0
    assert _bars([0, 1, 8]) == " ▁█"
