"""A stranger's plugin for speech, text and voice, and the sound that it understands.

A tone of 200 Hz says the first of :data:`SENTENCES`, 400 Hz the second, and so on; a pause ends it. The analyzer of
text knows a few words; the analyzer of voice takes loud for aroused. Enough for what happens between the analyzers.
"""

from __future__ import annotations

import sys
import time
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.observation import LANGUAGE, LANGUAGE_EMOTIONS, LANGUAGE_UNKNOWN, VOICE, Observation
from edge_agent.domain.speech import Utterance, Word
from edge_agent.plugin import (
    AnalyzerSettings,
    AnalyzerSpec,
    AudioAnalyzer,
    Kind,
    SpeechAnalyzer,
    TextAnalyzer,
    hookimpl,
)

SENTENCES = (
    "Thank you for the canary quokka.",
    "I am sorry about the canary wombat.",
    "Vielen Dank, Kanarienvogel Numbat.",
    "The canary potoroo is open on Mondays.",
)
SECRETS = ("quokka", "wombat", "Numbat", "potoroo")
"""A word of each sentence, for which traces are searched."""

LEXICON = {"thank": "gratitude", "sorry": "remorse", "love": "love", "great": "admiration"}

_STEP = AUDIO_RATE // 100
_LOUD = 0.05
_PAUSE_S = 0.3


class SpokenSettings(AnalyzerSettings):
    pause_s: float = Field(default=0.0, description="Seconds that it thinks about each utterance, for a slow machine.")
    fail_on: str = Field(default="", description="Word at which it breaks, quoting the text.")


