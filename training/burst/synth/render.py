"""Control tracks to samples.

Voiced path: glottal pulses after Klatt and Klatt (1990, "KLGLOTT88"), at twice the rate, with jitter, shimmer, period
doubling and roughness. Breath path: white noise. Both pass a cascade of formants applied frame by frame as a complex
all-pole response, so formants may glide freely. Poles that leave the band are faded out above 7 kHz.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from training.burst.synth.draw import Draw
from training.burst.synth.voice import CONTROL_RATE, FORMANTS, RATE, Array, Utterance

_STEP = RATE // CONTROL_RATE
_FFT = 1024
_FRAME = 480
_HOP = 2 * _STEP
_HERTZ = np.arange(_FFT // 2 + 1) * RATE / _FFT
_DELAY = np.exp(-2j * np.pi * np.arange(_FFT // 2 + 1) / _FFT)
_OCTAVE = np.log2(np.maximum(_HERTZ, 60) / 500)


def render(utterance: Utterance) -> npt.NDArray[np.float32]:
    """Samples at 16 kHz with a peak of 1."""
    count = min(len(utterance.f0), int((utterance.end + 0.15) * CONTROL_RATE) + 1)
    speaker = utterance.speaker
    formants = _settle(utterance, count)
    voice = _pulses(utterance, count)
    breath = _noise(utterance, count)
    wide = utterance.bandwidth
    x = _shape(voice, formants, utterance.voice_tilt[:count] + speaker.voice_tilt, wide)
    # Below the first formant the breath is weak: the source is at the constriction, not at the glottis.
    weak_lows = np.minimum(1, _HERTZ / 400 + 0.1)
    x = x + _shape(breath, formants, utterance.breath_tilt[:count] + speaker.breath_tilt, wide * 1.1, weak_lows)
    return normalised(x)


def normalised(x: Array) -> npt.NDArray[np.float32]:
    """Scaled to a peak of 1."""
    return (x / (np.abs(x).max() + 1e-9)).astype(np.float32)


def _settle(utterance: Utterance, count: int) -> Array:
    """Formant tracks without jumps and with a slight wobble."""
    smooth = np.ones(7) / 7
    tracks = [np.convolve(np.pad(utterance.formants[:count, k], 3, "edge"), smooth, "valid") for k in range(FORMANTS)]
    wobble = 1 + 0.02 * utterance.draw.wander(count, 5, CONTROL_RATE)
    return np.stack(tracks, axis=1) * wobble[:, None]


def _sampled(track: Array, count: int, oversampling: int = 1) -> Array:
    step = _STEP * oversampling
    return np.interp(np.arange(count * step) / step, np.arange(count), track[:count])


def _pulses(utterance: Utterance, count: int) -> Array:
    draw, speaker = utterance.draw, utterance.speaker
    n = count * _STEP
    jitter = _sampled(utterance.jitter, count, 2) * draw.wander(2 * n, 120, 2 * RATE)
    phase = np.cumsum(np.clip(_sampled(utterance.f0, count, 2) * (1 + jitter), 20, 3000)) / (2 * RATE)
    cycle = phase.astype(int)
    x = (phase - cycle) / speaker.open_quotient
    shimmer = 1 + speaker.shimmer * draw.rng.standard_normal(cycle[-1] + 2)
    pulse = np.where(x < 1, 2 * x - 3 * x * x, 0) * shimmer[cycle]
    pulse *= 1 - _sampled(utterance.doubling, count, 2) * (cycle % 2)
    voice = resample_poly(pulse - pulse.mean(), 1, 2)[:n] * _sampled(utterance.voice, count)
    if utterance.rough.any():
        voice *= 1 - _sampled(utterance.rough, count) * roughness(utterance.draw, n, utterance.rough_hertz, 0.25)
    return np.asarray(voice)


def roughness(draw: Draw, n: int, hertz: float, unsteady: float) -> Array:
    """An irregular pulsation between 0 and 1 of ``n`` samples."""
    phase = 2 * np.pi * np.cumsum(hertz * (1 + unsteady * draw.wander(n, 8, RATE))) / RATE
    return np.asarray(0.5 + 0.5 * np.sin(phase))


def _noise(utterance: Utterance, count: int) -> Array:
    draw, n = utterance.draw, count * _STEP
    noise = draw.rng.standard_normal(n) * _sampled(utterance.breath, count) * utterance.speaker.breath
    return np.asarray(noise * (1 + utterance.breath_flutter * draw.wander(n, 40, RATE)))


def _shape(x: Array, formants: Array, tilt: Array, wide: float, gain: Array | None = None) -> Array:
    """``x`` through the time-varying cascade, by overlap and add."""
    if not np.any(x):
        return x
    frames = (len(x) + _FRAME) // _HOP + 1
    padded = np.pad(x, (_FRAME // 2, frames * _HOP + 2 * _FRAME - len(x)))
    cut = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP][:frames]
    at = np.minimum(np.arange(frames) * 2, len(formants) - 1)
    response = _response(formants[at], tilt[at], wide)
    if gain is not None:
        response = response * gain
    shaped = np.fft.irfft(np.fft.rfft(cut * np.hanning(_FRAME + 1)[:_FRAME] / 1.5, _FFT) * response, _FFT)
    out = np.zeros(frames * _HOP + 2 * _FFT)
    for k in range(frames):
        out[k * _HOP : k * _HOP + _FFT] += shaped[k]
    return out[_FRAME // 2 : _FRAME // 2 + len(x)]


def _response(formants: Array, tilt: Array, wide: float) -> npt.NDArray[np.complex128]:
    response = 10 ** (np.clip(tilt[:, None] * _OCTAVE, -60, 40) / 20) + 0j
    for k in range(FORMANTS):
        frequency = np.clip(formants[:, k], 120, 7850)[:, None]
        radius = np.exp(-np.pi * (50 + 0.045 * frequency) * wide / RATE)
        cosine = 2 * radius * np.cos(2 * np.pi * frequency / RATE)
        pole = (1 - cosine + radius**2) / (1 - cosine * _DELAY + radius**2 * _DELAY**2)
        inside = np.clip((7300 - formants[:, k]) / 500, 0, 1)[:, None]
        response = response * (1 - inside + inside * pole)
    return response
