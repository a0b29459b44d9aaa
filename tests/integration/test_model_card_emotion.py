"""The emotion model's card says what the evaluation command measures, and the model meets its floor."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.support.diagrams import points
from training.emotion import evaluate
from training.emotion.dataset import load
from training.emotion.prior import COST

TOLERANCE = 0.004
"""Kernels of different processors round differently."""


@pytest.fixture(scope="module")
def report(shared: Path) -> dict[str, Any]:
    return evaluate.evaluate(shared / "data" / "ferplus" / "ferplus_valid.npz")


def test_the_model_meets_its_floor(report: dict[str, Any]) -> None:
    assert report["majority"]["accuracy"] >= 0.87
    assert report["majority"]["macro_recall"] >= 0.70
    assert report["majority"]["ece"] <= 0.03
    assert report["argmax"]["ece"] <= 0.03


def test_the_model_card_has_the_measured_figures(report: dict[str, Any], repository: Path) -> None:
    card = (repository / "plugins" / "edge_agent_emotion" / "MODEL_CARD.md").read_text(encoding="utf-8")
    figures = card.split("## Figures")[1].split("\n## ")[0]
    told = [line for line in figures.splitlines() if line.startswith("|")]
    measured = [line for line in evaluate.table(report).splitlines() if line]
    assert len(told) == len(measured)
    for card_row, row in zip(told, measured, strict=True):
        numbers = [[float(n) for n in re.findall(r"\d+\.\d+", text)] for text in (card_row, row)]
        assert numbers[0] == pytest.approx(numbers[1], abs=TOLERANCE), card_row


def test_the_prior_beside_the_model_is_what_its_rule_gives(report: dict[str, Any], shared: Path) -> None:
    told = json.loads(resources.files("edge_agent_emotion").joinpath("emotion.json").read_text("utf-8"))
    frequency = load(shared / "data" / "ferplus" / "ferplus_train.npz").targets.mean(axis=0)
    assert list(told["prior"].values()) == pytest.approx(frequency.tolist(), abs=1e-4)
    trained, between = report["priors"]["trained"], report["priors"]["between"]
    assert told["options"]["trained"]["share"] == 0
    assert between["accuracy"] >= trained["accuracy"] - COST - TOLERANCE
    assert between["macro_recall"] > trained["macro_recall"]
    assert report["priors"]["balanced"]["macro_recall"] > between["macro_recall"]
    assert report["majority"] == between  # the default


def test_the_diagram_shows_what_is_measured(report: dict[str, Any], repository: Path) -> None:
    folder = repository / "plugins" / "edge_agent_emotion"
    drawn = points(folder / "calibration.svg")
    measured = report["calibration"]
    assert len(drawn) == len(measured) > 5
    for (confidence, right, n), bin_ in zip(drawn, measured, strict=True):
        assert confidence == pytest.approx(bin_["confidence"], abs=0.01)
        assert right == pytest.approx(bin_["right"], abs=0.05)
        assert n == pytest.approx(bin_["n"], abs=10)
    assert "(calibration.svg)" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
