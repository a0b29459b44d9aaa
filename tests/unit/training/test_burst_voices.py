"""Names of EmoGator's clips, and throat clearings made of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="needs the extra 'train'")
torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from edge_agent_burst import LABELS  # noqa: E402
from training.burst import voices  # noqa: E402
from training.burst.corpus import UNLABELLED  # noqa: E402
from training.burst.features import log_mel  # noqa: E402

RATE = 16_000
LAUGHTER, CRYING, SPEECH = 13, 19, 0
"""Indices of AudioSet's classes."""


def clip(meant: str, speaker: int = 1, calls: int = 0, **scores: float) -> voices.Clip:
    said = np.zeros(521, np.float32)
    for name, index in (("laughter", LAUGHTER), ("crying", CRYING), ("speech", SPEECH)):
        said[index] = scores.get(name, 0.0)
    pace = np.zeros(9, np.float32)
    pace[1] = calls / 3
    nothing = np.zeros(RATE, np.float32)
    return voices.Clip(Path("x.ogg"), meant, speaker, nothing, np.zeros(1024), said, np.zeros(len(LABELS)), pace)


def bursts(count: int, every: float, length: float = 0.1) -> np.ndarray:
    """Noise that comes ``count`` times, ``every`` so many seconds."""
    random = np.random.default_rng(0)
    x = random.normal(0, 1e-4, round((count * every + 0.5) * RATE)).astype(np.float32)
    for k in range(count):
        begin = round((0.2 + k * every) * RATE)
        x[begin : begin + round(length * RATE)] += random.normal(0, 0.1, round(length * RATE)).astype(np.float32)
    return x


def test_rhythm_counts_calls_and_tells_their_rate() -> None:
    ha, breath = (voices.rhythm(log_mel(x)) for x in (bursts(5, 0.2), bursts(1, 1.0, 0.8)))
    assert ha[1] * 3 == pytest.approx(4)
    assert ha[2] * 3 == pytest.approx(5.0, abs=0.5)
    assert ha[3] < 0.2
    assert breath[1] <= 1


@pytest.mark.parametrize(
    ("heard", "kind"),
    [
        (clip("amusement", calls=4), "laughter"),
        (clip("amusement", laughter=0.3), "laughter"),
        (clip("amusement", speech=0.9), UNLABELLED),
        (clip("sadness", crying=0.3, laughter=0.1), "crying"),
        (clip("sadness", crying=0.3, laughter=0.5), UNLABELLED),
        (clip("sadness", calls=4), "crying"),  # sobs
        (clip("disgust", crying=0.9), UNLABELLED),  # not meant
        (clip("disgust", speech=0.95), "other"),
    ],
)
def test_what_begins_is_beyond_doubt(heard: voices.Clip, kind: str) -> None:
    assert voices.seeds(heard) == kind


def test_clips_are_named_by_the_seeds_they_are_like_and_by_what_was_meant() -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    truth = np.tile([0, 1], 60)
    x = torch.from_numpy((random.normal(0, 0.5, (120, 8)) + 3 * truth[:, None]).astype(np.float32))
    started = [("laughter", "crying")[t] if k < 60 else UNLABELLED for k, t in enumerate(truth)]
    meant = [("amusement", "sadness")[t] for t in truth]
    found = voices.kinds(x, started, meant, [k // 2 for k in range(120)])
    np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-5)
    right = [voices.labelled(row) == ("laughter", "crying")[t] for row, t in zip(found, truth, strict=True)]
    assert np.mean(right[60:]) > 0.95


def test_doubtful_clips_have_no_label_and_the_rest_of_voices_is_speech() -> None:
    row = np.full(len(voices.KINDS), 0.05, np.float32)
    assert voices.labelled(row) == UNLABELLED
    row[voices.KINDS.index("other")] = 0.8
    assert voices.labelled(row) == "speech"


def test_every_emotion_is_a_distribution_over_kinds() -> None:
    for emotion, shares in voices.MADE.items():
        assert set(shares) <= set(voices.KINDS), emotion
        assert sum(shares.values()) <= 1.0, emotion
    assert clip("amusement", 240).held_back < clip("amusement", 241).held_back


def test_throat_clearings_are_short_pulses() -> None:
    random = np.random.default_rng(1)
    made = [voices.cleared([bursts(2, 0.5, 0.4)], [bursts(1, 0.5, 0.3)], random) for _ in range(20)]
    for x in made:
        assert np.isfinite(x).all()
        assert 0.5 < len(x) / RATE < 2.5
        assert 0.05 < np.abs(x).max() < 10
        assert np.abs(x[: RATE // 10]).max() == 0
