"""Custom models made by hand: linear on known parts of the vectors, so that tests need no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_agent.custom.embedding import NAMES, sound_windows
from edge_agent.custom.examples import Medium
from edge_agent.custom.store import About, CustomModel, CustomStore, Scores
from edge_agent.domain.media import AUDIO_RATE
from edge_agent.domain.observation import EMOTIONS, LANGUAGE_EMOTIONS


def write_models(state: Path) -> CustomStore:
    """Store ``mood`` (words: thanks, anger), ``smile`` (faces) and ``machine`` (hum, hiss) below ``state``."""
    store = CustomStore(state / "custom")
    mood = np.zeros((540, 2))
    mood[LANGUAGE_EMOTIONS.index("gratitude"), 0] = mood[LANGUAGE_EMOTIONS.index("anger"), 1] = 1.0
    smile = np.zeros((148, 2))
    smile[EMOTIONS.index("happiness"), 0], smile[EMOTIONS.index("neutral"), 1] = 1.0, 1.0
    store.add(_linear("mood", "words", ("thanks", "anger"), mood))
    store.add(_linear("smile", "face", ("smiling", "not smiling"), smile))
    hum, hiss = (sound_windows(wave).mean(axis=0) for wave in waves())
    store.add(_linear("machine", "sound", ("hum", "hiss"), np.stack([hum, hiss], axis=1) / 1000))
    return store


def waves(seconds: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """A hum and a hiss, float32."""
    t = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
    noise = np.random.default_rng(0).normal(size=len(t))
    return tuple((0.3 * wave).astype(np.float32) for wave in (np.sin(2 * np.pi * 90 * t) + noise / 999, noise / 2))


def _linear(name: str, medium: Medium, labels: tuple[str, str], weights: np.ndarray) -> CustomModel:
    scores = Scores("balanced_accuracy", 0.9, 0.5, 0.8, True, "", 5, 40, {})
    about = About(name, medium, "classification", NAMES[medium], labels, scores, "2026-01-01T00:00:00+00:00")
    size = len(weights)
    return CustomModel(
        about,
        np.zeros(size, np.float32),
        np.ones(size, np.float32),
        weights.astype(np.float32),
        np.zeros(2, np.float32),
    )
