"""Clips by speaker with high or low arousal, what rooms and devices do to them, and their turns as the plugin measures.

Labels of arousal are a convention: what an actor was asked to express, not what was felt or heard. Of the seven
intentions of EMO-DB anger, happiness and fear count as high, boredom, sadness and neutral as low; disgust is told apart
by nothing and left out. EmoGator's vocal bursts have no words.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import fftconvolve

from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AUDIO_RATE
from edge_agent_voice.frontend import Frontend
from edge_agent_voice.prosody import NAMES, measure
from edge_agent_voice.turns import SpokenTurn, TurnCutter
from training.burst import recordings

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
HIGH = frozenset({"anger", "happiness", "fear", "joy", "ecstasy", "surprise positive", "surprise negative", "surprise"})
LOW = frozenset({"boredom", "sadness", "neutral", "calm", "disappointment", "relief"})
PAUSE_S, LONGEST_S = 0.8, 10.0
CONDITIONS = (
    "clean", "quiet", "bright", "dull", "noise_20", "noise_10", "room", "telephone", "opus", "clipped", "child", "deep",
)  # fmt: skip
"""``child`` and ``deep`` are the voice resampled by 1.25 and 0.85: pitch, formants and rate at once."""

Samples = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording of one speaker; ``high`` arousal by the convention, None where it says nothing."""

    path: Path
    speaker: str
    label: str
    corpus: str

    @property
    def high(self) -> bool | None:
        """High, low or neither."""
        return True if self.label in HIGH else False if self.label in LOW else None


def read_manifest(folder: Path) -> list[Clip]:
    """Clips of a folder with ``manifest.csv`` (path, label, speaker), in its order.

    Raises:
        MediaError: no such manifest, or columns are missing.
    """
    manifest = folder / "manifest.csv"
    try:
        with manifest.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [Clip(folder / r["path"], r["speaker"], r["label"], r.get("corpus") or folder.name) for r in rows]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise MediaError(f"{manifest}: not a table with the columns path, label and speaker: {error}") from error


