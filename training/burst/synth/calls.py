"""Sounds made of voice: laughter, crying, screams, groans."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.burst.synth.airs import exhale, inhale
from training.burst.synth.draw import Draw
from training.burst.synth.render import render
from training.burst.synth.voice import CONTROL_RATE, Array, Sound, Speaker, Utterance

Samples = npt.NDArray[np.float32]

_LAUGH_PITCH = {"haha": 1.7, "giggle": 2.2, "chuckle": 1.1, "nasal": 1.4, "breathy": 1.2, "cackle": 2.6}
_LAUGH_VOWELS = {
    "haha": "aAxE",
    "giggle": "eixE",
    "chuckle": "xoam",
    "nasal": "m",
    "breathy": "xaA",
    "cackle": "aAE",
}


class _Laugh:
    """What stays the same through one person's laugh."""

    def __init__(self, draw: Draw, speaker: Speaker, kind: str) -> None:
        self.kind = kind
        self.rate = draw.flat(4.2, 7)
        self.pitch = speaker.f0 * draw.flat(0.9, 1.6) * _LAUGH_PITCH[kind]
        self.mouth = speaker.vowel(draw, _LAUGH_VOWELS[kind])
        self.duty = draw.flat(0.25, 0.75)
        self.aspiration = 1.0 if kind == "breathy" else draw.log(0.03, 1)
        self.voice = draw.flat(0, 0.15) if kind == "breathy" else 1.0
        self.breath_in_voice = 1.0 if self.voice < 0.2 else draw.flat(0.1, 1)
        self.release = draw.flat(0.3, 0.95)
        self.contour_high = draw.flat(0.9, 1.3)
        self.contour_low = draw.flat(0.55, 1)


def laughter(draw: Draw, speaker: Speaker, kind: str) -> Samples:
    """One to three bouts of calls at 4 to 7 a second; aspirated, with near silence between calls."""
    utterance, time = Utterance(draw, speaker, 7), draw.flat(0, 0.15)
    laugh = _Laugh(draw, speaker, kind)
    if kind != "breathy" and draw.chance(0.25):
        seconds = draw.flat(0.15, 0.4)
        start = [laugh.pitch * draw.flat(0.9, 1.2), laugh.pitch]
        onset = Sound(seconds, start, draw.flat(0.3, 0.9), 0.4, laugh.mouth, attack=0.04, release=0.08)
        utterance.put(time, onset)
        time += seconds + 0.03
    for _ in range(draw.pick((1, 2, 3), (0.5, 0.35, 0.15))):
        time = _bout(utterance, laugh, time)
        if draw.chance(0.5):
            time = _breath_between(utterance, laugh, time)
        time += draw.flat(0.02, 0.2)
        if time > 5:
            break
    return render(utterance)


def _bout(utterance: Utterance, laugh: _Laugh, time: float) -> float:
    draw = utterance.draw
    calls = int(draw.rng.integers(2, 10))
    pitch, fall, fade = laugh.pitch * draw.flat(0.85, 1.15), draw.flat(0.5, 1.1), draw.flat(0.2, 1)
    for number in range(calls):
        progress = number / (calls - 1)
        unsteady = 1 + 0.08 * draw.rng.standard_normal()
        period = float(np.clip(unsteady / laugh.rate * (1 + 0.25 * number / calls), 0.11, 0.4))
        level = fade**progress * draw.flat(0.8, 1.1) * (0.6 if number == 0 and draw.chance(0.3) else 1)
        f0 = pitch * fall**progress * (1 + 0.06 * draw.rng.standard_normal())
        _call(utterance, laugh, time, period, level, f0)
        time += period
        if time > 5.2:
            break
    return time


