"""The synthesizer and the channel: seeded, bounded, and with the acoustics that the labels claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

pytest.importorskip("scipy", reason="training only: pip install edge-emotion-agent[train]")

from edge_agent_burst import LABELS, REJECTIONS
from training.burst.channel import record
from training.burst.synth import KINDS, synthesize
from training.burst.synth.draw import Draw
from training.burst.synth.render import render
from training.burst.synth.voice import RATE, Sound, Speaker, Utterance

ALL = [(label, kind) for label in KINDS for kind in KINDS[label]]


def test_every_class_can_be_made() -> None:
    assert set(KINDS) == {*LABELS, *REJECTIONS}


@pytest.mark.parametrize(("label", "kind"), ALL)
def test_sounds_are_seeded_finite_and_normalised(label: str, kind: str) -> None:
    first = synthesize(label, np.random.default_rng(5), kind)
    again = synthesize(label, np.random.default_rng(5), kind)
    other = synthesize(label, np.random.default_rng(6), kind)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert len(first.samples) != len(other.samples) or not np.array_equal(first.samples, other.samples)
    assert (first.label, first.kind) == (label, kind)
    assert first.samples.dtype == np.float32
    assert np.abs(first.samples).max() == pytest.approx(1.0, abs=1e-3)
    assert 0.15 * RATE < len(first.samples) < 8 * RATE


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(KeyError):
        synthesize("cough", np.random.default_rng(0), "haha")


def test_pitch_is_the_one_asked_for() -> None:
    draw = Draw(np.random.default_rng(2))
    speaker = Speaker("man", 120.0, 1.0, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0)
    utterance = Utterance(draw, speaker, 1.5)
    utterance.put(0.1, Sound(1.2, f0=[200.0, 200.0], voice=1.0, jitter=0.0))
    x = render(utterance)[round(0.3 * RATE) : round(1.1 * RATE)]
    correlation = np.correlate(x, x, "full")[len(x) :]
    lag = 40 + int(correlation[40:400].argmax()) + 1
    assert RATE / lag == pytest.approx(200.0, rel=0.02)


def spectral_centroid(label: str, kind: str) -> float:
    values = []
    for seed in range(8):
        power = np.abs(np.fft.rfft(synthesize(label, np.random.default_rng(seed), kind).samples)) ** 2
        values.append(np.average(np.linspace(0, RATE / 2, len(power)), weights=power))
    return float(np.median(values))


def test_a_hummed_groan_is_darker_than_a_shriek_and_a_sneeze() -> None:
    groan = spectral_centroid("groan", "hum")
    assert groan < 0.5 * spectral_centroid("scream", "shriek")
    assert groan < 0.5 * spectral_centroid("sneeze", "sudden")


def test_laughter_pulses_at_its_rate() -> None:
    peaks = []
    for seed in range(8):
        x = synthesize("laughter", np.random.default_rng(seed), "haha").samples
        envelope = np.sqrt(np.mean(x[: len(x) // 160 * 160].reshape(-1, 160) ** 2, axis=1))
        spectrum = np.abs(np.fft.rfft(envelope - envelope.mean(), 1024))
        hertz = np.fft.rfftfreq(1024, 0.01)
        band = (hertz > 2) & (hertz < 15)
        peaks.append(hertz[band][spectrum[band].argmax()])
    assert 3.0 < np.median(peaks) < 8.0


@pytest.mark.parametrize("mild", [False, True])
def test_the_channel_is_seeded_bounded_and_keeps_the_length_roughly(mild: bool) -> None:
    dry = synthesize("cough", np.random.default_rng(1)).samples
    for seed in range(6):
        wet = record(dry, np.random.default_rng(seed), mild=mild)
        np.testing.assert_array_equal(wet, record(dry, np.random.default_rng(seed), mild=mild))
        assert np.isfinite(wet).all()
        assert np.abs(wet).max() <= 0.951
        assert 0.9 * len(dry) < len(wet) < 1.1 * len(dry) + 0.4 * RATE


def test_given_noise_is_used() -> None:
    dry = synthesize("sigh", np.random.default_rng(1)).samples
    hum = np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE).astype(np.float32)
    wet = [record(dry, np.random.default_rng(4), noise) for noise in (hum, None)]
    assert not np.array_equal(*(w[: min(map(len, wet))] for w in wet))


def test_breath_rumbles_on_some_microphones_and_only_while_there_is_sound() -> None:
    hiss = np.diff(np.random.default_rng(0).standard_normal(RATE + 1)).astype(np.float32)
    dry = np.concatenate([hiss, np.zeros(2 * RATE, np.float32)])
    blown = 0
    for seed in range(60):
        wet = record(dry, np.random.default_rng(seed), np.zeros(RATE, np.float32))
        low = lfilter([0.02], [1, -0.98], wet)
        begun, silent = low[: RATE // 2], low[5 * RATE // 2 :]
        if np.std(begun) > 0.15 * np.std(wet[: RATE // 2]):
            blown += 1
            assert np.std(silent) < 0.2 * np.std(begun)
    assert 10 < blown < 35