class _Stretches:
    """Cuts sound into stretches above a level, which a pause, a gap or the end completes."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._parts: list[npt.NDArray[np.float32]] = []
        self._start = self._now = 0.0
        self._quiet = 0

    def feed(self, block: AudioBlock) -> list[tuple[float, npt.NDArray[np.float32]]]:
        found = self.finish() if block.gap > 0 else []
        self._now = block.time - len(self._rest) / AUDIO_RATE
        samples = np.concatenate([self._rest, block.samples])
        whole = len(samples) // _STEP * _STEP
        self._rest = samples[whole:]
        for k in range(0, whole, _STEP):
            part = samples[k : k + _STEP]
            loud = float(np.std(part)) > _LOUD
            if loud and not self._parts:
                self._start = self._now + k / AUDIO_RATE
            if loud or self._parts:
                self._parts.append(part)
            self._quiet = 0 if loud else self._quiet + 1
            if self._parts and self._quiet >= _PAUSE_S * AUDIO_RATE / _STEP:
                found += self._complete()
        return found

    def finish(self) -> list[tuple[float, npt.NDArray[np.float32]]]:
        self._rest = self._rest[:0]
        found = self._complete() if self._parts else []
        self._quiet = 0
        return found

    def _complete(self) -> list[tuple[float, npt.NDArray[np.float32]]]:
        heard = self._parts[: len(self._parts) - self._quiet]
        self._parts = []
        return [(self._start, np.concatenate(heard))] if len(heard) >= 10 else []


class Listener(SpeechAnalyzer):
    def __init__(self, settings: SpokenSettings) -> None:
        self._settings = settings
        self._stretches = _Stretches()

    def analyze(self, block: AudioBlock) -> Sequence[Utterance]:
        return [self._understand(*stretch) for stretch in self._stretches.feed(block)]

    def finish(self) -> Sequence[Utterance]:
        return [self._understand(*stretch) for stretch in self._stretches.finish()]

    def _understand(self, start: float, samples: npt.NDArray[np.float32]) -> Utterance:
        time.sleep(self._settings.pause_s) if self._settings.pause_s else None
        seconds = len(samples) / AUDIO_RATE
        hertz = np.count_nonzero(np.diff(np.signbit(samples))) / 2 / seconds
        text = SENTENCES[(round(hertz / 200) - 1) % len(SENTENCES)]
        if self._settings.fail_on and self._settings.fail_on in text:
            raise ValueError(f"cannot bear to hear {text!r}")
        parts = text.split()
        each = seconds / len(parts)
        words = tuple(Word(p, start + k * each, start + (k + 1) * each, 0.9) for k, p in enumerate(parts))
        return Utterance(text, start, start + seconds, 0.9, words)


class Reader(TextAnalyzer):
    def __init__(self, settings: SpokenSettings) -> None:
        self._settings = settings

    def analyze(self, utterance: Utterance) -> Sequence[Observation]:
        words = [word.strip(".,!?").lower() for word in utterance.text.split()]
        if self._settings.fail_on and self._settings.fail_on in words:
            raise ValueError(f"cannot bear to read {utterance.text!r}")
        if not words:
            return [Observation(LANGUAGE_UNKNOWN, {"empty": 1.0}, utterance.start)]
        if "vielen" in words or not utterance.text.isascii():
            return [Observation(LANGUAGE_UNKNOWN, {"not_english": 1.0}, utterance.start)]
        p = dict.fromkeys(LANGUAGE_EMOTIONS, 0.01)
        meant = {LEXICON[word] for word in words if word in LEXICON} or {"neutral"}
        return [Observation(LANGUAGE, p | dict.fromkeys(meant, 0.9), utterance.start)]


class Ear(AudioAnalyzer):
    def __init__(self) -> None:
        self._stretches = _Stretches()

    def analyze(self, block: AudioBlock) -> Sequence[Observation]:
        return [self._judge(*stretch) for stretch in self._stretches.feed(block)]

    def finish(self) -> Sequence[Observation]:
        return [self._judge(*stretch) for stretch in self._stretches.finish()]

    def _judge(self, start: float, samples: npt.NDArray[np.float32]) -> Observation:
        seconds, level = len(samples) / AUDIO_RATE, float(np.std(samples))
        values = {"seconds": seconds, "turn_seconds": seconds, "loudness_db": 20 * float(np.log10(level))}
        return Observation(VOICE, values | {"arousal": max(-1.0, min(1.0, 4 * level - 1))}, start)


@hookimpl
def edge_agent_register_analyzers() -> list[AnalyzerSpec]:
    return [
        AnalyzerSpec("listener", Kind.SPEECH, "tones to sentences", lambda s, _: Listener(s), SpokenSettings),
        AnalyzerSpec("reader", Kind.TEXT, "a few words", lambda s, _: Reader(s), SpokenSettings),
        AnalyzerSpec("ear", Kind.AUDIO, "loud is aroused", lambda _s, _c: Ear()),
    ]


# ---------------------------------------------------------------------- sound, and the plugin as a package


def say(sentence: int, seconds: float = 1.0, level: float = 0.5) -> npt.NDArray[np.float32]:
    """The ``sentence``-th of :data:`SENTENCES` as it sounds, with half a second of silence behind it."""
    time_s = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
    tone = level * np.sin(2 * np.pi * 200 * (sentence + 1) * time_s)
    return np.concatenate([tone, np.zeros(AUDIO_RATE // 2)]).astype(np.float32)


def recording(path: Path, *sounds: npt.NDArray[np.float32]) -> Path:
    """Write ``sounds`` one after the other as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, AUDIO_RATE, 0, "NONE", "not compressed"))
        file.writeframes((np.concatenate(sounds) * 32767).astype("<i2").tobytes())
    return path


def install(folder: Path, repository: Path) -> dict[str, str]:
    """Install this module as the plugin ``spoken`` of a stranger's package; return the environment that finds it."""
    folder.mkdir(exist_ok=True)
    (folder / "stranger_spoken.py").write_text("from tests.support.spoken import edge_agent_register_analyzers\n")
    info = folder / "stranger_spoken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-spoken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edge_agent]\nspoken = stranger_spoken\n")
    return {"PYTHONPATH": f"{folder}:{repository}:{':'.join(p for p in sys.path if p.endswith('plugins'))}"}