def _call(utterance: Utterance, laugh: _Laugh, time: float, period: float, level: float, f0: float) -> None:
    draw = utterance.draw
    mouth = laugh.mouth * draw.rng.uniform(0.96, 1.05, 8)
    silence = period * (1 - laugh.duty)
    before = min(silence, draw.flat(0.02, 0.2))
    tilt = draw.flat(-5, 3)
    aspirated = Sound(
        before + 0.03,
        breath=laugh.aspiration * level,
        formants=mouth * 1.03,
        attack=before * 0.7,
        release=0.03,
        breath_tilt=[tilt, tilt],
    )
    utterance.put(time + silence - before, aspirated)
    high, low = laugh.contour_high, laugh.contour_low
    contour = draw.pick(((1.0, high, low), (high, 1.0, low), (0.9, high, 1.0)), (3, 3, 1))
    seconds = period * laugh.duty * draw.flat(0.85, 1.15)
    voiced = Sound(
        seconds,
        f0=np.array(contour) * f0,
        voice=laugh.voice * level,
        breath=laugh.aspiration * level * laugh.breath_in_voice,
        formants=mouth,
        attack=draw.flat(0.01, 0.03),
        release=seconds * laugh.release,
        shape=draw.flat(1, 4),
        voice_tilt=[draw.flat(-5, 3)] * 2,
        breath_tilt=[tilt, tilt],
        rough=draw.flat(0, 0.3) if laugh.kind == "cackle" else 0.0,
    )
    utterance.put(time + silence, voiced)


def _breath_between(utterance: Utterance, laugh: _Laugh, time: float) -> float:
    draw, seconds = utterance.draw, utterance.draw.flat(0.2, 0.6)
    voiced, tilt = draw.chance(0.25), draw.flat(-2, 2)
    breath = Sound(
        seconds,
        f0=[laugh.pitch * 1.1, laugh.pitch * 1.6] if voiced else None,
        voice=0.35 if voiced else 0.0,
        breath=draw.flat(0.15, 0.6),
        formants=laugh.mouth,
        to_formants=laugh.mouth * draw.flat(1, 1.2),
        attack=seconds * 0.5,
        release=seconds * 0.2,
        breath_tilt=[tilt, tilt],
    )
    utterance.put(time + 0.05, breath)
    return time + seconds + 0.08


_CRY_VOWELS = {"sob": "xaem", "wail": "aAEx", "whimper": "mxei", "baby": "EAa"}
_CRY_SECONDS = {"wail": (0.6, 2.0), "whimper": (0.2, 0.7), "baby": (0.5, 1.3)}


def crying(draw: Draw, speaker: Speaker, kind: str) -> Samples:
    """Sobs, wails or whimpers on long breaths, with stuttering breaths in; ``baby`` is an infant's wail."""
    if kind == "baby":
        speaker = speaker.infant(draw)
    utterance, time, until = Utterance(draw, speaker, 6.5), draw.flat(0, 0.2), draw.flat(2.5, 6)
    pitch = speaker.f0 * (1.0 if kind == "baby" else draw.flat(1.2, 3))
    mouth = speaker.vowel(draw, _CRY_VOWELS[kind])
    while time < until:
        if kind == "sob":
            time = _sobs(utterance, time, pitch * draw.flat(0.9, 1.1), mouth)
        else:
            sound = _wail(utterance, kind, pitch * draw.flat(0.85, 1.15), mouth)
            utterance.put(time, sound)
            time += sound.seconds + draw.flat(0.03, 0.15)
        time = _stuttered_breath(utterance, time, kind, mouth)
    return render(utterance)


def _sobs(utterance: Utterance, time: float, f0: float, mouth: Array) -> float:
    draw = utterance.draw
    for _ in range(int(draw.rng.integers(2, 7))):
        seconds = draw.flat(0.08, 0.25)
        sob = Sound(
            seconds,
            f0=[f0 * 1.05, f0 * 1.12, f0 * 0.85],
            voice=draw.flat(0.5, 1),
            breath=draw.flat(0.2, 0.6),
            formants=mouth * draw.factors(0.05, 8),
            attack=0.03,
            release=seconds * 0.5,
            voice_tilt=[draw.flat(-6, -1)] * 2,
        )
        utterance.put(time, sob)
        time += seconds + draw.flat(0.04, 0.16)
        f0 *= draw.flat(0.9, 1.02)
    return time


