"""Splitting, corpus, windows and figures of the training side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training only: pip install edge-emotion-agent[train]")
pytest.importorskip("soundfile", reason="training only: pip install edge-emotion-agent[train]")

from edge_agent.domain.errors import MediaError
from edge_agent_burst import LABELS, REJECTIONS
from edge_agent_burst.events import LabelPolicy, Reading
from edge_agent_burst.own import CLASSES, POLICIES, WINDOW_FRAMES
from training.burst import corpus, scenes
from training.burst.dataset import SHARE, UNLABELLED_SHARE, Clip, Sampler, yamnet_at
from training.burst.evaluate import Heard, choose, evaluate, summarise, table
from training.burst.recordings import Recording, find, source_of
from training.burst.yamnet import overall


@pytest.mark.parametrize(
    ("stem", "source"),
    [
        ("esc10_1-116765-A", "esc10-116765"),
        ("esc10_4-116765-B", "esc10-116765"),
        ("fsdd_george_00", "fsdd-george"),
        ("fsdd_george_17", "fsdd-george"),
        ("covid19cough_000fb67b", "covid19cough_000fb67b"),
    ],
)
def test_cuts_of_one_recording_have_one_source(stem: str, source: str) -> None:
    assert source_of(stem) == source


def test_no_source_is_on_both_sides(shared: Path) -> None:
    clips = find(shared / "data" / "bursts")
    sides = {split: {c.source for c in clips if c.split == split} for split in ("train", "valid")}
    assert not sides["train"] & sides["valid"]
    for label in ("cough", "crying", "sneeze", *REJECTIONS):
        counts = [sum(c.label == label and c.split == split for c in clips) for split in ("train", "valid")]
        assert 0.15 < counts[1] / sum(counts) < 0.5, label


def test_a_shard_is_reproducible_and_saved_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "PER_SHARD", {"cough": 2, "sigh": 1})
    first, again, other = (corpus.synthetic_shard(7, number, []) for number in (0, 0, 1))
    assert [clip.label for clip in first] == ["cough", "cough", "sigh"]
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)
        assert len(a.samples) != len(c.samples) or not np.array_equal(a.samples, c.samples)
    corpus.save(tmp_path / "synthetic-000.npz", first)
    data = np.load(tmp_path / "synthetic-000.npz")
    assert list(tmp_path.iterdir()) == [tmp_path / "synthetic-000.npz"]
    assert data["lengths"].sum() == len(data["samples"])
    assert [CLASSES[label] for label in data["labels"]] == ["cough", "cough", "sigh"]


def test_a_sound_without_a_label_is_saved_as_one(tmp_path: Path) -> None:
    corpus.save(tmp_path / "a.npz", [corpus.Sample(np.zeros(10, np.float32), corpus.UNLABELLED, "thud", real=True)])
    assert np.load(tmp_path / "a.npz")["labels"] == [-1]
    with pytest.raises(ValueError, match="not in"):
        corpus.index("thud")


def clips(first: int = 0) -> list[Clip]:
    rng = np.random.default_rng(0)
    return [
        Clip(
            rng.normal(-50, 10, (int(rng.integers(20, 300)), 64)).astype(np.float16),
            rng.random((3, 1024)).astype(np.float16),
            np.ones(3, np.float32),
            np.zeros((3, len(CLASSES)), np.float16),
            label,
            real,
            0.5,
        )
        for label in range(first, len(CLASSES))
        for real in (False, True)
    ]


def test_batches_are_seeded_bounded_and_balanced() -> None:
    assert set(SHARE) == set(CLASSES)
    first, again = (Sampler(clips(), seed=3).batch(300) for _ in range(2))
    np.testing.assert_array_equal(first.windows, again.windows)
    assert first.windows.shape == (300, WINDOW_FRAMES, 64)
    assert np.abs(first.windows).max() <= 1.0
    assert np.isfinite(first.windows).all()
    assert set(first.labels) == set(range(len(CLASSES)))


def test_a_share_of_a_batch_has_no_label_where_there_are_such_clips() -> None:
    batch = Sampler(clips(first=-1), seed=3).batch(1000)
    assert UNLABELLED_SHARE - 0.05 < (batch.labels == -1).mean() < UNLABELLED_SHARE + 0.05
    assert set(batch.labels) == set(range(-1, len(CLASSES)))
    assert (Sampler(clips(first=-1), seed=3, unlabelled=0.0).batch(300).labels >= 0).all()


def test_yamnets_windows_belong_to_the_window() -> None:
    frames = np.zeros((400, 64), np.float16)
    embeddings = np.arange(13, dtype=np.float16)[:, None] * np.ones(1024, np.float16)
    heard = np.zeros((13, len(CLASSES)), np.float16)
    heard[2, 6], heard[9, 0] = 0.5, 0.25
    clip = Clip(frames, embeddings, np.ones(13, np.float32), heard, 0, True, 1.0)
    assert yamnet_at(clip, 0)[0][0] == pytest.approx(2.0)
    assert yamnet_at(clip, 250)[0][0] == pytest.approx(10.5)
    assert yamnet_at(clip, 10_000)[0][0] == pytest.approx(12.0)
    np.testing.assert_allclose(yamnet_at(clip, 0)[1], [0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0.5])
    np.testing.assert_allclose(yamnet_at(clip, 250)[1], [0.25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.75])


def test_silence_has_no_weight_in_the_embedding() -> None:
    embeddings = np.arange(3, dtype=np.float32)[:, None] * np.ones(1024, np.float32)
    assert overall(embeddings, np.array([0.0, 0.3, 0.1], np.float32))[0] == pytest.approx(1.25, abs=1e-3)
    assert overall(embeddings, np.zeros(3, np.float32))[0] == pytest.approx(1.0)


def heard(label: str, **scores: float) -> Heard:
    full = {**dict.fromkeys(LABELS, 0.0), **scores}
    readings = [Reading(k * 0.24, k * 0.24 + 1.2, full) for k in range(6)]
    return Heard(Recording(Path(f"{label}.wav"), label, label), 36.0, readings)


def test_figures_of_a_known_outcome() -> None:
    outcome = [
        heard("cough", cough=0.9),
        heard("cough", sneeze=0.3, cough=0.25),
        heard("sneeze", sneeze=0.9),
        heard("speech", laughter=0.95),
        heard("speech"),
        heard("background", groan=0.95),
    ]
    report = summarise(outcome, POLICIES)
    assert report["forced_choice"]["recall"] == {"cough": 0.5, "sneeze": 1.0}
    assert report["forced_choice"]["confusion"]["cough"] == {"cough": 1, "sneeze": 1}
    assert report["detected"]["confusion"]["cough"] == {"cough": 1, "none": 1}
    assert report["false_events"]["default_labels"]["per_hour"] == {"speech": 50.0, "background": 0.0}
    assert report["false_events"]["all_labels"]["per_hour"] == {"speech": 50.0, "background": 100.0}
    text = table({"data": "x", "split": "all", "engines": {"own": report, "yamnet": {"unavailable": "no yamnet"}}})
    assert "| cough | 2 | 0.500 | 0.500 | cough 1, none 1 |" in text
    assert "no yamnet" in text


def test_folders_are_labels_and_empty_ones_an_error(tmp_path: Path) -> None:
    for name in ("pant/a.wav", "throat_clearing/deep/b.ogg", "cough/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [(r.label, r.path.name) for r in find(tmp_path)] == [("gasp", "a.wav"), ("throat_clearing", "b.ogg")]
    (tmp_path / "music").mkdir()
    with pytest.raises(MediaError, match="throat_clearing"):
        evaluate(tmp_path / "music")


def test_all_windows_choose_and_the_best_three_score() -> None:
    scores = np.array([[0.1, 0.0], [0.9, 0.0], [0.5, 0.8], [0.4, 0.8], [0.4, 0.8]])
    label, score = choose(scores, ("cough", "sneeze"))
    assert label == "sneeze"
    assert score == pytest.approx(0.8)
    assert choose(scores[:4], ("cough", "sneeze")) == ("cough", pytest.approx(0.6))
    assert choose(scores[1:2], ("cough", "sneeze")) == ("cough", pytest.approx(0.9))


def test_a_scene_has_its_onset(shared: Path) -> None:
    folder = shared / "data" / "bursts"
    burst = next(r for r in find(folder) if r.label == "sneeze")
    bed = next(r for r in find(folder) if r.label == "speech")
    scene = scenes.compose(burst, bed, np.random.default_rng(0))
    assert scene.label == "sneeze"
    assert scenes.LEAD_S <= scene.onset < scenes.LEAD_S + 5.0
    assert np.abs(scene.samples).max() == pytest.approx(0.5, abs=1e-3)


def test_every_label_has_a_policy() -> None:
    assert set(POLICIES) == set(LABELS)
    assert all(isinstance(policy, LabelPolicy) for policy in POLICIES.values())
