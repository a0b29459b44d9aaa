"""Speech as a kiosk hears it and no clean recording has it: shouted, squeaked, whispered, short, in many languages.

    python -m training.burst.talk --data PATH --out runs/corpus --shards 4

Recorded speech of the training split, acted out (pitch and formants moved, a lively melody, effort); espeak-ng (a
Debian package) with random voices; and, given ``--prompts``, the words, numbers and sentences that
:mod:`training.burst.wild` collects for it in ``train/speech``, as they are and acted out. All teach the network what is
no burst, however odd it sounds. Shards are those of :mod:`training.burst.corpus`, called ``talk-NNN.npz``.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from training.burst import recordings
from training.burst.channel import record
from training.burst.corpus import Sample, save
from training.burst.recordings import RATE

Array = npt.NDArray[np.float64]
PER_SHARD = 600
"""Clips of each source in a shard."""

LONGEST = 8 * RATE
"""Samples of a prompt; the rest is left away."""

LINES = (
    "Hello!", "Hello there, how are you?", "Oh no!", "Yes!", "No, no, no!", "Victory!", "Watch out!", "Come on then!",
    "What is that?", "Oh dear.", "Look at this one.", "Over here!", "Run!", "Wait for me!", "Stop it!", "Hey, you!",
    "I can't believe it!", "That is wonderful.", "Where are my keys?", "Two coffees, please.", "Thank you so much!",
    "Goodbye!", "See you tomorrow.", "Wow!", "Ouch, that hurts.", "Mum, look!", "I don't want to.", "Be quiet!",
    "Happy birthday to you", "One, two, three, go!", "Five hundred and seventeen", "It's mine!", "Excuse me", "Really?",
    "Could you help me with this thing here?", "Never ever do that again!", "Ha, I knew it.", "Well, well, well.",
)  # fmt: skip
"""What is said in English; other languages count, which espeak-ng does in all of them."""

VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+m8", "+croak")
RARE_VARIANTS = ("+whisper", "+whisperf", "+klatt2", "+klatt4")


@dataclass(frozen=True, slots=True)
class Paths:
    """Where recorded speech is."""

    speech: Sequence[Path]
    prompts: Sequence[Path]


def acted(samples: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A stretch of recorded speech, spoken by another throat, with another melody and effort."""
    length = int(RATE * rng.uniform(0.35, 3.0))
    begin = int(rng.integers(max(1, len(samples) - length)))
    x = samples[begin : begin + length].astype(float)
    fade = min(400, len(x) // 4)
    x[:fade] *= np.linspace(0, 1, fade)
    x[len(x) - fade :] *= np.linspace(1, 0, fade)
    x = _melody(x, rng)
    if rng.random() < 0.5:
        x = _effort(x, rng)
    if rng.random() < 0.4:
        knots = np.interp(np.linspace(0, 5, len(x)), np.arange(6), rng.uniform(-15, 0, 6))
        x = x * 10 ** (knots / 20)
    pause = np.zeros(int(RATE * rng.uniform(0, 0.6)))
    return np.concatenate([pause, x, pause]).astype(np.float32)


def _melody(x: Array, rng: np.random.Generator) -> Array:
    """Read at another and a changing speed: pitch and formants move together, as between a child and a man."""
    count = 2 * len(x)
    wander = rng.normal(0, rng.uniform(0.02, 0.22), 7)
    octaves = rng.uniform(-0.5, 0.8) + np.interp(np.linspace(0, 6, count), np.arange(7), wander)
    places = np.cumsum(2 ** np.clip(octaves, -0.9, 1.1))
    return np.interp(places[places < len(x)], np.arange(len(x)), x)


def _effort(x: Array, rng: np.random.Generator) -> Array:
    """A raised voice: more of the high harmonics, and a throat or microphone at its limit."""
    lifted = x - rng.uniform(0.5, 0.95) * np.concatenate([[0.0], x[:-1]])
    lifted /= np.abs(lifted).max() + 1e-9
    return np.tanh(lifted * rng.uniform(1, 8))


def spoken(voices: list[str], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A line by espeak-ng with a random voice, pitch, range and speed."""
    x = _espeak(voices, rng)
    if rng.random() < 0.6:
        x = _melody(x, rng)
    if rng.random() < 0.3:
        x = _effort(x, rng)
    return x.astype(np.float32)


def _espeak(voices: list[str], rng: np.random.Generator) -> Array:
    """What espeak-ng says; it crashes on a few voices in some variants, and is asked for another then."""
    while True:
        voice = voices[int(rng.integers(len(voices)))]
        english = rng.random() < 0.5
        number = int(rng.integers(10 ** int(rng.integers(1, 6))))
        line = LINES[int(rng.integers(len(LINES)))] if english else str(number)
        variants = RARE_VARIANTS if rng.random() < 0.08 else VARIANTS
        name = f"{'en' if english else voice}{variants[int(rng.integers(len(variants)))]}"
        options = ["-p", str(int(rng.integers(0, 100))), "-s", str(int(rng.integers(90, 300))), "-a", "120"]
        made = subprocess.run(["espeak-ng", "--stdout", "-v", name, *options, line], capture_output=True, check=False)
        if made.returncode == 0:
            samples, rate = soundfile.read(io.BytesIO(made.stdout), dtype="float32")
            return np.asarray(soxr.resample(samples, rate, RATE), float)


def languages() -> list[str]:
    """What espeak-ng speaks with voices of its own (some need another program)."""
    told = subprocess.run(["espeak-ng", "--voices"], capture_output=True, text=True, check=True).stdout
    found = [line.split()[1] for line in told.splitlines()[1:]]
    return [name for name in found if subprocess.run(["espeak-ng", "-q", "-v", name, "1"], check=False).returncode == 0]


def shard(seed: int, number: int, paths: Paths, noises: list[npt.NDArray[np.float32]]) -> list[Sample]:
    """As many clips of each source."""
    rng, voices = np.random.default_rng([seed, 2_000_000 + number]), languages()
    found = []
    for _ in range(PER_SHARD):
        clips = {"acted": acted(_any(paths.speech, rng), rng), "espeak": spoken(voices, rng)}
        if paths.prompts:
            prompt = _any(paths.prompts, rng)[:LONGEST]
            clips |= {"prompt": prompt, "acted prompt": acted(prompt, rng)}
        for kind, samples in clips.items():
            if len(samples) > RATE // 10 and np.abs(samples).max() > 0:
                noise = noises[int(rng.integers(len(noises)))] if noises and rng.random() < 0.3 else None
                found.append(Sample(record(samples, rng, noise), "speech", kind, real=kind == "prompt"))
    return found


def _any(paths: Sequence[Path], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """One of the recordings, but none that is next to nothing."""
    while True:
        samples = recordings.read(paths[int(rng.integers(len(paths)))])
        if len(samples) > RATE // 10:
            return samples


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of recordings, one sub-folder per label")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, help="folder of more recorded speech")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        parser.error("needs espeak-ng: sudo apt-get install espeak-ng")
    args.out.mkdir(parents=True, exist_ok=True)
    train = [clip for clip in recordings.find(args.data) if clip.split == "train"]
    prompts = sorted(p for p in args.prompts.rglob("*") if p.suffix in recordings.SUFFIXES) if args.prompts else []
    paths = Paths([clip.path for clip in train if clip.label == "speech"], prompts)
    noises = [recordings.read(clip.path) for clip in train if clip.label == "background"]
    for number in range(args.shards):
        path = args.out / f"talk-{number:03d}.npz"
        if not path.exists():
            save(path, shard(args.seed, number, paths, noises))
            print(path, flush=True)


if __name__ == "__main__":
    main()
