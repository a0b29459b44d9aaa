"""Music and other sounds for training: cuts of tracks, none of them silent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="training only: pip install edge-emotion-agent[train]")
import soundfile

from training.burst import tracks
from training.burst.corpus import UNLABELLED
from training.burst.recordings import RATE


def test_every_track_is_cut_and_silence_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracks, "PER_SHARD", 6)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(20 * RATE) / RATE)
    for name, track in (("long", tone), ("short", tone[: 2 * RATE]), ("silent", 0 * tone)):
        soundfile.write(tmp_path / f"{name}.wav", track, RATE)
    clips = tracks.shard(1, 0, sorted(tmp_path.glob("*.wav")))
    assert [clip.kind for clip in clips] == ["long", "long", "short", "short"]
    assert all(clip.label == "background" and clip.real for clip in clips)
    assert all(3.0 <= len(clip.samples) / RATE <= 8.5 for clip in clips[:2])
    again = tracks.shard(1, 0, sorted(tmp_path.glob("*.wav")))
    assert np.array_equal(clips[0].samples, again[0].samples)
    assert not np.array_equal(clips[0].samples[:RATE], clips[1].samples[:RATE])


def test_a_short_sound_is_no_music_but_may_be_without_a_label(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "thud.wav", 0.3 * np.ones(RATE // 4), RATE)
    assert not tracks.shard(1, 0, [tmp_path / "thud.wav"])
    assert {clip.label for clip in tracks.shard(1, 0, [tmp_path / "thud.wav"], UNLABELLED)} == {"unlabelled"}
