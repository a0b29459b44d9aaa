"""A speaker's vocal tract and the control tracks of one utterance.

Controls run at 200 Hz: fundamental frequency, levels of voice and breath, eight formants up to Nyquist, spectral tilts,
roughness, period doubling and jitter. :mod:`training.burst.synth.render` turns them into samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from training.burst.synth.draw import Draw

RATE = 16_000
CONTROL_RATE = 200
FORMANTS = 8
Array = npt.NDArray[np.float64]

VOWELS = {
    "a": (750, 1150, 2500, 3500, 4500),
    "A": (900, 1400, 2700, 3700, 4700),
    "x": (520, 1500, 2500, 3500, 4500),
    "i": (290, 2250, 2900, 3500, 4500),
    "u": (320, 870, 2250, 3300, 4300),
    "e": (530, 1850, 2500, 3500, 4500),
    "o": (560, 850, 2400, 3300, 4400),
    "E": (680, 1720, 2450, 3500, 4500),
    "m": (260, 1050, 2200, 3200, 4200),
}
"""Formant frequencies of a male tract in Hz; A is an open shout, x neutral, E as in "bad", m a closed mouth."""
_HIGH = (5500.0, 6500.0, 7500.0)
"""Poles above the vowels' own: without them the highs vanish."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """``tract`` scales formants (1 = adult male); ``breath`` is the level of aspiration against voice.

    ``voice_tilt`` and ``breath_tilt`` are dB per octave added to every utterance; ``open_quotient`` is the
    share of a glottal cycle during which air flows.
    """

    kind: str
    f0: float
    tract: float
    open_quotient: float
    jitter: float
    shimmer: float
    breath: float
    voice_tilt: float
    breath_tilt: float

    @classmethod
    def drawn(cls, draw: Draw) -> Speaker:
        """A man, a woman or, more rarely, a child."""
        kind = draw.pick(("man", "woman", "child"), (0.45, 0.45, 0.10))
        f0 = {"man": (85, 155), "woman": (165, 260), "child": (240, 380)}[kind]
        tract = {"man": (0.9, 1.08), "woman": (1.05, 1.25), "child": (1.2, 1.45)}[kind]
        return cls(
            kind=kind,
            f0=draw.log(*f0),
            tract=draw.flat(*tract),
            open_quotient=draw.flat(0.4, 0.9, "open_quotient"),
            jitter=draw.log(0.0015, 0.05, "jitter"),
            shimmer=draw.log(0.015, 0.3, "shimmer"),
            breath=draw.log(0.007, 0.4, "breath"),
            voice_tilt=draw.flat(-3, 5, "voice_tilt"),
            breath_tilt=draw.flat(-4, 3, "breath_tilt"),
        )

    def infant(self, draw: Draw) -> Speaker:
        """The same draws in a baby's tract."""
        return replace(self, kind="baby", f0=draw.flat(330, 520), tract=draw.flat(1.4, 1.7))

    def vowel(self, draw: Draw, names: str) -> Array:
        """Formants of one of ``names``, as this speaker says it now: Hz [8]."""
        low = np.array(VOWELS[draw.pick(names)], float) * self.tract
        return np.concatenate([low, np.array(_HIGH) * self.tract**0.5]) * draw.factors(0.08, FORMANTS)


@dataclass(frozen=True, slots=True)
class Sound:
    """One gesture. Curves are given as values spread evenly over its duration.

    ``voice`` and ``breath`` are peak levels; ``attack`` and ``release`` seconds, ``shape`` the release's exponent;
    tilts are dB per octave around 500 Hz; ``rough`` is the depth of amplitude roughness, ``doubling`` how much every
    second glottal pulse is weakened. None keeps the utterance's value.
    """

    seconds: float
    f0: Sequence[float] | Array | None = None
    voice: float = 0.0
    breath: float = 0.0
    formants: Array | None = None
    to_formants: Array | None = None
    attack: float = 0.03
    release: float = 0.06
    shape: float = 2.0
    voice_tilt: Sequence[float] | None = None
    breath_tilt: Sequence[float] | None = None
    rough: float = 0.0
    doubling: float = 0.0
    jitter: float | None = None


class Utterance:
    """Control tracks, empty at first; gestures are placed on them with :meth:`put`."""

    def __init__(self, draw: Draw, speaker: Speaker, seconds: float) -> None:
        count = int(seconds * CONTROL_RATE)
        self.draw = draw
        self.speaker = speaker
        self.f0 = np.full(count, speaker.f0)
        self.voice = np.zeros(count)
        self.breath = np.zeros(count)
        self.formants = np.tile(speaker.vowel(draw, "x"), (count, 1))
        self.voice_tilt = np.full(count, -4.0)
        self.breath_tilt = np.full(count, -3.0)
        self.rough = np.zeros(count)
        self.doubling = np.zeros(count)
        self.jitter = np.full(count, speaker.jitter)
        self.rough_hertz = draw.log(30, 150)
        self.bandwidth = draw.log(0.45, 1.5, "bandwidth")
        self.breath_flutter = draw.flat(0, 0.25)
        self.end = 0.0

    def put(self, start: float, sound: Sound) -> None:
        """Add ``sound`` from ``start`` seconds on; what lies behind the end of the utterance is cut off."""
        first = int(start * CONTROL_RATE)
        whole = max(2, int(sound.seconds * CONTROL_RATE))
        last = min(first + whole, len(self.f0))
        if last - first < 2:
            return
        span = slice(first, last)
        position = np.linspace(0, 1, whole)[: last - first]
        envelope = _envelope(sound, whole)[: last - first]
        self.voice[span] = np.maximum(self.voice[span], sound.voice * envelope)
        self.breath[span] = np.maximum(self.breath[span], sound.breath * envelope)
        if sound.formants is not None:
            target = sound.formants if sound.to_formants is None else sound.to_formants
            self.formants[span] = sound.formants + (target - sound.formants) * position[:, None]
        for track, curve in (
            (self.f0, sound.f0),
            (self.voice_tilt, sound.voice_tilt),
            (self.breath_tilt, sound.breath_tilt),
        ):
            if curve is not None:
                track[span] = np.interp(position, np.linspace(0, 1, len(curve)), curve)
        if sound.jitter is not None:
            self.jitter[span] = sound.jitter
        self.rough[span] = sound.rough
        self.doubling[span] = sound.doubling
        self.end = max(self.end, last / CONTROL_RATE)


def _envelope(sound: Sound, count: int) -> Array:
    rise = np.arange(count) / CONTROL_RATE / max(sound.attack, 0.004)
    fall = np.arange(count)[::-1] / CONTROL_RATE / max(sound.release, 0.004)
    return np.minimum(1, rise) * np.minimum(1, fall) ** sound.shape
