"""The gaze analyzer's errors are those of its card, on rendered heads that its constants were not fitted to."""

from __future__ import annotations

from pathlib import Path

from edge_agent.models import ModelStore
from training.gaze import evaluate


def test_pose_and_gaze_of_rendered_heads_are_as_exact_as_the_card_says(shared: Path, model_store: ModelStore) -> None:
    report = evaluate.evaluate(shared / "data" / "facekit", count=12)
    opened = report["classes"]["all"]
    assert report["missed"] <= 1
    assert opened["pose_yaw"]["median"] < 4
    assert opened["pose_pitch"]["median"] < 6
    assert opened["gaze"]["median"] < 13
    assert opened["gaze"]["mean"] < opened["head_as_gaze"]["mean"]


def test_the_card_has_the_table_of_the_evaluation(repository: Path) -> None:
    card = (repository / "plugins" / "edge_agent_gaze" / "MODEL_CARD.md").read_text(encoding="utf-8")
    head = "| faces | number | head yaw | head pitch | gaze |"
    assert head in card
    assert all(f"| {name} |" in card for name in ("all", "sure", "eyes", "head"))
