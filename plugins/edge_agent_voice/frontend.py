"""Frames of sound for the voice analyzer: power in mel bands, level, pitch and how periodic the sound is.

A frame is 40 ms of sound (Hann window) every 16 ms. One Fourier transform of it gives both, the bands and, transformed
back, the autocorrelation in which the pitch is found (Boersma 1993). The plugin and its training use this very code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE

HOP = 256
HOP_S = HOP / AUDIO_RATE
FRAME = 640
BANDS = 26
FLOOR_DB = -120.0
_SIZE = 1_024
_LOW_HZ, _HIGH_HZ = 80.0, 7_600.0
PITCH_HZ = (65.0, 600.0)
"""Lowest and highest pitch that is looked for: low male to excited child."""
_OCTAVE = 0.03
"""Preference for higher pitches per octave, against the multiples of the period that fit as well."""

Array = npt.NDArray[np.float32]
Samples = Array


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """``bands`` float32 [n, 26] and ``level`` float32 [n], dB of full scale; ``pitch`` float32 [n], Hz; ``voicing``
    float32 [n], 0 (noise) to 1 (periodic)."""

    bands: Array
    level: Array
    pitch: Array
    voicing: Array

    def __len__(self) -> int:
        return len(self.level)

    def part(self, begin: int, end: int) -> Frames:
        """Frames ``begin`` to ``end`` as copies, so that no longer array is kept alive."""
        cut = slice(begin, end)
        return Frames(self.bands[cut].copy(), self.level[cut].copy(), self.pitch[cut].copy(), self.voicing[cut].copy())

    @classmethod
    def join(cls, parts: list[Frames]) -> Frames:
        """One after the other."""
        if not parts:
            nothing = np.zeros(0, np.float32)
            return cls(np.zeros((0, BANDS), np.float32), nothing, nothing, nothing)
        return cls(
            np.concatenate([p.bands for p in parts]),
            np.concatenate([p.level for p in parts]),
            np.concatenate([p.pitch for p in parts]),
            np.concatenate([p.voicing for p in parts]),
        )


class Frontend:
    """Cut a stream into frames. Keeps the samples that the next frame shares with the last one, nothing more."""

    def __init__(self) -> None:
        window = np.hanning(FRAME + 1)[:FRAME].astype(np.float32)
        self._window = window
        # A full-scale sine reads about 0 dB in its band; white noise and sines of one level have one level.
        self._filters = _filters() * (4.0 / float(window.sum()) ** 2)
        self._power = 2.0 / (_SIZE * float((window**2).sum()))
        own = np.fft.irfft(np.abs(np.fft.rfft(window, _SIZE)) ** 2)
        self._first = int(AUDIO_RATE / PITCH_HZ[1])
        last = int(AUDIO_RATE / PITCH_HZ[0]) + 1
        lags = np.arange(self._first - 1, last + 2)
        self._lags = lags
        self._correction = (own[0] / own[lags]).astype(np.float32)
        self._preference = (_OCTAVE * np.log2(lags / self._first)).astype(np.float32)
        self._rest = np.zeros(0, np.float32)

    def reset(self) -> None:
        """Forget the sound."""
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples: Array) -> Frames:
        """Frames completed by float32 [n], n of any size."""
        samples = np.concatenate([self._rest, samples])
        count = max(0, (len(samples) - FRAME) // HOP + 1)
        self._rest = samples[count * HOP :].copy()
        if count == 0:
            return Frames.join([])
        cut = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[: count * HOP : HOP]
        spectrum = np.fft.rfft(cut * self._window, _SIZE, axis=1)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        floor = 10.0 ** (FLOOR_DB / 10.0)
        bands = 10.0 * np.log10(power @ self._filters + floor)
        level = 10.0 * np.log10(power.sum(axis=1) * self._power + floor)
        pitch, voicing = self._period(power)
        return Frames(bands.astype(np.float32), level.astype(np.float32), pitch, voicing)

    def _period(self, power: Array) -> tuple[Array, Array]:
        """Pitch [n] in Hz and voicing [n] from the power spectra [n, 513]."""
        correlation = np.fft.irfft(power, axis=1)
        energy = np.maximum(correlation[:, :1], 1e-12)
        curve = correlation[:, self._lags] / energy * self._correction
        inner = curve[:, 1:-1]
        peaks = (inner >= curve[:, :-2]) & (inner > curve[:, 2:])
        score = np.where(peaks, inner - self._preference[1:-1], -1.0)
        best = score.argmax(axis=1)
        rows = np.arange(len(curve))
        left, top, right = curve[rows, best], curve[rows, best + 1], curve[rows, best + 2]
        # A parabola through three points finds the period to a fraction of a sample.
        bend = np.minimum(left - 2 * top + right, -1e-6)
        shift = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
        pitch = AUDIO_RATE / (self._lags[best + 1] + shift)
        found = (score[rows, best] > 0) & (correlation[:, 0] > 1e-9)
        voicing = np.where(found, np.clip(top, 0.0, 1.0), 0.0)
        return np.where(found, pitch, 0.0).astype(np.float32), voicing.astype(np.float32)


def _filters() -> Array:
    """Triangles equally spaced on the mel scale: float32 [513, 26]."""
    edges = _hertz(np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), BANDS + 2))
    hertz = np.arange(_SIZE // 2 + 1) * AUDIO_RATE / _SIZE
    rise = (hertz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rise, fall)).astype(np.float32)


def _mel(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
