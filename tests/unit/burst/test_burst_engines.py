"""Bookkeeping of the own engine and of the second opinion, with networks whose answers are known."""

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
from edge_agent_burst.second import HEARD, Head, SecondOpinionEngine
from edge_agent_burst.yamnet import by_class

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
def test_the_network_sees_the_latest_two_seconds(block: int) -> None:
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


def test_drain_follows_the_sound_with_silence_and_reset_forgets() -> None:
    network = Network(probabilities(cough=0.9))
    engine = OwnEngine(network, HOP)
    assert list(engine.drain()) == []
    assert len(list(engine.feed(noise(0.3)))) == 1
    assert len(list(engine.drain())) == 4
    engine.reset()
    assert next(iter(engine.feed(noise(0.3)))).end == pytest.approx(0.256)


def identity_head(favourite: str) -> Head:
    bias = np.array([8.0 if name == favourite else 0.0 for name in CLASSES], np.float32)
    return Head(np.zeros((len(CLASSES), 1024), np.float32), bias)


class Yamnet(Network):
    """Always the same scores for AudioSet's classes, by index, and an empty embedding."""

    def __init__(self, scores: dict[int, float] | None = None) -> None:
        super().__init__(np.zeros((1, 521), np.float32))
        for index, score in (scores or {}).items():
            self.answer[0, index] = score

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        return [np.zeros((1, 1024), np.float32), *super().__call__(x)]


def test_yamnet_is_asked_only_when_there_is_a_suspicion() -> None:
    yamnet = Yamnet()
    calm = OwnEngine(Network(probabilities(cough=0.1, speech=0.9)), HOP)
    readings = list(SecondOpinionEngine(calm, yamnet, identity_head("cough")).feed(noise(3.0)))
    assert not yamnet.inputs
    assert readings[-1].scores["cough"] == pytest.approx(0.1)


SPEECH, COUGH, GROAN = 0, 42, 33
"""Indices of AudioSet's classes."""


def test_the_head_is_heard() -> None:
    torn = OwnEngine(Network(probabilities(cough=0.5, sneeze=0.5)), HOP)
    engine = SecondOpinionEngine(torn, Yamnet({COUGH: 0.9}), identity_head("sneeze"))
    reading = list(engine.feed(noise(3.0)))[-1]
    assert reading.scores["sneeze"] > 0.8
    assert sum(reading.scores.values()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("heard", "likely"), [(SPEECH, False), (GROAN, True)])
def test_what_yamnet_thinks_counts(heard: int, likely: bool) -> None:
    unsure = OwnEngine(Network(probabilities(groan=0.5, speech=0.5)), HOP)
    engine = SecondOpinionEngine(unsure, Yamnet({heard: 0.9}), Head(np.zeros((11, 1024)), np.zeros(11)))
    reading = list(engine.feed(noise(3.0)))[-1]
    assert (reading.scores["groan"] > 0.5) is likely


def test_yamnet_tells_families_apart_not_their_members() -> None:
    scores = np.zeros(521, np.float32)
    scores[COUGH] = 0.8
    told = dict(zip(CLASSES, by_class(scores), strict=True))
    assert told["cough"] == told["sneeze"] == told["throat_clearing"] == pytest.approx(0.8)
    assert told["sigh"] == told["groan"] == 0.0
    assert told["background"] == pytest.approx(0.2)


@pytest.mark.parametrize("block", [1_000, 60_000])
def test_yamnet_hears_the_moment_the_own_model_judged(block: int) -> None:
    yamnet, samples = Yamnet(), noise(4.0)
    engine = SecondOpinionEngine(OwnEngine(Network(probabilities(cough=0.9)), HOP), yamnet, identity_head("cough"))
    readings: list[Reading] = []
    for begin in range(0, len(samples), block):
        readings += engine.feed(samples[begin : begin + block])
    per_reading = len(yamnet.inputs) // len(readings)
    last_heard = yamnet.inputs[-per_reading]
    ends = [k for k in range(HEARD, len(samples) + 1) if np.array_equal(samples[k - len(last_heard) : k], last_heard)]
    assert ends
    assert abs(ends[0] / AUDIO_RATE - readings[-1].end) <= HOP / AUDIO_RATE


def test_the_bundled_head_fits_the_classes() -> None:
    probabilities = Head.bundled()(np.random.default_rng(0).random(1024).astype(np.float32))
    assert probabilities.shape == (len(CLASSES),)
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-4)


class _Nothing:
    def locate(self, name: str) -> Path:
        raise ModelError(f"no {name}")


@pytest.mark.parametrize(("engine", "missing"), [("auto", "burst"), ("own", "burst"), ("yamnet", "yamnet")])
def test_a_missing_model_is_an_error(engine: str, missing: str) -> None:
    with pytest.raises(ModelError, match=missing):
        make_engine(BurstSettings(engine=engine), AnalyzerContext(_Nothing()))
