"""Figures of a turn: pitch, loudness, rate and pauses for people, and the vector from which arousal is estimated.

None of the features depends on the gain. What a microphone or a room adds to every turn of a speaker alike leaves with
the speaker's own mean (:class:`Baseline`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent_voice.frontend import BANDS, HOP_S, Frames
from edge_agent_voice.turns import VOICED, SpokenTurn, stretches

DEPTH_DB = 30.0
"""A frame this much quieter than the turn's loud frames is a pause."""
_PAUSE = round(0.2 / HOP_S)
_BRIDGE = round(0.1 / HOP_S)
_DIP_DB = 2.5
"""Level falls by this much between two syllables."""
_RANGE_DB = 55.0
"""Bands are not followed further below the loudest one: there is noise, or the codec's emptiness."""
_SPEECH_BANDS = slice(3, 20)
"""Bands of about 300 to 4,000 Hz, in which syllables show."""
_VOICED_FOR_PITCH = 0.6

Vector = npt.NDArray[np.float64]

NAMES = (
    *(f"mean_{k}" for k in range(BANDS)),
    *(f"deviation_{k}" for k in range(BANDS)),
    *(f"change_{k}" for k in range(BANDS)),
    *(f"loud_{k}" for k in range(BANDS)),
    "pitch_middle", "pitch_low", "pitch_high", "pitch_loud", "pitch_range", "pitch_deviation", "pitch_change",
    "voicing", "voicing_deviation", "voiced_share", "voiced_run",
    "rate", "pause_share", "level_deviation", "level_change", "level_above",
)  # fmt: skip
"""Features, in order."""


@dataclass(frozen=True, slots=True)
class Prosody:
    """Figures of one turn. ``seconds`` of speech and ``turn_seconds`` with the pauses; ``pitch_hz`` the median;
    ``loudness_db`` the level of the loud half, dB of full scale; ``rate`` syllable nuclei per second of speech;
    ``pauses`` of at least 0.2 s within the turn."""

    seconds: float
    turn_seconds: float
    pitch_hz: float
    loudness_db: float
    rate: float
    pauses: int


def measure(turn: SpokenTurn) -> tuple[Prosody, Vector] | None:
    """Figures and features of a turn; None where there is too little voice to measure."""
    frames = turn.frames
    loud = float(np.percentile(frames.level, 95)) if len(frames) else -np.inf
    sounding = frames.level > loud - DEPTH_DB
    voiced = sounding & (frames.voicing >= _VOICED_FOR_PITCH)
    if voiced.sum() < 8:
        return None
    active = np.zeros(len(frames), bool)
    for begin, end in stretches(sounding, _BRIDGE):
        active[begin:end] = True
    gaps = stretches(~active)
    pauses = [end - begin for begin, end in gaps if begin > 0 and end < len(frames) and end - begin >= _PAUSE]
    pitch = np.log2(_steady(frames.pitch[voiced]))
    seconds = float(active.sum()) * HOP_S
    nuclei = _nuclei(frames, sounding)
    figures = Prosody(
        seconds=seconds,
        turn_seconds=turn.seconds,
        pitch_hz=float(2.0 ** np.median(pitch)),
        loudness_db=float(frames.level[frames.level >= np.median(frames.level[active])].mean()),
        rate=nuclei / seconds,
        pauses=len(pauses),
    )
    return figures, _features(frames, active, voiced, pitch, nuclei / seconds)


def _steady(pitch: npt.NDArray[np.float32]) -> Vector:
    """Pitch [n] with octave errors folded to the octave around the median."""
    hertz = pitch.astype(np.float64)
    octaves = np.log2(hertz / np.median(hertz))
    folded = octaves - np.where(np.abs(octaves) > 0.8, np.round(octaves), 0.0)
    return np.asarray(np.median(hertz) * 2.0**folded)


def _nuclei(frames: Frames, sounding: npt.NDArray[np.bool_]) -> int:
    """Number of syllable nuclei: voiced maxima of the level between 300 and 4,000 Hz, with a dip between any two."""
    level = _smooth(frames.bands[:, _SPEECH_BANDS].mean(axis=1).astype(np.float64))
    count, rising, top, bottom, voiced = 0, True, -np.inf, np.inf, False
    for here, tone, heard in zip(level.tolist(), (frames.voicing >= VOICED).tolist(), sounding.tolist(), strict=True):
        if rising:
            if here > top:
                top, voiced = here, tone and heard
            elif here < top - _DIP_DB:
                count, rising, bottom = count + int(voiced), False, here
        elif here < bottom:
            bottom = here
        elif here > bottom + _DIP_DB:
            rising, top, voiced = True, here, tone and heard
    return count + int(rising and voiced)


def _smooth(values: Vector) -> Vector:
    kernel = np.array([0.25, 0.5, 0.25])
    return np.convolve(np.pad(values, 1, mode="edge"), kernel, mode="valid")


def _features(
    frames: Frames,
    active: npt.NDArray[np.bool_],
    voiced: npt.NDArray[np.bool_],
    pitch: Vector,
    rate: float,
) -> Vector:
    bands = frames.bands.astype(np.float64)
    bands = np.maximum(bands, bands.max() - _RANGE_DB)
    heard = bands[active]
    # Relative to the mean over bands and time: no gain is left.
    heard = heard - heard.mean()
    level = frames.level[active].astype(np.float64)
    level = np.maximum(level, level.max() - _RANGE_DB)
    change = np.abs(np.diff(heard, axis=0)).mean(axis=0) if len(heard) > 1 else np.zeros(BANDS)
    loudest = heard[level >= np.percentile(level, 75)]
    loud = loudest.mean(axis=0) - loudest.mean()
    runs = [end - begin for begin, end in stretches(voiced)]
    low, middle, high = np.percentile(pitch, [10, 50, 90])
    quartiles = np.percentile(pitch, [25, 75])
    loud_pitch = pitch[frames.level[voiced] >= np.percentile(frames.level[voiced], 75)]
    steps = np.abs(np.diff(np.log2(frames.pitch[voiced].astype(np.float64))))
    voicing = frames.voicing[active].astype(np.float64)
    others = [
        middle, low, high, np.median(loud_pitch), quartiles[1] - quartiles[0], pitch.std(),
        np.minimum(steps, 0.2).mean(),
        voicing.mean(), voicing.std(), voiced.sum() / active.sum(), np.mean(runs) * HOP_S,
        rate, 1.0 - active.mean(), level.std(), np.abs(np.diff(level)).mean() if len(level) > 1 else 0.0,
        np.percentile(level, 95) - np.median(level),
    ]  # fmt: skip
    return np.concatenate([heard.mean(axis=0), heard.std(axis=0), change, loud, np.array(others, np.float64)])
