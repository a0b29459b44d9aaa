"""From any device's or file's samples to what the agent listens to: finite, mono, float32, 16 kHz. Owner of soxr."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.media import AUDIO_RATE

Samples = npt.NDArray[np.float32]


def to_float(samples: npt.NDArray[Any]) -> Samples:
    """Samples of any PCM type, any shape, as float32 in [-1, 1]; unsigned bytes are centred on 128."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(samples.dtype, np.integer):
        scaled: Samples = samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
        return scaled
    converted: Samples = samples.astype(np.float32, copy=False)
    return converted


def to_mono(samples: Samples, channel: int | None) -> Samples:
    """One channel, or the mean of all, of float32 [n, channels].

    Raises:
        ConfigError: there is no such channel.
    """
    count = samples.shape[1]
    if channel is not None and channel >= count:
        raise ConfigError(f"microphone.channel = {channel}, but the sound has {count} channel(s), counted from 0")
    if channel is not None:
        return np.ascontiguousarray(samples[:, channel])
    if count == 1:
        return np.ascontiguousarray(samples[:, 0])
    mixed: Samples = samples.mean(axis=1, dtype=np.float32)
    return mixed


def replace_bad(samples: Samples) -> tuple[Samples, int]:
    """``samples`` with NaN and infinities as silence and the rest clipped to [-1, 1]; and how many were not finite."""
    finite = np.isfinite(samples)
    bad = int(samples.size - np.count_nonzero(finite))
    if bad:
        samples = np.where(finite, samples, np.float32(0.0))
    return np.clip(samples, -1.0, 1.0), bad


class Resampler:
    """A stream of mono samples at ``rate`` to one at :data:`AUDIO_RATE`.

    Output sample ``k`` belongs to the moment ``k / AUDIO_RATE`` after the first input sample; the filter holds back a
    few milliseconds until more input, or ``last``, comes.
    """

    def __init__(self, rate: float) -> None:
        self._stream = None if rate == AUDIO_RATE else soxr.ResampleStream(rate, AUDIO_RATE, 1, dtype="float32")

    def push(self, samples: Samples, *, last: bool = False) -> Samples:
        """What became ready by ``samples``; ``last`` ends the stream, and nothing may follow."""
        if self._stream is None:
            return samples
        ready: Samples = self._stream.resample_chunk(samples, last=last)
        return np.clip(ready, -1.0, 1.0)
