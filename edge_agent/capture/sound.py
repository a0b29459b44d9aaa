"""From any device's or file's samples to what the agent listens to: finite, mono, float32, 16 kHz. Owner of soxr."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.media import AUDIO_RATE

Samples = npt.NDArray[np.float32]

LOST = 0.2
"""The mean of channels with less than this share of the loudest one's power has lost the sound."""
HALF_LIFE_S = 3.0
"""How long a mixer remembers what it heard: after this time it counts half."""
FADE_S = 0.02


def to_float(samples: npt.NDArray[Any]) -> Samples:
    """Samples of any PCM type, any shape, as float32 in [-1, 1]; unsigned bytes are centred on 128."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(samples.dtype, np.integer):
        scaled: Samples = samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
        return scaled
    converted: Samples = samples.astype(np.float32, copy=False)
    return converted


def replace_bad(samples: Samples) -> tuple[Samples, int]:
    """``samples`` with NaN and infinities as silence and the rest clipped to [-1, 1]; and how many were not finite."""
    finite = np.isfinite(samples)
    bad = int(samples.size - np.count_nonzero(finite))
    if bad:
        samples = np.where(finite, samples, np.float32(0.0))
    return np.clip(samples, -1.0, 1.0), bad


class Mixer:
    """A stream of sound in any number of channels to one: the chosen ``channel``, or the mean of all.

    Where channels cancel each other, or all but a few are silent, most of the sound is lost in the mean: then the
    loudest channel alone is listened to, for as long as that is so. From one to the other it fades.
    """

    def __init__(self, channel: int | None = None) -> None:
        self._channel = channel
        self._alone: int | None = None
        self._mean = 0.0
        self._powers: npt.NDArray[np.float64] = np.zeros(0)

    def push(self, samples: Samples, rate: float, low: int | None = None) -> Samples:
        """float32 [n, channels] at ``rate`` Hz to [n]; ``low``: a channel of low frequencies, which is left out.

        Raises:
            ConfigError: there is no such channel.
        """
        count = samples.shape[1]
        if self._channel is not None:
            if self._channel >= count:
                told = f"microphone.channel = {self._channel}"
                raise ConfigError(f"{told}, but the sound has {count} channel(s), counted from 0")
            return np.ascontiguousarray(samples[:, self._channel])
        if low is not None and count > 1:
            samples, count = np.delete(samples, low, axis=1), count - 1
        if count == 1 or not len(samples):
            return np.ascontiguousarray(samples[:, 0])
        before, known = self._alone, len(self._powers) == count
        self._choose(samples, rate)
        mixed = _mixed(samples, self._alone)
        if known and before != self._alone:
            fading = min(len(samples), max(1, round(FADE_S * rate)))
            rising = np.linspace(0, 1, fading, dtype=np.float32)
            mixed[:fading] = rising * mixed[:fading] + (1 - rising) * _mixed(samples[:fading], before)
        return mixed

    def _choose(self, samples: Samples, rate: float) -> None:
        """Weigh what was heard lately: loud moments count most, so a sound out of silence is not late."""
        finite = np.where(np.isfinite(samples), samples, np.float32(0.0)).astype(np.float64)
        finite -= finite.mean(axis=0)  # an offset is no sound
        if len(self._powers) != finite.shape[1]:
            self._mean, self._powers, self._alone = 0.0, np.zeros(finite.shape[1]), None
        kept = 0.5 ** (len(finite) / rate / HALF_LIFE_S)
        self._mean = kept * self._mean + float(np.square(finite.mean(axis=1)).sum())
        self._powers = kept * self._powers + np.square(finite).sum(axis=0)
        powers = self._powers
        loudest = int(powers.argmax())
        if powers[loudest] <= 0:
            return
        share = self._mean / powers[loudest]
        if self._alone is None:
            self._alone = loudest if share < LOST else None
        elif share > 2 * LOST:
            self._alone = None
        elif powers[loudest] > 2 * powers[self._alone]:
            self._alone = loudest


def _mixed(samples: Samples, alone: int | None) -> Samples:
    """A copy of one channel, or the mean of all."""
    mixed: Samples = samples.mean(axis=1, dtype=np.float32) if alone is None else samples[:, alone].copy()
    return mixed


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
