"""The bench adds up its parts and times them with the clock it is given."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from edge_agent.domain.errors import ModelError
from edge_agent.models.tflite import Spread, bench
from tests.unit.models.tiny_model import relu


def test_parts_are_timed_separately(tmp_path: Path) -> None:
    file = tmp_path / "net.tflite"
    file.write_bytes(relu([1, 4]))
    ticks = count()
    result = bench("net", file, threads=1, runs=20, clock=lambda: next(ticks) / 1000)
    # Four readings a call, a millisecond apart: the whole call spans three, the runtime one.
    assert result.call == Spread(pytest.approx(3), pytest.approx(3))
    assert result.invoke == Spread(pytest.approx(1), pytest.approx(1))
    assert result.overhead == Spread(pytest.approx(2), pytest.approx(2))
    assert (result.model, result.threads, result.runs) == ("net", 1, 20)
    assert result.load_ms == pytest.approx(1)
    assert result.runtime == "ai-edge-litert"


def test_unusable_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a usable"):
        bench("net", tmp_path / "net.tflite", threads=1, runs=10)
