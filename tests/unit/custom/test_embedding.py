"""Vectors of sounds and words, and the names of labels in observations."""

from __future__ import annotations

import numpy as np

from edge_agent.custom.embedding import sound_windows, terms, words_vector
from edge_agent.domain.media import AUDIO_RATE


def test_labels_become_different_terms() -> None:
    assert terms(["Very happy!", "sad", "-1", "+1", "…", "Sad"]) == (
        "very_happy", "sad", "label_1", "label_1__2", "label", "sad__2",
    )  # fmt: skip


def test_sound_is_cut_into_windows_and_silence_is_none() -> None:
    noise = np.random.default_rng(0).normal(size=5 * AUDIO_RATE).astype(np.float32) / 10
    assert sound_windows(noise).shape == (4, 160)
    assert sound_windows(noise[:AUDIO_RATE]).shape == (1, 160)
    assert sound_windows(noise[:100]).shape == (0, 160)
    assert sound_windows(noise[:0]).shape == (0, 160)
    assert sound_windows(np.zeros(5 * AUDIO_RATE, np.float32)).shape == (0, 160)
    assert np.isfinite(sound_windows(np.where(np.arange(len(noise)) % 999, noise, np.nan).astype(np.float32))).all()


def test_loudness_and_an_offset_do_not_count() -> None:
    noise = np.random.default_rng(0).normal(size=2 * AUDIO_RATE).astype(np.float32) / 10
    np.testing.assert_allclose(sound_windows(noise / 5 + 0.1), sound_windows(noise), atol=0.05)


def test_words_without_any_emotion_known() -> None:
    vector = words_vector("Guten Tag, guten Abend!", ())
    assert vector.shape == (1, 540)
    assert not vector[0, :28].any()
    assert vector[0, 28:].any()
    assert not words_vector("", ()).any()
