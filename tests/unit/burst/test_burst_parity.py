"""The shipped int8 model against the float network it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training only: pip install edge-emotion-agent[train]")

from edge_agent.models import Catalogue, ModelStore, TfliteModel
from edge_agent_burst.own import CLASSES
from training.burst import parity


def test_int8_agrees_with_float(tmp_path: Path) -> None:
    """Also proves that the bundled file is the one the catalogue names: the store checks it."""
    model = TfliteModel(ModelStore(tmp_path, Catalogue.load()).locate("burst"))
    expected = parity.read()
    got = np.stack([model(window[None, :, :, None])[0][0] for window in parity.windows()])
    assert got.shape == expected.shape == (len(CLASSES) * len(parity.SEEDS), len(CLASSES))
    np.testing.assert_allclose(got.sum(axis=1), 1.0, atol=0.03)
    assert np.abs(got - expected).mean() < 0.01
    clear = np.sort(expected, axis=1)[:, -1] - np.sort(expected, axis=1)[:, -2] > 0.2
    assert clear.mean() > 0.6
    np.testing.assert_array_equal(got.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])
