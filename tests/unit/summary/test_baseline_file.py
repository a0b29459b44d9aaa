"""The baseline in its file: written now and then, read again after a restart, learned anew when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.domain.clock import ManualClock
from edge_agent.domain.summary import EmotionSums
from edge_agent.summary.context import EVERY_S, Baseline, BaselineFile

SMILES = EmotionSums(10.0, (1.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (0.1, 8.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 30)


def test_a_baseline_is_kept_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    clock, path = ManualClock(), tmp_path / "baseline.json"
    file = BaselineFile(path, clock)
    learned = file.read()
    file.keep(learned)
    assert not path.exists()
    learned = learned.learn(SMILES)
    file.keep(learned)
    first = path.read_bytes()
    learned = learned.learn(SMILES)
    file.keep(learned)
    assert path.read_bytes() == first
    clock.advance(EVERY_S)
    file.keep(learned)
    assert BaselineFile(path, clock).read() == learned
    learned = learned.learn(SMILES)
    file.keep(learned, now=True)
    assert BaselineFile(path, clock).read() == learned
    file.keep(Baseline(), now=True)
    assert BaselineFile(path, clock).read() == Baseline()


@pytest.mark.parametrize("text", ["", "[]", '{"weight": -1, "p": {}}', "\x00"])
def test_a_damaged_baseline_is_learned_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    assert BaselineFile(path, ManualClock()).read() == Baseline()


def test_an_unwritable_folder_is_survived(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = BaselineFile(tmp_path / "file" / "baseline.json", ManualClock())
    file.keep(file.read().learn(SMILES), now=True)
