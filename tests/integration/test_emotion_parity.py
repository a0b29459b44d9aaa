"""The int8 emotion model answers as the same network does in real numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.models import Catalogue, ModelStore
from edge_agent.plugin import AnalyzerContext
from edge_agent_emotion.analyzer import EmotionModel, softmax
from training.emotion.dataset import load

floating = pytest.importorskip("training.emotion.floating", reason="needs ai-edge-litert, which shows inner tensors")


def test_int8_answers_as_real_numbers_do(shared: Path, tmp_path: Path) -> None:
    valid = load(shared / "data" / "ferplus" / "ferplus_valid.npz")
    images, labels = valid.images[valid.majority][::25], valid.labels[valid.majority][::25]
    store = ModelStore(tmp_path, Catalogue.load())
    model = EmotionModel(AnalyzerContext(store))
    got = softmax(np.stack([model.logits(image) for image in images]))
    real = images[..., None].astype(np.float32) / 127.5 - 1
    expected = softmax(floating.logits(store.locate("emotion"), real))
    assert got.shape == expected.shape == (len(images), 8)
    difference = np.abs(got - expected).max(axis=1)
    agree = got.argmax(1) == expected.argmax(1)
    assert agree.mean() >= 0.97
    assert difference.mean() <= 0.02
    assert abs((got.argmax(1) == labels).mean() - (expected.argmax(1) == labels).mean()) <= 0.02
    assert expected.std(axis=0).min() > 0.003  # the pictures tell every class from the others
