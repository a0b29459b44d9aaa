"""What the speech analyzer makes of real English, of other sounds, and what it costs: words, errors, CPU.

A data folder holds sounds and ``transcripts.tsv`` (path, words), as :mod:`training.speech.corpora` makes it. Each clip
is heard once as it is, and a part of them with noise and very quietly. The sounds without words are the project's own
recordings of noises, coughs and the like; every word found there is invented.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent_speech import SpeechSettings
from edge_agent_speech.analyzer import UtteranceAnalyzer
from edge_agent_speech.engine import Moonshine, Silero
from training.burst import recordings
from training.speech.corpora import TRANSCRIPTS

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
DEFAULT_DATA = SHARED / "speech"
WORDLESS = ("background", "cough", "crying", "sneeze")
"""Folders of ``bursts`` without a word in them; of each, and of the vocal bursts of EmoGator, every ninth file."""
_EVERY = slice(4, None, 9)
"""The rules of the analyzer were chosen by looking at every third file of each, these not among them."""
_BLOCK = AUDIO_RATE // 10
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

Samples = npt.NDArray[np.float32]


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation; numbers up to 99 as words, so that 2 and two are the same."""
    found = re.findall(r"\d+|[a-z]+(?:'[a-z]+)*", text.lower().replace("’", "'").replace("-", " "))
    return [word for part in found for word in (_spelled(part) if part.isdigit() else [part])]


def _spelled(digits: str) -> list[str]:
    number = int(digits)
    if number >= 100 or digits.startswith("0"):
        return [_NUMBERS[int(digit)] for digit in digits]
    if number < 20:
        return [_NUMBERS[number]]
    return [_TENS[number // 10 - 2], *([_NUMBERS[number % 10]] if number % 10 else [])]


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Fewest words to put in, leave out or replace."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


@dataclass(slots=True)
class Tally:
    """Sums over clips."""

    clips: int = 0
    words: int = 0
    errors: int = 0
    heard: int = 0
    missed: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    rejected: int = 0

    def add(self, said: Sequence[str], heard: Sequence[str], seconds: float, cpu: float, rejected: int = 0) -> None:
        """Add one clip; a clip of which nothing was heard is ``missed``."""
        self.clips += 1
        self.words += len(said)
        self.errors += errors(said, heard)
        self.heard += len(heard)
        self.missed += not heard
        self.seconds += seconds
        self.cpu += cpu
        self.rejected += rejected

    def report(self) -> dict[str, float]:
        """Rates, rounded."""
        return {
            "clips": self.clips,
            "words": self.words,
            "word_errors": round(self.errors / max(1, self.words), 4),
            "missed_clips": self.missed,
            "rejected": self.rejected,
            "minutes": round(self.seconds / 60, 1),
            "cpu_per_second": round(self.cpu / max(1e-9, self.seconds), 3),
            "words_per_hour": round(self.heard / max(1e-9, self.seconds) * 3600, 1),
        }


def hear(analyzer: UtteranceAnalyzer, samples: Samples) -> tuple[list[str], float, int]:
    """Words found in a clip, the CPU seconds that took, and how many utterances were rejected."""
    began = time.process_time()
    found = []
    for at in range(0, len(samples), _BLOCK):
        found += analyzer.analyze(AudioBlock(samples[at : at + _BLOCK], at / AUDIO_RATE))
    found += analyzer.finish()
    rejected = sum(not part.count for part in found)
    return [word for part in found for word in words_of(part.text)], time.process_time() - began, rejected


def noisy(samples: Samples, snr_db: float = 10.0) -> Samples:
    """Add white noise, from a fixed seed."""
    noise = np.random.default_rng(0).standard_normal(len(samples))
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) * 10 ** (-snr_db / 20)
    return np.clip(samples + level * noise, -1, 1).astype(np.float32)


def quiet(samples: Samples) -> Samples:
    """Scale the peak to 1 % of full scale: somebody across a room."""
    peak = float(np.abs(samples).max()) or 1.0
    return (samples * (0.01 / peak)).astype(np.float32)


def evaluate(data: Path) -> dict[str, Any]:
    """Judge the shipped settings.

    Raises:
        MediaError: no such test set; the text says how to make one.
        PluginError: the recognizer is not installed.
    """
    listing = data / TRANSCRIPTS
    if not listing.is_file():
        raise MediaError(f"{listing}: no such file: make a set with 'python -m training.speech.corpora --out DIR'")
    lines = [line.split("\t", 1) for line in listing.read_text("utf-8").splitlines()]
    analyzer = UtteranceAnalyzer(SpeechSettings(max_delay_s=None), Silero(), Moonshine())
    clips = [(path, words_of(words)) for path, words in lines]
    corpora = sorted({path.split("/")[0] for path, _ in clips})
    by_corpus = {name: [clip for clip in clips if clip[0].startswith(f"{name}/")] for name in corpora}
    part = clips[::10]
    return {
        "data": str(data.name),
        "corpora": {name: _judged(analyzer, data, of).report() for name, of in by_corpus.items()},
        "conditions": {
            "as they are, every tenth": _judged(analyzer, data, part).report(),
            "white noise, 10 dB": _judged(analyzer, data, part, noisy).report(),
            "1 % of full scale": _judged(analyzer, data, part, quiet).report(),
        },
        "wordless": {name: tally.report() for name, tally in _wordless(analyzer)},
    }


def _judged(
    analyzer: UtteranceAnalyzer,
    data: Path,
    clips: Iterable[tuple[str, Sequence[str]]],
    change: Callable[[Samples], Samples] = lambda samples: samples,
) -> Tally:
    tally = Tally()
    for path, said in clips:
        samples = change(recordings.read(data / path))
        heard, cpu, rejected = hear(analyzer, samples)
        tally.add(said, heard, len(samples) / AUDIO_RATE, cpu, rejected)
    return tally


def _wordless(analyzer: UtteranceAnalyzer) -> Iterable[tuple[str, Tally]]:
    folders = {name: SHARED / "bursts" / name for name in WORDLESS} | {"vocal bursts": SHARED / "emogator"}
    for name, folder in folders.items():
        tally = Tally()
        for path in sorted(folder.rglob("*.ogg"))[_EVERY]:
            samples = recordings.read(path)
            heard, cpu, rejected = hear(analyzer, samples)
            tally.add([], heard, len(samples) / AUDIO_RATE, cpu, rejected)
        if tally.clips:
            yield name, tally


def table(report: Mapping[str, Any]) -> str:
    """Markdown of the report."""
    lines = ["| sounds | clips | minutes | words | word errors | clips without a word | rejected | CPU s a second |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, row in {**report["corpora"], **report["conditions"]}.items():
        cells = (row["clips"], row["minutes"], row["words"], f"{100 * row['word_errors']:.1f} %", row["missed_clips"])
        lines.append(f"| {name} | {' | '.join(map(str, cells))} | {row['rejected']} | {row['cpu_per_second']:.3f} |")
    lines += [
        "",
        "| sounds without words | clips | minutes | words an hour | rejected | CPU s a second |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in report["wordless"].items():
        cells = (row["clips"], row["minutes"], row["words_per_hour"], row["rejected"], f"{row['cpu_per_second']:.3f}")
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
