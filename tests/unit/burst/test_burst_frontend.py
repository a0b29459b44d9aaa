"""The incremental log-mel front end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.domain.media import AUDIO_RATE
from edge_agent_burst.frontend import BANDS, FLOOR_DB, FRAME, HOP, LogMel, level, relative


def noise(seconds: float, amplitude: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(3)
    return (amplitude * rng.standard_normal(round(seconds * AUDIO_RATE))).astype(np.float32)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3000), max_size=12))
def test_any_cutting_gives_the_same_frames(lengths: list[int]) -> None:
    samples = noise(3.0)[: sum(lengths)]
    whole = LogMel().feed(samples)
    spectrum, parts, position = LogMel(), [np.zeros((0, BANDS), np.float32)], 0
    for n in lengths:
        parts.append(spectrum.feed(samples[position : position + n]))
        position += n
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-3)
    assert len(whole) == max(0, (len(samples) - FRAME) // HOP + 1)


@pytest.mark.parametrize("hertz", [100, 440, 1000, 4000, 7000])
def test_a_full_scale_tone_is_about_zero_db_in_one_place(hertz: int) -> None:
    time = np.arange(AUDIO_RATE) / AUDIO_RATE
    frames = LogMel().feed(np.sin(2 * np.pi * hertz * time).astype(np.float32))
    mean = frames.mean(axis=0)
    edges = 700 * (10 ** (np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 7800 / 700), 66) / 2595) - 1)
    assert edges[mean.argmax()] <= hertz <= edges[mean.argmax() + 2]
    assert mean.max() == pytest.approx(0.0, abs=4.0)
    assert np.median(mean) < mean.max() - 40.0


def test_silence_is_the_floor_and_finite() -> None:
    frames = LogMel().feed(np.zeros(AUDIO_RATE, np.float32))
    np.testing.assert_allclose(frames, FLOOR_DB, atol=1e-3)
    assert level(frames) == pytest.approx(FLOOR_DB, abs=1e-3)


def test_relative_does_not_depend_on_loudness() -> None:
    loud, soft = LogMel().feed(noise(2.0)), LogMel().feed(noise(2.0) * 0.1)
    np.testing.assert_allclose(relative(loud), relative(soft), atol=0.01)
    assert np.abs(relative(loud)).max() <= 1.0
    assert relative(np.stack([loud, soft])).shape == (2, *loud.shape)
