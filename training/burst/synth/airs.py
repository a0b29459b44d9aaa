"""Sounds made of air: breaths, sighs, gasps and pants, coughs, throat clearing, sneezes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from training.burst.synth.draw import Draw
from training.burst.synth.render import normalised, render, roughness
from training.burst.synth.voice import Array, Sound, Speaker, Utterance

Samples = npt.NDArray[np.float32]
_HISS = np.array([1, 1.1, 1.25, 1.3, 1.25, 1.15, 1.1, 1.05])
"""Formants pushed up by a narrowed mouth."""


def exhale(
    utterance: Utterance,
    start: float,
    seconds: float,
    level: float = 1.0,
    voice: float = 0.0,
    f0: Sequence[float] | None = None,
    bright: float = 0.0,
    nasal: bool = False,
) -> None:
    """A breath out: its spectrum falls. ``voice`` is relative to the breath, ``bright`` dB per octave."""
    draw = utterance.draw
    mouth = utterance.speaker.vowel(draw, "m" if nasal else "xaoA")
    tilt = [draw.flat(-3, 2) + bright, draw.flat(-5, 0) + bright]
    utterance.put(
        start,
        Sound(
            seconds,
            f0=f0,
            voice=voice * utterance.speaker.breath * draw.log(0.3, 3),
            breath=level,
            formants=mouth,
            to_formants=mouth * draw.flat(0.75, 1.1),
            attack=seconds * draw.log(0.03, 0.5),
            release=seconds * draw.flat(0.2, 0.9),
            shape=draw.flat(0.8, 2),
            breath_tilt=tilt,
            voice_tilt=[draw.flat(-6, -3), draw.flat(-12, -6)],
        ),
    )


def inhale(
    utterance: Utterance,
    start: float,
    seconds: float,
    level: float = 1.0,
    voice: float = 0.0,
    f0: Sequence[float] | None = None,
    bright: float = 0.0,
    nasal: bool = False,
) -> None:
    """A breath in: its spectrum rises and it ends more abruptly."""
    draw = utterance.draw
    mouth = utterance.speaker.vowel(draw, "m" if nasal else "xeaE")
    tilt = [draw.flat(-3, 3) + bright, draw.flat(-2, 3) + bright]
    utterance.put(
        start,
        Sound(
            seconds,
            f0=f0,
            voice=voice * utterance.speaker.breath * draw.log(0.3, 3),
            breath=level,
            formants=mouth * draw.flat(0.8, 1.3),
            to_formants=mouth * draw.flat(0.9, 1.12),
            attack=seconds * draw.log(0.03, 0.7),
            release=seconds * draw.flat(0.05, 0.4),
            shape=draw.flat(0.8, 2),
            breath_tilt=tilt,
            voice_tilt=[draw.flat(-6, -3), draw.flat(-12, -6)],
        ),
    )


def sigh(draw: Draw, speaker: Speaker, kind: str) -> Samples:
    """A long falling breath out, often after a breath in; ``soft`` ones are half voiced."""
    utterance, time, bright = Utterance(draw, speaker, 5), draw.flat(0, 0.15), draw.flat(-2, 2)
    if draw.chance(0.5):
        seconds = draw.flat(0.3, 1)
        inhale(utterance, time, seconds, draw.flat(0.05, 0.8), bright=bright, nasal=draw.chance(0.4))
        time += seconds + draw.flat(0.02, 0.2)
    f0 = speaker.f0 * draw.flat(0.9, 1.5)
    curve = [f0, f0 * draw.flat(0.8, 1.1), f0 * draw.flat(0.5, 0.75)]
    voice = draw.flat(0.1, 0.8) if kind == "soft" else 0.0
    exhale(utterance, time, draw.log(0.5, 2), 1.0, voice, curve, bright, kind == "nasal")
    return render(utterance)


def gasp(draw: Draw, speaker: Speaker, kind: str) -> Samples:
    """One sharp breath in, or panting: breaths in and out at 0.6 to 3 cycles a second with an unchanged mouth."""
    utterance, time, bright = Utterance(draw, speaker, 5), draw.flat(0, 0.1), draw.flat(-2, 3)
    if kind == "gasp":
        return _gasp(utterance, time, bright)
    cycle = 1 / (draw.log(0.9, 3.2) * (1 if kind == "pant" else 0.6))
    share, inward, until = draw.flat(0.3, 0.6), draw.flat(0.1, 1.2), draw.flat(1.8, 4.2)
    voice = draw.flat(0.05, 0.6) if draw.chance(0.3) else 0.0
    f0 = speaker.f0 * draw.flat(1, 1.8)
    while time < until:
        seconds = cycle * draw.flat(0.88, 1.14)
        inhale(utterance, time, seconds * share * draw.flat(0.8, 0.95), inward * draw.flat(0.8, 1.1), bright=bright)
        out = seconds * (1 - share) * draw.flat(0.8, 0.98)
        exhale(utterance, time + seconds * share, out, draw.flat(0.8, 1.1), voice, [f0, f0 * 0.8], bright)
        time += seconds
    return render(utterance)


def _gasp(utterance: Utterance, time: float, bright: float) -> Samples:
    draw = utterance.draw
    for _ in range(draw.pick((1, 2), (4, 1))):
        seconds, f0 = draw.flat(0.15, 0.6), utterance.speaker.f0 * draw.flat(1.5, 3)
        # Breathed in through a tight throat, which may sound as clearly as a call.
        voice = draw.log(0.2, 4) if draw.chance(0.5) else 0.0
        inhale(utterance, time, seconds, 1.0, voice, [f0, f0 * draw.flat(1.0, 1.6)], bright)
        time += seconds + draw.flat(0.1, 0.6)
    if draw.chance(0.4):
        exhale(utterance, time, draw.flat(0.3, 0.7), draw.flat(0.2, 0.6), bright=bright)
    return render(utterance)


def cough(draw: Draw, speaker: Speaker, kind: str) -> Samples:
    """Explosive bang, rushing middle phase, sometimes a voiced end; one to four in a row, ``wet`` ones rough."""
    utterance, time = Utterance(draw, speaker, 4.5), draw.flat(0, 0.1)
    if draw.chance(0.3):
        seconds = draw.flat(0.2, 0.6)
        inhale(utterance, time, seconds, draw.flat(0.02, 0.25))
        time += seconds + 0.03
    for number in range(draw.pick((1, 2, 3, 4), (3, 4, 2, 1))):
        time = _one_cough(utterance, time, draw.flat(0.6, 1) * 0.85**number, kind == "wet")
        time += draw.flat(0.06, 0.45)
    return render(utterance)


def _one_cough(utterance: Utterance, time: float, level: float, wet: bool) -> float:
    draw, mouth = utterance.draw, utterance.speaker.vowel(utterance.draw, "axEo")
    bang = Sound(draw.flat(0.03, 0.07), breath=level * draw.log(1, 5), formants=mouth * 1.1, attack=0.004, release=0.04)
    utterance.put(time, _tilted(bang, draw.flat(-3, 6)))
    rush = Sound(
        draw.flat(0.1, 0.45),
        breath=level * draw.log(0.5, 3),
        formants=mouth,
        to_formants=mouth * 0.9,
        attack=0.01,
        release=0.3,
    )
    utterance.put(time + 0.03, _tilted(rush, draw.flat(-3, 4)))
    time += draw.flat(0, 0.15)
    if draw.chance(0.5):
        seconds, f0 = draw.flat(0.08, 0.25), utterance.speaker.f0 * draw.flat(0.9, 2.2)
        voiced = Sound(
            seconds,
            f0=[f0 * 1.1, f0 * 0.75],
            voice=level * draw.log(0.05, 2),
            breath=level * draw.flat(0.4, 1.5),
            formants=mouth,
            attack=0.01,
            release=seconds * 0.8,
            rough=0.6 if wet else 0.0,
            jitter=draw.flat(0.02, 0.08),
        )
        utterance.put(time, voiced)
        time += seconds
    return time


def _tilted(sound: Sound, tilt: float) -> Sound:
    return replace(sound, breath_tilt=[tilt, tilt])


def throat_clearing(draw: Draw, speaker: Speaker, kind: str) -> Samples:
    """Rough, low, mostly voiced pulses with the throat narrowed; softer onsets and darker than a cough.

    ``ahem`` opens and closes the mouth, ``hrm`` keeps it nearly closed, ``scrape`` is mostly rasping air, ``grind`` one
    long rasp.
    """
    utterance, time = Utterance(draw, speaker, 4), draw.flat(0, 0.1)
    utterance.rough_hertz = draw.log(20, 90)
    if draw.chance(0.2):
        seconds = draw.flat(0.2, 0.5)
        inhale(utterance, time, seconds, draw.flat(0.02, 0.2), nasal=draw.chance(0.5))
        time += seconds + draw.flat(0.02, 0.15)
    mouth = speaker.vowel(draw, {"ahem": "xaE", "hrm": "xmo", "scrape": "xEo", "grind": "xom"}[kind])
    mouth[0] *= draw.flat(0.8, 1.2)
    count = 1 if kind == "grind" else draw.pick((1, 2, 3, 4), (2.5, 5, 2.5, 1))
    for number in range(count):
        sound = _throat_pulse(utterance, kind, mouth, closing=kind == "ahem" and number > 0)
        utterance.put(time, sound)
        time += sound.seconds + draw.pick((draw.flat(0, 0.05), draw.flat(0.05, 0.35)))
    x = render(utterance)
    if draw.chance(0.8):
        # The scraped air flutters too, not the voice alone.
        depth = draw.flat(0.1, 0.9)
        flutter = roughness(draw, len(x), utterance.rough_hertz, 0.3) ** draw.flat(0.7, 2)
        x = normalised(x * (1 - depth * flutter))
    return x


def _throat_pulse(utterance: Utterance, kind: str, mouth: Array, closing: bool) -> Sound:
    draw, speaker = utterance.draw, utterance.speaker
    seconds = draw.flat(0.4, 1.3) if kind == "grind" else draw.log(0.1, 0.55)
    level, f0 = draw.flat(0.6, 1), speaker.f0 * draw.flat(0.5, 1.3)
    voice = {"ahem": (0.5, 1.0), "hrm": (0.3, 1.0), "scrape": (0.05, 0.5), "grind": (0.2, 1.0)}[kind]
    air = {"ahem": (0.3, 2.0), "hrm": (0.4, 3.0), "scrape": (1.0, 5.0), "grind": (0.5, 4.0)}[kind]
    to = speaker.vowel(draw, "m") if closing or draw.chance(0.35) else mouth * draw.flat(0.85, 1.1)
    return Sound(
        seconds,
        f0=[f0 * draw.flat(0.9, 1.2), f0, f0 * draw.flat(0.6, 0.95)],
        voice=level * draw.flat(*voice),
        breath=level * draw.log(*air),
        formants=mouth,
        to_formants=to,
        attack=draw.log(0.006, 0.1),
        release=seconds * draw.flat(0.2, 0.8),
        voice_tilt=[draw.flat(-6, 1)] * 2,
        breath_tilt=[draw.flat(-4, 2), draw.flat(-7, 0)],
        rough=draw.flat(0.2, 0.95),
        doubling=draw.flat(0, 0.7) if draw.chance(0.6) else 0.0,
        jitter=draw.log(0.02, 0.2),
    )


def sneeze(draw: Draw, speaker: Speaker, kind: str) -> Samples:
    """Breaths in that build up (``built``), an explosive bright hiss, a voiced or breathy tail."""
    utterance, time = Utterance(draw, speaker, 4.5), draw.flat(0, 0.1)
    if kind == "built":
        for _ in range(draw.pick((1, 2, 3), (5, 3, 1))):
            seconds, f0 = draw.flat(0.2, 0.6), speaker.f0 * draw.flat(1.1, 1.8)
            voice = draw.flat(0.1, 0.6) if draw.chance(0.35) else 0.0
            inhale(utterance, time, seconds, draw.flat(0.05, 0.8), voice, [f0, f0 * 1.25])
            time += seconds + draw.flat(0, 0.12)
    for _ in range(draw.pick((1, 2), (5, 1))):
        time = _one_sneeze(utterance, time) + draw.flat(0.2, 0.7)
    return render(utterance)


def _one_sneeze(utterance: Utterance, time: float) -> float:
    draw, speaker = utterance.draw, utterance.speaker
    mouth = speaker.vowel(draw, "xieu")
    if draw.chance(0.45):
        seconds, f0 = draw.flat(0.05, 0.2), speaker.f0 * draw.flat(1.1, 2.2)
        before = Sound(seconds, f0=[f0, f0 * 1.2], voice=draw.flat(0.3, 0.9), breath=0.4, attack=0.02, release=0.02)
        utterance.put(time, before)
        time += seconds
    seconds = draw.flat(0.06, 0.45)
    hiss = Sound(
        seconds,
        breath=draw.log(2, 10),
        formants=mouth * _HISS,
        to_formants=mouth,
        attack=draw.log(0.003, 0.05),
        release=seconds * 0.6,
        breath_tilt=[draw.flat(-2, 5), draw.flat(-4, 2)],
    )
    utterance.put(time, hiss)
    time += seconds * draw.flat(0.5, 0.9)
    if draw.chance(0.5):
        seconds, f0 = draw.flat(0.1, 0.4), speaker.f0 * draw.flat(0.9, 2.2)
        tail = Sound(
            seconds,
            f0=[f0 * 1.1, f0 * 0.6],
            voice=draw.flat(0.2, 1),
            breath=draw.flat(0.2, 0.6),
            formants=mouth,
            to_formants=speaker.vowel(draw, "uox"),
            attack=0.02,
            release=seconds * 0.6,
        )
        utterance.put(time, tail)
        return time + seconds
    fading = Sound(draw.flat(0.1, 0.3), breath=draw.flat(0.3, 0.7), formants=mouth, attack=0.02, release=0.15)
    utterance.put(time, _tilted(fading, draw.flat(-4, 2)))
    return time + 0.2
