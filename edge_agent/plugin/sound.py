"""Sound operations for analyzers: high-pass filter against a constant offset (DC), and level in dBFS.

I2S and cheap USB microphones have a constant offset, often 0.5 to 2 % of full scale, which exceeds the sound of a quiet
room: silence then has a level, onsets are masked and models get distorted input. Blocks are not altered.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE

Samples = npt.NDArray[np.float32]

CORNER_HZ = 5.0
"""Far below any voice: 60 Hz loses 0.03 dB, and a step of the offset decays within a tenth of a second."""
_PART = 4_096
"""Samples per step, so that powers of the decay stay within the range of a float."""


class HighPass:
    """One-pole high-pass filter of a stream; the result does not depend on the block sizes.

    It starts with the first sample as the offset, so that a constant is silence from the start.
    """

    def __init__(self, corner_hz: float = CORNER_HZ, rate: int = AUDIO_RATE) -> None:
        self._decay = math.exp(-2 * math.pi * corner_hz / rate)
        self._powers = self._decay ** np.arange(1, _PART + 1)
        self._offset: float | None = None

    def feed(self, samples: npt.NDArray[np.floating]) -> Samples:
        """Filter the next samples [n]; float32 [n]."""
        parts = [self._part(samples[k : k + _PART].astype(np.float64)) for k in range(0, len(samples), _PART)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def reset(self) -> None:
        """Forget the offset before another stream."""
        self._offset = None

    def _part(self, x: npt.NDArray[np.float64]) -> Samples:
        start = float(x[0]) if self._offset is None else self._offset
        powers = self._powers[: len(x)]
        # offset[n] = decay * offset[n-1] + (1 - decay) * x[n], solved for all n at once.
        offset = powers * (start + (1 - self._decay) * np.cumsum(x / powers))
        self._offset = float(offset[-1])
        return (x - offset).astype(np.float32)


def dbfs(samples: npt.NDArray[np.floating]) -> float:
    """Return the level of ``samples`` [n] in dB of full scale without a constant offset; minus infinity for silence."""
    power = float(np.var(samples, dtype=np.float64)) if len(samples) else 0.0
    return 10 * math.log10(power) if power > 0 else -math.inf