def by_speaker(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Clips that have a high or a low label, by speaker."""
    found: dict[str, list[Clip]] = {}
    for clip in clips:
        if clip.high is not None:
            found.setdefault(clip.speaker, []).append(clip)
    return found


def degrade(samples: Samples, condition: str, rng: np.random.Generator) -> Samples:
    """``samples`` as they would be under one of :data:`CONDITIONS`."""
    x = samples.astype(np.float64)
    if condition == "quiet":
        x = x * 0.03
    elif condition in ("bright", "dull"):
        x = tilted(x, 3.0 if condition == "bright" else -3.0)
    elif condition.startswith("noise_"):
        x = x + noise(len(x), rng, 1.0) * loudness(x) * 10 ** (-float(condition[6:]) / 20)
    elif condition == "room":
        x = roomy(x, 0.5, 0.6, rng)
    elif condition == "telephone":
        x = coded(band_limited(x, 300.0, 3_400.0), "mulaw")
    elif condition == "opus":
        x = coded(x, "opus")
    elif condition == "clipped":
        x = np.clip(x / (np.abs(x).max() + 1e-9) * 3.0, -1.0, 1.0)
    elif condition in ("child", "deep"):
        x = resampled(x, 1.25 if condition == "child" else 0.85)
    return np.clip(x, -1.0, 1.0).astype(np.float32)


def anyhow(samples: Samples, rng: np.random.Generator, voice: float = 1.0) -> Samples:
    """``samples`` under a random mixture of conditions. ``voice`` resamples them."""
    x = resampled(samples.astype(np.float64), voice)
    if rng.random() < 0.6:
        x = tilted(x, rng.normal(0.0, 2.0))
    if rng.random() < 0.4:
        x = roomy(x, rng.uniform(0.15, 0.9), rng.uniform(0.1, 0.8), rng)
    if rng.random() < 0.7:
        x = x + noise(len(x), rng, rng.uniform(0.0, 1.6)) * loudness(x) * 10 ** (-rng.uniform(8.0, 40.0) / 20)
    if rng.random() < 0.1:
        x = np.clip(x / (np.abs(x).max() + 1e-9) * rng.uniform(1.0, 4.0), -1.0, 1.0)
    if rng.random() < 0.15:
        x = band_limited(x, rng.uniform(50.0, 300.0), rng.uniform(3_300.0, 7_500.0))
    if rng.random() < 0.3:
        x = coded(x, str(rng.choice(["opus", "vorbis", "mulaw"])))
    return (x / (np.abs(x).max() + 1e-9) * 10 ** rng.uniform(-1.5, -0.05)).astype(np.float32)


def loudness(x: Vectors) -> float:
    """Root mean square of the louder half."""
    return float(np.sqrt(np.mean(np.sort(x**2)[len(x) // 2 :]))) if len(x) else 0.0


def noise(count: int, rng: np.random.Generator, slope: float) -> Vectors:
    """Noise [count] of unit power whose power falls with the frequency to the ``slope``: 0 white, 1 pink."""
    hertz = np.maximum(np.fft.rfftfreq(count, 1 / AUDIO_RATE), 30.0)
    made = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * hertz ** (-slope / 2), count)
    return np.asarray(made / (np.sqrt(np.mean(made**2)) + 1e-12))


def tilted(x: Vectors, db_per_octave: float) -> Vectors:
    """A slope of the frequency response between 100 and 6,000 Hz, none at 1 kHz."""
    hertz = np.clip(np.fft.rfftfreq(len(x), 1 / AUDIO_RATE), 100.0, 6_000.0)
    made = np.fft.irfft(np.fft.rfft(x) * 10 ** (db_per_octave * np.log2(hertz / 1_000.0) / 20), len(x))
    return np.asarray(made / max(1.0, float(np.abs(made).max())))


def band_limited(x: Vectors, low: float, high: float) -> Vectors:
    """Only what lies between two frequencies."""
    hertz = np.fft.rfftfreq(len(x), 1 / AUDIO_RATE)
    return np.asarray(np.fft.irfft(np.fft.rfft(x) * ((hertz >= low) & (hertz <= high)), len(x)))


def roomy(x: Vectors, decay_s: float, wet: float, rng: np.random.Generator) -> Vectors:
    """Reverberation that falls by 60 dB in ``decay_s``; ``wet`` is its amplitude relative to the direct sound."""
    t = np.arange(int(decay_s * AUDIO_RATE)) / AUDIO_RATE
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / decay_s) * (t > 0.004)
    tail *= wet / (np.sqrt(np.sum(tail**2)) + 1e-9)
    tail[0] = 1.0
    made = fftconvolve(x, tail)
    return np.asarray(made / max(1.0, float(np.abs(made).max())))


def resampled(x: Vectors, factor: float) -> Vectors:
    """Played ``factor`` times as fast."""
    return x if factor == 1.0 else np.interp(np.arange(0, len(x) - 1, factor), np.arange(len(x)), x)


def coded(x: Vectors, codec: str) -> Vectors:
    """Through a codec and back."""
    x = np.clip(x, -1.0, 1.0)
    if codec == "mulaw":
        companded = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
        steps = np.round(companded * 127) / 127
        return np.asarray(np.sign(steps) * np.expm1(np.abs(steps) * np.log(256)) / 255)
    file = io.BytesIO()
    soundfile.write(file, x, AUDIO_RATE, format="OGG", subtype=codec.upper())
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float64")[0])


def turns_of(samples: Samples) -> list[SpokenTurn]:
    """Turns that the plugin's cutter finds in a recording."""
    pause = np.zeros(int((PAUSE_S + 0.2) * AUDIO_RATE), np.float32)
    cutter = TurnCutter(PAUSE_S, LONGEST_S)
    found = cutter.push(Frontend().feed(np.concatenate([pause[: AUDIO_RATE // 4], samples, pause])))
    return found + cutter.flush()


def features(samples: Samples) -> Vectors | None:
    """Features of the longest turn in a recording; None without one."""
    measured = [m for turn in turns_of(samples) if (m := measure(turn)) is not None]
    return max(measured, key=lambda m: m[0].seconds)[1] if measured else None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """``x`` [n, features], ``high`` [n], ``group`` [n]: who speaks, through which microphone. ``speaker`` [n]."""

    x: Vectors
    high: npt.NDArray[np.bool_]
    group: npt.NDArray[np.str_]
    speaker: npt.NDArray[np.str_]

    def only(self, wanted: npt.NDArray[np.bool_]) -> Table:
        """The wanted rows."""
        return Table(self.x[wanted], self.high[wanted], self.group[wanted], self.speaker[wanted])


def table(speakers: Mapping[str, Sequence[Clip]], variants: int, seed: int = 0) -> Table:
    """Features of the clips as they are and in ``variants`` mixtures of conditions, voices resampled by speaker."""
    rows = list(_rows(speakers, variants, seed))
    x = np.stack([row[0] for row in rows]) if rows else np.zeros((0, len(NAMES)))
    return Table(x, *(np.array([row[k] for row in rows]) for k in (1, 2, 3)))


def _rows(speakers: Mapping[str, Sequence[Clip]], variants: int, seed: int) -> Iterator[tuple[Vectors, bool, str, str]]:
    for number, (speaker, clips) in enumerate(sorted(speakers.items())):
        rng = np.random.default_rng([seed, number])
        voices = [1.0, *rng.uniform(0.85, 1.3, variants)]
        for clip in clips:
            samples = recordings.read(clip.path)
            for variant, voice in enumerate(voices):
                vector = features(samples if variant == 0 else anyhow(samples, rng, voice))
                if vector is not None:
                    yield vector, bool(clip.high), f"{speaker}/{variant}", speaker


def corpora(names: Sequence[str] = ("emodb", "emogator")) -> dict[str, dict[str, list[Clip]]]:
    """Clips by speaker of the shared corpora."""
    return {name: by_speaker(read_manifest(SHARED / name)) for name in names}


def condition_table(speakers: Mapping[str, Sequence[Clip]], condition: str) -> Table:
    """Features of the clips under one of :data:`CONDITIONS`."""
    rng = np.random.default_rng(1)
    rows = []
    for speaker, clips in sorted(speakers.items()):
        for clip in clips:
            vector = features(degrade(recordings.read(clip.path), condition, rng))
            if vector is not None:
                rows.append((vector, bool(clip.high), speaker))
    x = np.stack([row[0] for row in rows])
    names = np.array([row[2] for row in rows])
    return replace(Table(x, np.array([row[1] for row in rows]), names, names))
