"""Hours without a burst: what they are made of and how events are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="needs the extra 'train'")

from edge_agent.domain.errors import MediaError  # noqa: E402
from edge_agent_burst import LABELS, BurstSettings  # noqa: E402
from edge_agent_burst.analyzer import BurstAnalyzer, make_engine  # noqa: E402
from training.burst import hours  # noqa: E402
from training.burst.evaluate import context  # noqa: E402
from training.burst.recordings import RATE  # noqa: E402


@pytest.fixture
def shelves(tmp_path: Path) -> dict[str, list[Path]]:
    random, found = np.random.default_rng(0), {}
    for kind in ("speech", "background", "music", "effects"):
        found[kind] = [tmp_path / f"{kind}-{k}.wav" for k in range(2)]
        for path in found[kind]:
            soundfile.write(path, random.normal(0, 0.05, 3 * RATE), RATE)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    found["effects"].append(tmp_path / "broken.wav")
    return found


@pytest.mark.parametrize("kind", hours.PLAN)
def test_an_hour_is_as_long_as_asked_and_the_same_each_time(kind: str, shelves: dict[str, list[Path]]) -> None:
    first, again, other = (np.concatenate(list(hours.sound(kind, n, shelves, 20.0))) for n in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert 20.0 <= len(first) / RATE < 160.0
    assert 0.001 < np.abs(first).max() <= 1.0
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_events_are_counted(shelves: dict[str, list[Path]]) -> None:
    synthesize = pytest.importorskip("training.burst.synth").synthesize
    analyzer = BurstAnalyzer(make_engine(BurstSettings(), context()), LABELS, {})
    cough = synthesize("cough", np.random.default_rng(3), "dry").samples * np.float32(0.5)
    quiet = np.random.default_rng(0).normal(0, 1e-4, 4 * RATE).astype(np.float32)
    found, seconds = hours.listen(analyzer, iter([quiet, np.concatenate([cough, quiet]), quiet]))
    assert found["cough"] == 1
    assert seconds == pytest.approx((12 * RATE + len(cough)) / RATE)


def test_nothing_to_play_is_said(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no sound files"):
        next(iter(hours.sound("speech", 0, {"speech": []})))
