"""Sound operations analyzers share: a constant offset is taken out before anything is measured or heard.

I2S and cheap USB microphones sit at a constant voltage, often 0.5 to 2 % of full scale: more than a quiet room. Then
silence has a level, edges of sounds drown and models hear another sound. Nothing here alters a block.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE

Samples = npt.NDArray[np.float32]

CORNER_HZ = 5.0
"""Far below any voice: 60 Hz loses 0.03 dB, and an offset that steps is gone within a tenth of a second."""
_PART = 4_096
"""Samples at a time: powers of the decay stay far from the limits of a float."""


class HighPass:
    """A one-pole high-pass over a stream: the same result however the stream is cut into blocks.

    It begins with the first sample as the offset, so that a constant is silence from the start.
    """

    def __init__(self, corner_hz: float = CORNER_HZ, rate: int = AUDIO_RATE) -> None:
        self._decay = math.exp(-2 * math.pi * corner_hz / rate)
        self._powers = self._decay ** np.arange(1, _PART + 1)
        self._offset: float | None = None

    def feed(self, samples: npt.NDArray[np.floating]) -> Samples:
        """The next samples [n] without what is constant in them, float32 [n]."""
        parts = [self._part(samples[k : k + _PART].astype(np.float64)) for k in range(0, len(samples), _PART)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def reset(self) -> None:
        """Forget the offset: another stream begins."""
        self._offset = None

    def _part(self, x: npt.NDArray[np.float64]) -> Samples:
        start = float(x[0]) if self._offset is None else self._offset
        powers = self._powers[: len(x)]
        # offset[n] = decay * offset[n-1] + (1 - decay) * x[n], solved for all n at once.
        offset = powers * (start + (1 - self._decay) * np.cumsum(x / powers))
        self._offset = float(offset[-1])
        return (x - offset).astype(np.float32)


def dbfs(samples: npt.NDArray[np.floating]) -> float:
    """Level of ``samples`` [n] in dB of full scale, a constant offset taken out; minus infinity for silence."""
    power = float(np.var(samples, dtype=np.float64)) if len(samples) else 0.0
    return 10 * math.log10(power) if power > 0 else -math.inf
