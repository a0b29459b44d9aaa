"""Bookkeeping of the engines, with networks whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.domain.errors import ModelError
from edge_agent.domain.media import AUDIO_RATE
from edge_agent.plugin import AnalyzerContext
from edge_agent_burst import BurstSettings
from edge_agent_burst.analyzer import make_engine
from edge_agent_burst.events import Reading
from edge_agent_burst.frontend import BANDS, LogMel, relative
from edge_agent_burst.own import CLASSES, WINDOW_FRAMES, OwnEngine
from training.burst.yamnet import by_class

HOP = 3_840


def noise(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * AUDIO_RATE))).astype(np.float32)


def probabilities(**values: float) -> np.ndarray:
    return np.array([[values.get(name, 0.0) for name in CLASSES]], np.float32)


class Network:
    """Remembers its inputs and always gives the same answer."""

    def __init__(self, answer: np.ndarray) -> None:
        self.answer = answer
        self.inputs: list[np.ndarray] = []

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        self.inputs.append(np.array(x))
        return [self.answer]


@pytest.mark.parametrize("block", [160, 1_024, 50_000])
def test_the_network_gets_the_latest_two_seconds(block: int) -> None:
    network, samples = Network(probabilities(cough=0.8)), noise(5.0)
    engine = OwnEngine(network, HOP)
    readings: list[Reading] = []
    for begin in range(0, len(samples), block):
        readings += engine.feed(samples[begin : begin + block])
    frames = LogMel().feed(samples)
    assert len(readings) == len(frames) // 15
    for number, seen in enumerate(network.inputs):
        known = frames[: 15 * (number + 1)][-WINDOW_FRAMES:]
        expected = np.full((WINDOW_FRAMES, BANDS), -100.0, np.float32)
        expected[-len(known) :] = known
        np.testing.assert_allclose(seen[0, :, :, 0], relative(expected), atol=1e-4)
    assert [r.end for r in readings] == pytest.approx([(k + 1) * 0.24 + 0.016 for k in range(len(readings))])
    assert readings[0].scores["cough"] == pytest.approx(0.8)
    assert set(readings[0].scores) == set(CLASSES[:9])


def test_quiet_sound_is_not_judged() -> None:
    network = Network(probabilities(cough=0.9))
    readings = list(OwnEngine(network, HOP).feed(noise(3.0) * 1e-4))
    assert readings
    assert not network.inputs
    assert max(max(r.scores.values()) for r in readings) == 0.0


def test_drain_appends_silence_and_reset_discards() -> None:
    network = Network(probabilities(cough=0.9))
    engine = OwnEngine(network, HOP)
    assert list(engine.drain()) == []
    assert len(list(engine.feed(noise(0.3)))) == 1
    assert len(list(engine.drain())) == 4
    engine.reset()
    assert next(iter(engine.feed(noise(0.3)))).end == pytest.approx(0.256)


COUGH = 42
"""AudioSet's class."""


def test_yamnet_distinguishes_families_not_members() -> None:
    scores = np.zeros(521, np.float32)
    scores[COUGH] = 0.8
    told = dict(zip(CLASSES, by_class(scores), strict=True))
    assert told["cough"] == told["sneeze"] == told["throat_clearing"] == pytest.approx(0.8)
    assert told["sigh"] == told["groan"] == 0.0
    assert told["background"] == pytest.approx(0.2)


class _Nothing:
    def locate(self, name: str) -> Path:
        raise ModelError(f"no {name}")


@pytest.mark.parametrize(("engine", "missing"), [("own", "burst"), ("yamnet", "yamnet")])
def test_a_missing_model_is_an_error(engine: str, missing: str) -> None:
    with pytest.raises(ModelError, match=missing):
        make_engine(BurstSettings(engine=engine), AnalyzerContext(_Nothing()))
