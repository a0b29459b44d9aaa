"""The voice analyzer's card says what the evaluation measures, and arousal meets its bar; on a part of the clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.voice import evaluate

PART = 4
TOLERANCE = 0.12
"""Every fourth clip; fewer clips also mean that less is known of each speaker."""


@pytest.fixture(scope="module")
def report(shared: Path) -> dict[str, Any]:
    return evaluate.evaluate(shared / "data" / "emodb", every=PART, conditions=("noise_10",))


@pytest.fixture(scope="module")
def card(repository: Path) -> dict[str, list[str]]:
    text = (repository / "plugins" / "edge_agent_voice" / "MODEL_CARD.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.split("## Figures")[1].splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def test_arousal_of_speakers_left_out_meets_its_bar(report: dict[str, Any]) -> None:
    assert report["weights"] == "without the speaker"
    assert report["arousal"]["clean"]["accuracy"] >= 0.80
    assert report["arousal"]["noise_10"]["accuracy"] >= 0.80


def test_the_card_tells_what_is_measured(report: dict[str, Any], card: dict[str, list[str]]) -> None:
    for condition, row in report["arousal"].items():
        assert float(card[condition][1]) == pytest.approx(row["accuracy"], abs=TOLERANCE)
    for condition, row in report["speech"].items():
        assert float(card[f"speech, {condition}"][2]) == pytest.approx(row["speech_s"] / row["heard_s"], abs=0.25)


def test_other_sounds_are_hardly_taken_for_speech(report: dict[str, Any]) -> None:
    other = report["other"]
    noises = [other[kind] for kind in ("background", "cough", "crying", "sneeze") if kind in other]
    assert sum(row["speech_s"] for row in noises) <= 0.1 * sum(row["heard_s"] for row in noises)
    assert other["synthetic music"]["speech_s"] == 0.0
