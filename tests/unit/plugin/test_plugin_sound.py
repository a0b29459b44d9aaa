"""The high-pass: no offset is left, voices are, and blocks of any length give the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.domain.media import AUDIO_RATE
from edge_agent.plugin.sound import HighPass, dbfs

NOISE = np.random.default_rng(0).normal(0, 0.05, 3 * AUDIO_RATE).astype(np.float32)


def test_a_constant_is_silence_from_its_first_sample() -> None:
    assert np.abs(HighPass().feed(np.full(AUDIO_RATE, 0.37, np.float32))).max() < 1e-6


def test_a_step_decays_within_a_tenth_of_a_second() -> None:
    left = HighPass().feed(np.repeat([0.0, 0.1], AUDIO_RATE).astype(np.float32))
    assert np.abs(left[AUDIO_RATE + AUDIO_RATE // 10 :]).max() < 0.1 * math.exp(-3)


@given(st.lists(st.integers(0, 20_000), max_size=12), st.floats(-0.5, 0.5))
def test_blocks_of_any_length_give_the_same(lengths: list[int], offset: float) -> None:
    samples, subject, found, position = NOISE + np.float32(offset), HighPass(), [], 0
    for length in [*lengths, len(NOISE)]:
        found.append(subject.feed(samples[position : position + length]))
        position += length
    np.testing.assert_allclose(np.concatenate(found), HighPass().feed(samples), atol=1e-6)


@pytest.mark.parametrize("hertz", [60, 300, 3_000])
def test_voices_pass(hertz: float) -> None:
    tone = np.sin(2 * np.pi * hertz * np.arange(2 * AUDIO_RATE) / AUDIO_RATE)
    assert dbfs(HighPass().feed(tone)[AUDIO_RATE:]) == pytest.approx(-3.01, abs=0.05)


def test_a_level_is_without_the_offset() -> None:
    assert dbfs(np.full(100, 0.3)) == -math.inf
    assert dbfs(np.zeros(0)) == -math.inf
    assert dbfs(np.tile([0.2, 0.4], 50)) == pytest.approx(-20)
