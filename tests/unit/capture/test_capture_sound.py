"""Any PCM to finite mono float32 at 16 kHz."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.capture.sound import Resampler, replace_bad, to_float, to_mono
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
    assert to_mono(stereo, None).tolist() == pytest.approx([0.4, -0.2])
    assert to_mono(stereo, 1).tolist() == pytest.approx([0.6, 0.0])
    assert to_mono(stereo, 0).flags.c_contiguous


def test_missing_channel_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"channel = 2.*2 channel"):
        to_mono(np.zeros((4, 2), np.float32), 2)


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
