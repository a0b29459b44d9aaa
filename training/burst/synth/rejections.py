"""Sounds to reject: babble with the rhythm of speech, and noises of things. Real recordings of both matter more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from training.burst.synth.draw import Draw
from training.burst.synth.render import normalised, render
from training.burst.synth.voice import RATE, Array, Sound, Speaker, Utterance

Samples = npt.NDArray[np.float32]
_FRICATIVE = np.array([1, 1.1, 1.3, 1.4, 1.4, 1.2, 1.1, 1.05])


def speech(draw: Draw, speaker: Speaker, _kind: str) -> Samples:
    """Syllables of gliding vowels with fricatives, stops and nasals, falling in pitch until a pause."""
    utterance, time, until = Utterance(draw, speaker, 4), draw.flat(0, 0.2), draw.flat(1.5, 3.6)
    rate, f0, mouth = draw.flat(3, 6.5), speaker.f0 * draw.flat(1, 1.3), speaker.vowel(draw, "aieoux")
    while time < until:
        if draw.chance(0.55):
            time = _consonant(utterance, time, f0)
        after, seconds = speaker.vowel(draw, "aieouxE"), draw.flat(0.5, 1.3) / rate
        vowel = Sound(
            seconds,
            f0=[f0 * draw.flat(0.92, 1.1), f0 * draw.flat(0.85, 1.1)],
            voice=draw.flat(0.5, 1),
            breath=draw.flat(0.01, 0.1),
            formants=mouth,
            to_formants=after,
            attack=0.02,
            release=0.03,
            voice_tilt=[draw.flat(-6, -2)] * 2,
        )
        utterance.put(time, vowel)
        time, mouth, f0 = time + seconds, after, f0 * draw.flat(0.94, 1.02)
        if draw.chance(0.12):
            time += draw.flat(0.1, 0.4)
            f0 = speaker.f0 * draw.flat(1, 1.3)
    return render(utterance)


def _consonant(utterance: Utterance, time: float, f0: float) -> float:
    draw, speaker, seconds = utterance.draw, utterance.speaker, utterance.draw.flat(0.04, 0.13)
    kind = draw.pick(("fricative", "stop", "nasal"))
    if kind == "fricative":
        tilt, mouth = draw.flat(2, 9), speaker.vowel(draw, "ix") * _FRICATIVE
        level = draw.flat(0.2, 0.8)
        hiss = Sound(seconds, breath=level, formants=mouth, attack=0.02, release=0.03, breath_tilt=[tilt, tilt])
        utterance.put(time, hiss)
    elif kind == "stop":
        tilt, mouth = draw.flat(0, 6), speaker.vowel(draw, "ixu")
        level = draw.flat(0.3, 1)
        bang = Sound(seconds * 0.3, breath=level, formants=mouth, attack=0.004, release=0.02, breath_tilt=[tilt, tilt])
        utterance.put(time + seconds * 0.7, bang)
    else:
        utterance.put(time, Sound(seconds, [f0], 0.35, formants=speaker.vowel(draw, "m"), voice_tilt=[-8, -8]))
    return time + seconds


def coloured_noise(draw: Draw, count: int) -> Array:
    """Noise with a power law in frequency between brown-ish and blue-ish, standard deviation 1."""
    exponent = draw.flat(-1, 1.2)
    spectrum = np.fft.rfft(draw.rng.standard_normal(count))
    hertz = np.maximum(np.arange(len(spectrum)) / count * RATE, 30)
    x = np.fft.irfft(spectrum / hertz**exponent, count)
    return np.asarray(x / (x.std() + 1e-9))


def _noise(draw: Draw, time: Array) -> Array:
    return coloured_noise(draw, len(time)) * (1 + 0.5 * draw.wander(len(time), draw.log(0.5, 8), RATE))


def _hum(draw: Draw, time: Array) -> Array:
    f0 = draw.log(45, 400)
    x = draw.flat(0, 0.5) * coloured_noise(draw, len(time))
    for harmonic in range(1, 15):
        x += draw.flat(0.1, 1) / harmonic * np.sin(2 * np.pi * f0 * harmonic * time + draw.flat(0, 6))
    return x


def _knocks(draw: Draw, time: Array) -> Array:
    x = np.zeros(len(time))
    ringing = draw.chance(0.5)
    for _ in range(int(draw.rng.integers(1, 25))):
        first = int(draw.rng.integers(0, len(x) - 400))
        count = min(len(x) - first, int(RATE * draw.log(0.003, 0.25)))
        t = np.arange(count) / RATE
        body = np.zeros(count)
        if ringing:
            for _ in range(4):
                body += np.sin(2 * np.pi * draw.log(200, 6000) * t)
        else:
            body = draw.rng.standard_normal(count)
        x[first : first + count] += draw.flat(0.2, 1) * body * np.exp(-t * 5 * RATE / count)
    return x


def _tones(draw: Draw, time: Array) -> Array:
    x, first = np.zeros(len(time)), 0
    while first < len(x) - 800:
        count = min(len(x) - first, int(RATE * draw.flat(0.08, 0.8)))
        t, f0, slope = np.arange(count) / RATE, draw.log(100, 3000), draw.flat(0.6, 2)
        tone = np.sum([np.sin(2 * np.pi * f0 * h * t) / h**slope for h in range(1, 8)], axis=0)
        x[first : first + count] += tone * np.exp(-t * draw.flat(0, 8))
        first += int(count * draw.flat(0.7, 1.6))
    return x


def _chirps(draw: Draw, time: Array) -> Array:
    x = np.zeros(len(time))
    for _ in range(int(draw.rng.integers(1, 10))):
        count = int(RATE * draw.flat(0.03, 0.6))
        first = int(draw.rng.integers(0, max(1, len(x) - count)))
        count = min(count, len(x) - first)
        sweep = np.linspace(draw.log(300, 5000), draw.log(300, 5000), count)
        x[first : first + count] += np.sin(2 * np.pi * np.cumsum(sweep) / RATE) * np.hanning(count)
    return x


def _chopped(draw: Draw, time: Array) -> Array:
    beat = np.sign(np.sin(2 * np.pi * draw.log(1, 60) * time + 3 * draw.wander(len(time), 1, RATE)))
    return coloured_noise(draw, len(time)) * (0.5 + 0.5 * beat) ** draw.flat(0.5, 2)


THINGS: dict[str, Callable[[Draw, Array], Array]] = {
    "noise": _noise,
    "hum": _hum,
    "knocks": _knocks,
    "tones": _tones,
    "chirps": _chirps,
    "chopped": _chopped,
}


def background(draw: Draw, _speaker: Speaker, kind: str) -> Samples:
    """Noises of things: ``kind`` is one of :data:`THINGS`."""
    time = np.arange(int(RATE * draw.flat(1.5, 4))) / RATE
    return normalised(THINGS[kind](draw, time))
