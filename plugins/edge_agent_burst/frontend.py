"""Log-mel spectrogram, computed once per frame as the sound arrives. The bundled model is trained with this code.

A frame is 32 ms of sound (Hann window) every 16 ms, its power in 64 triangular bands equally spaced on the mel scale of
O'Shaughnessy between 60 and 7,800 Hz, in dB relative to full scale. :func:`relative` makes a window of frames
independent of loudness.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE

HOP = 256
FRAME = 512
BANDS = 64
FLOOR_DB = -100.0
_LOW_HZ = 60.0
_HIGH_HZ = 7_800.0
_DEPTH_DB = 40.0
_OFFSET_DB = 20.0

Frames = npt.NDArray[np.float32]


class LogMel:
    """Log-mel frames of a stream; keeps only the samples that the next frame shares with the last one."""

    def __init__(self) -> None:
        self._window = np.hanning(FRAME + 1)[:FRAME].astype(np.float32)
        # A full-scale sine reads about 0 dB in its band.
        self._filters = _filters() * (4.0 / self._window.sum() ** 2)
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples: npt.NDArray[np.float32]) -> Frames:
        """Frames completed by float32 [n]: float32 [frames, 64] in dB."""
        samples = np.concatenate([self._rest, samples.astype(np.float32, copy=False)])
        count = max(0, (len(samples) - FRAME) // HOP + 1)
        self._rest = samples[count * HOP :]
        if count == 0:
            return np.zeros((0, BANDS), np.float32)
        step = samples.itemsize
        # Overlapping frames as a view; sliding_window_view makes the same and takes longer than the transform.
        cut = np.ndarray((count, FRAME), np.float32, samples, strides=(HOP * step, step))
        spectrum = np.fft.rfft(cut * self._window, axis=1)
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        bands: Frames = power.astype(np.float32, copy=False) @ self._filters
        bands += np.float32(10.0 ** (FLOOR_DB / 10.0))
        np.log10(bands, out=bands)
        bands *= np.float32(10.0)
        return bands

    def missing(self, frames: int) -> int:
        """Number of samples that complete the next ``frames`` frames."""
        return frames * HOP + FRAME - HOP - len(self._rest)


def relative(frames: Frames) -> Frames:
    """dB [..., frames, 64] to -1..1: 60 dB below to 20 dB above the band mean of the loudest frame."""
    loudest = frames.mean(axis=-1).max(axis=-1)[..., None, None]
    return np.asarray(np.clip((frames - loudest + _OFFSET_DB) / _DEPTH_DB, -1.0, 1.0), np.float32)


def level(frames: Frames) -> float:
    """Band mean of the loudest of ``frames``, in dB."""
    return float(frames.mean(axis=-1).max())


def _filters() -> npt.NDArray[np.float32]:
    """Triangles: float32 [257, 64]."""
    edges = _hertz(np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), BANDS + 2))
    hertz = np.arange(FRAME // 2 + 1) * AUDIO_RATE / FRAME
    rise = (hertz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rise, fall))
    # Low bands are narrower than a bin: they get the bin nearest to their centre.
    for band in np.flatnonzero(triangles.sum(axis=0) < 0.5):
        triangles[np.abs(hertz - edges[band + 1]).argmin(), band] = 1.0
    return triangles.astype(np.float32)


def _mel(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
