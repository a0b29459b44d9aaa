"""What happens between a mouth and the samples: speed, breath, room, microphone, clipping, noise, codec, gain."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import fftconvolve, lfilter

from training.burst.synth.draw import Draw
from training.burst.synth.rejections import coloured_noise

RATE = 16_000
Array = npt.NDArray[np.float64]


def record(
    samples: npt.NDArray[np.float32],
    rng: np.random.Generator,
    noise: npt.NDArray[np.float32] | None = None,
    *,
    mild: bool = False,
) -> npt.NDArray[np.float32]:
    """``samples`` as a microphone in a room would have recorded them.

    ``noise`` (of any length, repeated as needed) replaces synthetic noise. ``mild`` is for sounds that were recorded
    once already: no change of speed, less room. The result is a little longer when there is reverberation.
    """
    draw = Draw(rng)
    x = samples.astype(float)
    if not mild and draw.chance(0.5):
        x = np.interp(np.arange(0, len(x) - 1, draw.flat(0.92, 1.08)), np.arange(len(x)), x)
    if not mild and draw.chance(0.35):
        x = x + _blown(x, draw)
    if draw.chance(0.25 if mild else 0.6):
        x = _room(x, draw)
    if draw.chance(0.5 if mild else 0.7):
        x = _microphone(x, draw)
    x = x / (np.abs(x).max() + 1e-9)
    if draw.chance(0.12):
        x = np.tanh(x * draw.flat(1.5, 6))
    ratio_db = float(np.clip(rng.normal(32, 14), 0, 70))
    x = x + _noise(len(x), draw, noise) * _loudness(x) * 10 ** (-ratio_db / 20)
    x = x / (np.abs(x).max() + 1e-9)
    if draw.chance(0.5):
        x = _coded(x, draw)
    return (x / (np.abs(x).max() + 1e-9) * draw.log(0.03, 0.95)).astype(np.float32)


def _loudness(x: Array) -> float:
    """Root mean square of the louder third."""
    loud = np.sort(x**2)[-max(1, len(x) // 3) :]
    return float(np.sqrt(loud.mean()))


def _noise(count: int, draw: Draw, noise: npt.NDArray[np.float32] | None) -> Array:
    if noise is None:
        return coloured_noise(draw, count)
    repeated = np.resize(np.roll(noise, int(draw.rng.integers(len(noise)))), count).astype(float)
    return np.asarray(repeated / (np.sqrt(np.mean(repeated**2)) + 1e-9))


def _blown(x: Array, draw: Draw) -> Array:
    """The rumble of breath that strikes a microphone close by: low noise that swells with the sound."""
    envelope = np.sqrt(lfilter([0.002], [1, -0.998], x**2))
    swell = (envelope / (envelope.max() + 1e-9)) ** draw.flat(0.5, 2)
    swell *= np.clip(1 + draw.wander(len(x), 12, RATE), 0, 3)
    corner = 1 - 2 * np.pi * draw.log(30, 250) / RATE
    rumble = lfilter([1 - corner], [1, -corner], lfilter([1 - corner], [1, -corner], draw.rng.standard_normal(len(x))))
    rumble *= swell
    return np.asarray(rumble / (_loudness(rumble) + 1e-9) * _loudness(x) * draw.log(0.2, 4))


def _microphone(x: Array, draw: Draw, depth_db: float = 6.0) -> Array:
    """A random smooth frequency response with a low cut and sometimes a high cut."""
    n = 1 << int(np.ceil(np.log2(len(x) + 512)))
    hertz = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 1)
    knots = int(draw.rng.integers(3, 9))
    octaves = np.linspace(np.log2(50), 13, knots)
    gain = np.interp(np.log2(np.maximum(hertz, 50)), octaves, draw.rng.normal(0, depth_db, knots))
    gain -= 10 * np.log10(1 + (draw.log(30, 250) / hertz) ** 4)
    if draw.chance(0.45):
        gain -= 10 * np.log10(1 + (hertz / draw.log(2800, 9000)) ** draw.log(4, 60))
    return np.asarray(np.fft.irfft(np.fft.rfft(x, n) * 10 ** (np.clip(gain, -60, 25) / 20), n)[: len(x)])


def _room(x: Array, draw: Draw) -> Array:
    """Exponentially decaying noise as the impulse response, behind the direct sound."""
    decay = draw.log(0.08, 0.9)
    count = int(RATE * min(decay, 0.7))
    tail = draw.rng.standard_normal(count) * 10 ** (-3 * np.arange(count) / RATE / decay)
    tail = lfilter([1], [1, -draw.flat(0, 0.6)], tail)
    tail *= draw.log(0.03, 0.9) / (np.sqrt((tail**2).sum()) + 1e-9)
    tail[: int(RATE * draw.flat(0.001, 0.01))] = 0
    tail[0] = 1
    return np.asarray(fftconvolve(x, tail)[: len(x) + count // 2])


def _coded(x: Array, draw: Draw) -> Array:
    """Through a lossy codec and back, as sounds that were sent or stored have been."""
    container, codec = draw.pick((("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")), (3, 1, 1))
    buffer = io.BytesIO()
    soundfile.write(buffer, x, RATE, format=container, subtype=codec, compression_level=draw.flat(0.3, 0.99))
    buffer.seek(0)
    return np.asarray(soundfile.read(buffer)[0])
