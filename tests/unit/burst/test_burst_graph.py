"""Making an inner tensor of YAMNet one more output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.domain.errors import ModelError
from edge_agent.models import TfliteModel
from training.burst.yamnet import with_inner_output


def test_the_embedding_comes_out(shared: Path) -> None:
    content = (shared / "models" / "yamnet.tflite").read_bytes()
    changed = with_inner_output(content, 1024)
    assert sum(a != b for a, b in zip(content, changed, strict=False)) <= 4
    samples = np.random.default_rng(0).standard_normal(15_600).astype(np.float32) * 0.1
    embedding, scores = TfliteModel(changed)(samples)
    np.testing.assert_array_equal(scores, TfliteModel(content)(samples)[0])
    assert embedding.shape == (1, 1024)
    assert embedding.min() >= 0.0
    assert 0.01 < (embedding > 0).mean() < 0.9
    np.testing.assert_array_equal(TfliteModel(with_inner_output(content, 521))(samples)[0].shape, (1, 521))


@pytest.mark.parametrize("content", [b"", b"TFL3", bytes(200), b"\xff" * 64])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="inner tensor"):
        with_inner_output(content, 1024)


def test_a_size_that_is_not_there_is_refused(shared: Path) -> None:
    with pytest.raises(ModelError, match="777"):
        with_inner_output((shared / "models" / "yamnet.tflite").read_bytes(), 777)
