"""Finding the edges of a sound within a coarse segment."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.domain.media import AUDIO_RATE
from edge_agent_burst.events import Envelope


def sound(*spans: tuple[float, float], seconds: float = 4.0, noise: float = 0.002) -> np.ndarray:
    rng = np.random.default_rng(1)
    samples = noise * rng.standard_normal(round(seconds * AUDIO_RATE))
    for start, end in spans:
        a, b = round(start * AUDIO_RATE), round(end * AUDIO_RATE)
        samples[a:b] += 0.3 * rng.standard_normal(b - a)
    return samples.astype(np.float32)


def test_edges_of_one_sound() -> None:
    envelope = Envelope()
    envelope.feed(sound((1.5, 2.1)))
    assert envelope.edges(0.8, 2.2, 3.0, pause=0.15) == pytest.approx((1.5, 2.1), abs=0.03)


def test_blocks_of_any_length_give_the_same() -> None:
    samples = sound((1.5, 2.1))
    whole, parts = Envelope(), Envelope()
    whole.feed(samples)
    for position in range(0, len(samples), 777):
        parts.feed(samples[position : position + 777])
    assert parts.edges(0.8, 2.2, 3.0, 0.15) == pytest.approx(whole.edges(0.8, 2.2, 3.0, 0.15))


def test_pause_is_bridged_only_when_short_enough() -> None:
    envelope = Envelope()
    envelope.feed(sound((1.0, 1.4), (1.6, 2.0)))
    assert envelope.edges(0.5, 2.1, 2.5, pause=0.3)[0] == pytest.approx(1.0, abs=0.03)


def test_an_earlier_sound_is_not_the_onset() -> None:
    envelope = Envelope()
    samples = sound((0.6, 1.0)) * 0.3 + sound((2.0, 2.4))
    envelope.feed(samples)
    assert envelope.edges(0.5, 2.5, 3.0, pause=0.15)[0] == pytest.approx(2.0, abs=0.03)


def test_without_sound_the_bounds_come_back() -> None:
    assert Envelope().edges(1.0, 1.5, 2.0, 0.1) == (1.0, 2.0)


def test_old_levels_are_dropped_and_time_stays_right() -> None:
    envelope = Envelope()
    for _ in range(12):
        envelope.feed(np.zeros(10 * AUDIO_RATE, np.float32))
    envelope.feed(sound((1.0, 1.5)))
    assert envelope.edges(120.5, 121.5, 123.0, 0.15) == pytest.approx((121.0, 121.5), abs=0.03)


def test_reset_starts_at_zero() -> None:
    envelope = Envelope()
    envelope.feed(sound((0.2, 3.0)))
    envelope.reset()
    envelope.feed(sound((1.5, 2.1)))
    assert envelope.edges(0.8, 2.2, 3.0, 0.15) == pytest.approx((1.5, 2.1), abs=0.03)


def test_nothing_stands_out_of_a_steady_noise() -> None:
    envelope = Envelope()
    envelope.feed(np.random.default_rng(0).normal(0, 0.001, 4 * AUDIO_RATE).astype(np.float32))
    start, end = envelope.edges(1.0, 3.0, 4.0, 0.5)
    assert start == end
