"""The face detector's card says what the evaluation command measures on faces annotated by eye."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.models import ModelStore
from tests.support.cli import Cli
from training.face import evaluate

SLACK = 3
"""Faces by which a row may differ: kernels of different processors round differently."""


@pytest.fixture(scope="module")
def report(shared: Path) -> dict[str, Any]:
    return evaluate.evaluate(shared / "media")


def test_auto_finds_the_faces_that_near_and_far_are_too_coarse_for(report: dict[str, Any]) -> None:
    near, far, auto = (report["ranges"][name] for name in ("near", "far", "auto"))
    assert report["frames"] >= 60
    assert auto["recall"] >= 0.94
    assert auto["precision"] >= 0.98
    assert auto["recall"] > far["recall"] + 0.3
    assert far["recall"] > near["recall"] + 0.3
    assert auto["clips"]["classroom.gif"]["recall"] >= 0.9


def test_the_agent_counts_the_people_in_the_classroom(shared: Path, model_store: ModelStore) -> None:
    """The whole way from the recording to the summary, where ``far`` counts one of the four."""
    run = Cli({"EDGE_AGENT__ANALYZERS__FACE__RANGE": "auto", "EDGE_AGENT__MODELS__DIR": str(model_store.directory)})
    done = run("analyze", str(shared / "media" / "classroom.gif"), "--format", "json")
    (window,) = json.loads(done.stdout)["windows"]
    assert (window["faces"]["max"], window["faces"]["tracks"]) == (4, 4)
    assert window["faces"]["mean"] > 3.3


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_the_model_card_has_the_measured_figures(report: dict[str, Any], repository: Path) -> None:
    card = (repository / "plugins" / "edge_agent_face" / "MODEL_CARD.md").read_text(encoding="utf-8")
    told = cells(card.split("## Figures")[1].split("\n## ")[0])
    measured = cells(evaluate.table(report))
    assert [row[:3] for row in told] == [row[:3] for row in measured]
    for row, other in zip(told[2:], measured[2:], strict=True):
        assert [int(n) for n in row[3:5]] == pytest.approx([int(n) for n in other[3:5]], abs=SLACK), row
        counts = dict(zip(("faces", "found", "false"), map(int, row[2:5]), strict=True))
        assert row[5] == (f"{counts['found'] / counts['faces']:.3f}" if counts["faces"] else "-"), row
