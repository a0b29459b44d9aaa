"""Odd speech for training: what is made of recorded speech, and espeak-ng's where that is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="training only: pip install edge-emotion-agent[train]")
from training.burst import talk
from training.burst.recordings import RATE


def speech(seconds: float) -> np.ndarray:
    """A buzz with syllables."""
    t = np.arange(int(RATE * seconds)) / RATE
    return (np.sign(np.sin(2 * np.pi * 120 * t)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)) * 0.3).astype(np.float32)


def pitch(samples: np.ndarray) -> float:
    """Of a buzz, Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * RATE))
    return float(np.argmax(spectrum[: 8 * 1000]) / 8)


def test_acted_speech_is_another_throats_and_a_seed_repeats_it() -> None:
    found = [talk.acted(speech(3.0), np.random.default_rng(seed)) for seed in range(40)]
    again = talk.acted(speech(3.0), np.random.default_rng(7))
    assert np.array_equal(found[7], again)
    for samples in found:
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert 0.1 < len(samples) / RATE < 8.0
        assert np.abs(samples).max() > 0.05
    pitches = [pitch(samples) for samples in found]
    assert min(pitches) < 100.0
    assert max(pitches) > 170.0


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the Debian package espeak-ng")
def test_spoken_lines_are_sound_of_a_line_s_length() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        samples = talk.spoken(["en", "de"], rng)
        assert 0.15 < len(samples) / RATE < 12.0
        assert np.abs(samples).max() > 0.01


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the Debian package espeak-ng")
def test_prompts_are_used_plain_and_acted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    for name in ("digit", "line"):
        soundfile.write(tmp_path / f"{name}.wav", speech(1.0), RATE)
    paths = talk.Paths([tmp_path / "line.wav"], [tmp_path / "digit.wav"])
    monkeypatch.setattr(talk, "PER_SHARD", 3)
    monkeypatch.setattr(talk, "languages", lambda: ["en"])
    clips = talk.shard(1, 0, paths, [])
    assert [clip.kind for clip in clips] == ["acted", "espeak", "prompt", "acted prompt"] * 3
    assert {clip.kind for clip in clips if clip.real} == {"prompt"}
    assert {clip.label for clip in clips} == {"speech"}