def _wail(utterance: Utterance, kind: str, f0: float, mouth: Array) -> Sound:
    draw, seconds = utterance.draw, utterance.draw.flat(*_CRY_SECONDS[kind])
    count = int(seconds * CONTROL_RATE) + 2
    ends = [draw.flat(0.75, 0.95), draw.flat(1.05, 1.3), draw.flat(0.6, 0.95)]
    contour = np.interp(np.linspace(0, 1, count), [0, draw.flat(0.15, 0.4), 1], ends)
    tremor = draw.log(0.0036, 0.05) * np.sin(
        2 * np.pi * draw.flat(5, 10) * np.arange(count) / CONTROL_RATE + draw.flat(0, 6)
    )
    contour = contour * (1 + tremor + 0.012 * draw.wander(count, 10, CONTROL_RATE))
    if draw.chance(0.4):
        contour[int(count * draw.flat(0.3, 0.9)) :] *= draw.flat(0.7, 1.4)
    return Sound(
        seconds,
        f0=f0 * contour,
        voice=0.6 if kind == "whimper" else 1.0,
        breath=draw.flat(0.1, 0.8),
        formants=mouth,
        to_formants=utterance.speaker.vowel(draw, _CRY_VOWELS[kind]),
        attack=draw.flat(0.03, 0.15),
        release=seconds * draw.flat(0.2, 0.5),
        voice_tilt=[draw.flat(-5, 2 if kind == "baby" else 0)] * 2,
        rough=draw.flat(0, 0.5) if draw.chance(0.4) else 0.0,
        jitter=draw.log(0.005, 0.04),
        doubling=0.3 if draw.chance(0.15) else 0.0,
    )


def _stuttered_breath(utterance: Utterance, time: float, kind: str, mouth: Array) -> float:
    draw = utterance.draw
    count = int(draw.rng.integers(1, 4)) if kind in ("sob", "whimper") else 1
    seconds = draw.flat(0.15, 0.45) / count**0.5
    for _ in range(count):
        tilt, f0 = draw.flat(-2, 3), utterance.speaker.f0
        breath = Sound(
            seconds,
            f0=[f0 * 1.6, f0 * 2.2],
            voice=0.3 if draw.chance(0.2) else 0.0,
            breath=draw.flat(0.1, 0.6),
            formants=mouth,
            to_formants=mouth * draw.flat(1.05, 1.3),
            attack=seconds * 0.5,
            release=seconds * 0.3,
            breath_tilt=[tilt, tilt],
        )
        utterance.put(time, breath)
        time += seconds + draw.flat(0.02, 0.08)
    return time


def scream(draw: Draw, speaker: Speaker, kind: str) -> Samples:
    """Loud, high and tense; ``shriek`` higher, ``yell`` lower. The first formant follows the fundamental up."""
    base = {"scream": 750, "shriek": 1250, "yell": 420}[kind] * (0.8 if speaker.kind == "man" else 1)
    f0 = draw.flat(0.8, 1.35) * base
    utterance, time = Utterance(draw, speaker, 5), draw.flat(0, 0.1)
    for _ in range(draw.pick((1, 2, 3), (7, 2, 1))):
        seconds = draw.log(0.4, 2.2)
        count = int(seconds * CONTROL_RATE) + 2
        knots = [0, draw.flat(0.05, 0.25), draw.flat(0.5, 0.9), 1]
        contour = np.interp(
            np.linspace(0, 1, count), knots, [draw.flat(0.5, 0.95), 1, draw.flat(0.85, 1.1), draw.flat(0.5, 0.95)]
        )
        contour = contour * (1 + draw.flat(0, 0.02) * draw.wander(count, 12, CONTROL_RATE))
        if draw.chance(0.3):
            contour[int(count * draw.flat(0.2, 0.8)) :] *= draw.flat(0.75, 1.3)
        utterance.put(time, _scream(draw, seconds, f0 * contour, _open_mouth(draw, speaker, f0)))
        time += seconds + draw.flat(0.05, 0.4)
    return render(utterance)


def _scream(draw: Draw, seconds: float, f0: Array, mouth: Array) -> Sound:
    return Sound(
        seconds,
        f0=f0,
        voice=1.0,
        breath=draw.log(0.02, 1),
        formants=mouth,
        to_formants=mouth * draw.factors(draw.pick((0.07, 0.3)), len(mouth)),
        attack=draw.flat(0.02, 0.12),
        release=draw.flat(0.05, 0.3),
        voice_tilt=[draw.flat(-2, 4)] * 2,
        breath_tilt=[draw.flat(-1, 3)] * 2,
        rough=max(0.0, draw.flat(-0.3, 0.8)),
        doubling=max(0.0, draw.flat(-0.5, 0.6)),
        jitter=draw.log(0.005, 0.06),
    )


