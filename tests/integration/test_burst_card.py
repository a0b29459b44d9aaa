"""The model card's figures are what the evaluation command prints (the own engine on the validation recordings)."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

pytest.importorskip("soundfile", reason="training only: pip install edge-emotion-agent[train]")

from edge_agent_burst import LABELS, BurstSettings
from edge_agent_burst.analyzer import make_engine
from tests.support.diagrams import points
from training.burst import recordings
from training.burst.evaluate import context, listen, summarise, table


def test_recall_in_the_card_is_the_commands(shared: Path) -> None:
    engine = make_engine(BurstSettings(engine="own"), context())
    found = recordings.find(shared / "data" / "bursts")
    valid = [r for r in found if r.label in LABELS and r.split == "valid"]
    report = summarise([listen(engine, r) for r in valid], engine.policies)
    assert all(report["detected"]["recall"][label] >= 0.90 for label in ("cough", "crying", "sneeze"))
    printed = table({"data": "bursts", "split": "valid", "engines": {"own": report}})
    card = resources.files("edge_agent_burst").joinpath("MODEL_CARD.md").read_text(encoding="utf-8")
    rows = [line for line in printed.splitlines() if line.startswith(("| cough", "| crying", "| sneeze"))]
    assert len(rows) == 3
    assert [row for row in rows if row not in card] == []
    drawn = points(Path(str(resources.files("edge_agent_burst").joinpath("calibration.svg"))))
    measured = [(bin_["confidence"], bin_["right"], bin_["n"]) for bin_ in report["calibration"]]
    assert [n for *_, n in drawn] == pytest.approx([n for *_, n in measured], abs=2)
    assert [p for p, _, _ in drawn] == pytest.approx([p for p, _, _ in measured], abs=0.05)
    assert "(calibration.svg)" in card
