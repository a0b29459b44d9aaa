"""The example plugin: what it measures and what it registers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.plugin import AnalyzerContext, Kind


@pytest.fixture(scope="module")
def plugin(repository: Path) -> ModuleType:
    path = repository / "plugins" / "example_loudness" / "example_loudness.py"
    spec = importlib.util.spec_from_file_location("example_loudness_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make(plugin: ModuleType, **settings: float):
    (spec,) = plugin.edge_agent_register_analyzers()
    assert (spec.name, spec.kind) == ("loudness", Kind.AUDIO)
    return spec.factory(spec.settings(**settings), AnalyzerContext(models=None))


def tone(seconds: float, amplitude: float) -> np.ndarray:
    time = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE
    return (amplitude * np.sin(2 * np.pi * 500 * time)).astype(np.float32)


@pytest.mark.parametrize("block", [100, 1_024, 16_000, 40_000])
def test_a_full_scale_sine_is_minus_three_db(plugin: ModuleType, block: int) -> None:
    subject, samples, found = make(plugin), tone(3, 1.0), []
    for position in range(0, len(samples), block):
        found += subject.analyze(AudioBlock(samples[position : position + block], 10 + position / AUDIO_RATE))
    assert [o.name for o in found] == ["loudness"] * 3
    assert [o.values["dbfs"] for o in found] == pytest.approx([-3.01] * 3, abs=0.05)
    assert [o.time for o in found] == pytest.approx([11, 12, 13])


@pytest.mark.parametrize("offset", [0.02, -0.3])
def test_a_constant_offset_is_no_loudness(plugin: ModuleType, offset: float) -> None:
    subject = make(plugin)
    (observation,) = subject.analyze(AudioBlock(tone(1, 0.1) + np.float32(offset), 0.0))
    assert observation.values["dbfs"] == pytest.approx(-23.01, abs=0.05)
    subject.finish()
    (observation,) = subject.analyze(AudioBlock(np.full(AUDIO_RATE, offset, np.float32), 5.0))
    assert observation.values == {"dbfs": -90}


def test_silence_is_the_floor(plugin: ModuleType) -> None:
    (observation,) = make(plugin, floor_dbfs=-80).analyze(AudioBlock(np.zeros(AUDIO_RATE, np.float32), 0.0))
    assert observation.values == {"dbfs": -80}


def test_a_gap_discards_the_part_before_it(plugin: ModuleType) -> None:
    subject = make(plugin)
    assert not subject.analyze(AudioBlock(tone(0.9, 1.0), 0.0))
    (observation,) = subject.analyze(AudioBlock(tone(1, 0.1), 5.0, gap=4.1))
    assert observation.values["dbfs"] == pytest.approx(-23.01, abs=0.05)
