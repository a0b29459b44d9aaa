"""Any PCM to finite mono float32 at 16 kHz."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.capture.sound import Mixer, Resampler, replace_bad, to_float
from edge_agent.domain.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 128, 255], np.uint8),
        ([-32768, 0, 32767], np.int16),
        ([-(2**31), 0, 2**31 - 1], np.int32),
        ([-1.0, 0.0, 1.0], np.float64),
        ([-1.0, 0.0, 1.0], np.float32),
    ],
)
def test_every_sample_type_becomes_full_scale_one(values: list[float], dtype: type) -> None:
    result = to_float(np.array(values, dtype))
    assert result.dtype == np.float32
    assert result.tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=0.01)


def test_mono_is_a_channel_or_the_mean() -> None:
    stereo = np.array([[0.2, 0.6], [-0.4, 0.0]], np.float32)
    assert Mixer().push(stereo, 16_000).tolist() == pytest.approx([0.4, -0.2])
    assert Mixer(1).push(stereo, 16_000).tolist() == pytest.approx([0.6, 0.0])
    assert Mixer(0).push(stereo, 16_000).flags.c_contiguous


def test_missing_channel_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"channel = 2.*2 channel"):
        Mixer(2).push(np.zeros((4, 2), np.float32), 16_000)


def test_bad_values_are_silenced_counted_and_the_rest_clipped() -> None:
    clean, bad = replace_bad(np.array([0.5, np.nan, np.inf, -np.inf, 3.0, -3.0], np.float32))
    assert clean.tolist() == [0.5, 0.0, 0.0, 0.0, 1.0, -1.0]
    assert bad == 3


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_resampler_in_pieces_equals_resampler_at_once(rate: int) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 200 * np.arange(rate) / rate)).astype(np.float32)
    whole = Resampler(rate).push(tone, last=True)
    stream = Resampler(rate)
    pieces = [stream.push(tone[i : i + 777]) for i in range(0, rate, 777)]
    pieces.append(stream.push(np.zeros(0, np.float32), last=True))
    assert len(whole) == pytest.approx(16_000, abs=2)
    assert np.allclose(np.concatenate(pieces), whole, atol=1e-5)


def test_resampler_leaves_16_khz_alone() -> None:
    samples = np.linspace(-1, 1, 50, dtype=np.float32)
    assert Resampler(16_000).push(samples) is samples


# ---------------------------------------------------------------------- channels that cancel each other

RATE = 16_000


def wave(seconds: float = 1.0, frequency: float = 300.0) -> npt.NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def mix(sound: npt.NDArray[np.float32], size: int, low: int | None = None) -> npt.NDArray[np.float32]:
    mixer = Mixer()
    return np.concatenate([mixer.push(sound[at : at + size], RATE, low) for at in range(0, len(sound), size)])


def power(samples: npt.NDArray[np.float32]) -> float:
    return float(np.mean(samples**2))


@pytest.mark.parametrize("size", [160, 1_024, 1_600, 16_000])
@pytest.mark.parametrize(
    "gains",
    [(1, -1), (-1, 1), (1, 1, -1), (1, -1, 1, -1), (1, -0.9), (0, 0, 1, 0, 0, 0)],
    ids=["opposite", "reversed", "one of three", "two of four", "nearly", "centre of six"],
)
def test_sound_that_averaging_would_cancel_is_kept(gains: tuple[float, ...], size: int) -> None:
    heard = mix(np.outer(wave(), np.array(gains, np.float32)), size)
    assert power(heard) == pytest.approx(power(wave()), rel=0.02)
    assert np.abs(np.diff(heard)).max() < 1.1 * np.abs(np.diff(wave())).max(), "no clicks"


@pytest.mark.parametrize("gains", [(1, 1), (1, 0.5), (1, 0), (0.3, 0.3, 0.3)])
def test_what_does_not_cancel_is_the_mean(gains: tuple[float, ...]) -> None:
    sound = np.outer(wave(), np.array(gains, np.float32))
    assert mix(sound, 1_024) == pytest.approx(sound.mean(axis=1), abs=1e-6)


def test_independent_noise_is_the_mean() -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, (3 * RATE, 2)).astype(np.float32)
    assert mix(sound, 160) == pytest.approx(sound.mean(axis=1), abs=1e-6)


def test_a_sound_after_silence_is_kept_from_its_beginning_without_clicks() -> None:
    hiss = np.random.default_rng(2).normal(0, 0.001, (5 * RATE, 2)).astype(np.float32)
    hiss[3 * RATE : 4 * RATE] += np.outer(wave(), np.array([1, -1], np.float32))
    heard = mix(hiss, 1_600)
    assert power(heard[3 * RATE : 3 * RATE + 1_600]) > 0.7 * power(wave(0.1))
    assert power(heard[3 * RATE + 1_600 : 4 * RATE]) == pytest.approx(power(wave()), rel=0.05)
    assert np.abs(np.diff(heard)).max() < 1.2 * np.abs(np.diff(wave())).max()


def test_an_offset_makes_no_channel_the_loudest() -> None:
    sound = np.outer(wave(), np.array([1, -1, 0], np.float32)) + np.array([0, 0, 0.9], np.float32)
    assert power(mix(sound, 1_600)) == pytest.approx(power(wave()), rel=0.05)


def test_the_channel_of_low_frequencies_is_none_to_listen_to() -> None:
    sound = np.outer(wave(), np.array([0.2, -0.2, 0, 0, 0, 0], np.float32))
    sound[:, 3] = 1.8 * wave(frequency=30.0)
    assert power(mix(sound, 1_024, low=3)) == pytest.approx(power(0.2 * wave()), rel=0.05)


def test_a_damaged_channel_does_not_affect_the_selected_one() -> None:
    sound = np.outer(wave(), np.array([1, -1, 0], np.float32))
    sound[100::777, 2] = np.nan
    assert np.isfinite(mix(sound, 1_024)).all()


def test_no_samples_are_no_samples() -> None:
    assert len(Mixer().push(np.zeros((0, 2), np.float32), RATE)) == 0