def _open_mouth(draw: Draw, speaker: Speaker, f0: float) -> Array:
    mouth = speaker.vowel(draw, "aAEAe")
    mouth[0] = max(mouth[0], f0 * draw.flat(0.95, 1.2))
    mouth[1:] = np.maximum.accumulate(np.maximum(mouth[1:], mouth[0] * 1.3 + 300))
    return mouth


_GROAN_PITCH = {
    "moan": 1.25,
    "groan": 0.95,
    "grunt": 1.05,
    "hum": 1.1,
    "growl": 0.8,
    "strain": 1.3,
    "ugh": 1.3,
    "pain": 1.8,
}
_GROAN_VOWELS = {
    "moan": "xomau",
    "groan": "xoEau",
    "grunt": "xo",
    "hum": "m",
    "growl": "xoaE",
    "strain": "xEem",
    "ugh": "xoaE",
    "pain": "aAxEo",
}
_GROAN_SECONDS = {"grunt": 0.3, "strain": 0.5, "ugh": 0.4, "pain": 0.6}
_CONTOURS = (
    (0.85, 1.2, 0.75),
    (1.2, 1.0, 0.7),
    (0.85, 1.0, 1.05, 0.9),
    (1.0, 1.02, 0.95),
    (1.0, 0.6, 0.3),
    (0.7, 1.25, 0.9),
)


def groan(draw: Draw, speaker: Speaker, kind: str) -> Samples:
    """Low and dark: moans of comfort or pain, groans, grunts, hums, growls, strained efforts; or short and pressed.

    ``ugh`` and ``pain`` are brief cries, brighter and higher than the rest, but below a yell.
    """
    utterance, time = Utterance(draw, speaker, 5.5), draw.flat(0, 0.15)
    repeats = draw.pick((1, 2, 3), (3, 4, 3) if kind in ("grunt", "strain") else (6, 2, 1))
    for _ in range(repeats):
        sound = _groan(draw, speaker, kind)
        utterance.put(time, sound)
        time += sound.seconds
        if draw.chance(0.5):
            seconds = draw.flat(0.2, 0.6)
            breathe = exhale if draw.chance(0.5) else inhale
            breathe(utterance, time, seconds, draw.log(0.1, 2))
            time += seconds
        time += draw.flat(0.05, 0.4)
    utterance.rough_hertz = draw.log(20, 80)
    return render(utterance)


def _groan(draw: Draw, speaker: Speaker, kind: str) -> Sound:
    seconds, pressed = draw.log(0.5, 2.4) * _GROAN_SECONDS.get(kind, 1), kind in ("ugh", "pain")
    f0 = speaker.f0 * draw.flat(0.75, 1.3) * _GROAN_PITCH[kind]
    if kind in ("groan", "grunt", "growl") and draw.chance(0.25):
        f0 *= draw.flat(0.2, 0.45)
    count = int(seconds * CONTROL_RATE) + 2
    contour = np.array(draw.pick(_CONTOURS)) ** draw.flat(0.6, 2.2)
    curve = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(contour)), contour)
    mouth = speaker.vowel(draw, _GROAN_VOWELS[kind])
    creaky = kind == "growl" or draw.chance(0.5)
    return Sound(
        seconds,
        f0=f0 * curve * (1 + 0.01 * draw.wander(count, 6, CONTROL_RATE)),
        voice=1.0,
        breath=draw.log(0.02, 3),
        formants=mouth,
        to_formants=speaker.vowel(draw, "mxouae") if draw.chance(0.6) else mouth * draw.flat(0.85, 1.1),
        attack=draw.log(0.01, 0.1) if pressed else draw.flat(0.03, 0.25),
        release=seconds * draw.flat(0.15, 0.5),
        voice_tilt=[draw.flat(-3, 3), draw.flat(-6, 1)] if pressed else [draw.flat(-6, 1), draw.flat(-8, -1)],
        rough=draw.flat(0.1, 0.9) if creaky else 0.0,
        doubling=draw.flat(0.2, 0.7) if creaky and draw.chance(0.5) else 0.0,
        jitter=draw.log(0.01, 0.06) if creaky else None,
    )
