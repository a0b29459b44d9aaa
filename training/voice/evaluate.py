"""What the voice analyzer makes of speakers it was not trained on, and of sounds that are no speech.

A data folder holds sounds and ``manifest.csv`` (path, label, speaker), as EMO-DB's in ../shared. Clips of one speaker
are heard in random order, each with what was learnt of the speaker's habit from those before and from itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.observation import Observation
from edge_agent_voice import VoiceSettings
from edge_agent_voice.analyzer import VoiceAnalyzer
from edge_agent_voice.arousal import Arousal, Habit
from training.burst import recordings
from training.voice.dataset import (
    SHARED,
    Clip,
    Samples,
    Table,
    Vectors,
    by_speaker,
    condition_table,
    degrade,
    read_manifest,
)
from training.voice.train import fit, music

DEFAULT_DATA = SHARED / "emodb"
BLOCK = AUDIO_RATE // 10
ORDERS = 5
"""Random orders in which a speaker's clips are heard."""
FIRST_KNOWN = VoiceSettings().habit_turns - 1
"""Clips of a speaker before the first whose arousal is told."""
HARD = ("clean", "noise_20", "noise_10", "room", "telephone")


def hear(samples: Samples, settings: VoiceSettings | None = None) -> list[Observation]:
    """Turns of a whole recording with their figures, as the plugin reports them; ``time`` is the position in it."""
    analyzer = VoiceAnalyzer(settings or VoiceSettings(enabled=True), Arousal.bundled())
    found: list[Observation] = []
    for begin in range(0, len(samples), BLOCK):
        found += analyzer.analyze(AudioBlock(samples[begin : begin + BLOCK], begin / AUDIO_RATE))
    return [*found, *analyzer.finish()]


def follow(model: Arousal, x: Vectors) -> list[float]:
    """Arousal of each of a speaker's turns [n, features], in their order."""
    habit, told = Habit(model), []
    for vector in x:
        habit.note(vector, 2.0)
        told.append(model.judge(habit.deviation(vector)))
    return told


def accuracy(models: Mapping[str, Arousal], t: Table) -> dict[str, Any]:
    """Share of clips on the right side of 0, by speaker and together, from the first that is told."""
    rng = np.random.default_rng(0)
    by_name: dict[str, list[bool]] = {}
    for speaker in np.unique(t.speaker):
        for _ in range(ORDERS):
            order = rng.permutation(np.flatnonzero(t.speaker == speaker))
            told = np.array(follow(models[speaker], t.x[order])) > 0
            by_name.setdefault(str(speaker), []).extend((told == t.high[order])[FIRST_KNOWN:].tolist())
    shares = {name: float(np.mean(right)) for name, right in by_name.items() if right}
    return {
        "accuracy": float(np.mean([right for found in by_name.values() for right in found])),
        "worst_speaker": min(shares.values()),
        "clips": len(t.x),
        "speakers": len(shares),
    }


def left_out(t: Table) -> dict[str, Arousal]:
    """For each speaker, weights fitted on the clips of the others, as they are."""
    shipped = Arousal.bundled()
    found = {}
    for speaker in np.unique(t.speaker):
        weights = fit(t.only(t.speaker != speaker))
        found[str(speaker)] = Arousal(
            **{f.name: weights.get(f.name, getattr(shipped, f.name)) for f in fields(Arousal)}
        )
    return found


def invented(every: int) -> dict[str, dict[str, float]]:
    """Seconds told as speech of each kind of sound, over the seconds heard; of the recordings kept from training."""
    clips: dict[str, list[Samples]] = {}
    kept = [r for r in recordings.find(SHARED / "bursts") if r.split == "valid"]
    for recording in kept[::every]:
        kind = "readings and digits" if recording.label == "speech" else recording.label
        clips.setdefault(kind, []).append(recordings.read(recording.path)[: 30 * AUDIO_RATE])
    bursts = [c for c in read_manifest(SHARED / "emogator") if int(c.speaker[-6:]) > 200]
    clips["vocal bursts"] = [recordings.read(c.path) for c in bursts[:: 5 * every]]
    rng = np.random.default_rng(1)
    clips["synthetic music"] = [music(rng) for _ in range(max(2, 40 // every))]
    return {
        kind: {
            "heard_s": round(sum(len(x) for x in sounds) / AUDIO_RATE, 1),
            "speech_s": round(sum(told.values["seconds"] for x in sounds for told in hear(x)), 1),
        }
        for kind, sounds in sorted(clips.items())
    }


def found_speech(clips: Sequence[Clip]) -> dict[str, dict[str, float]]:
    """Seconds told as speech of clips that hold nothing else, under some conditions."""
    rng = np.random.default_rng(2)
    sounds = [recordings.read(clip.path) for clip in clips]
    heard = sum(len(x) for x in sounds) / AUDIO_RATE
    return {
        condition: {
            "heard_s": round(heard, 1),
            "speech_s": round(sum(o.values["seconds"] for x in sounds for o in hear(degrade(x, condition, rng))), 1),
        }
        for condition in HARD
    }


def evaluate(path: Path = DEFAULT_DATA, *, every: int = 1, conditions: Sequence[str] = HARD) -> dict[str, Any]:
    """Figures on a folder of clips, of every ``every``-th clip.

    On EMO-DB, which the shipped weights were trained on, arousal is judged by weights fitted without the speaker.

    Raises:
        MediaError: the folder has no manifest, or a clip cannot be read.
    """
    clips = [clip for clip in read_manifest(path) if clip.high is not None][::every]
    speakers = by_speaker(clips)
    clean = condition_table(speakers, "clean")
    seen = path.resolve() == DEFAULT_DATA.resolve()
    shipped = Arousal.bundled()
    models = left_out(clean) if seen else {str(s): shipped for s in np.unique(clean.speaker)}
    arousal = {"clean": accuracy(models, clean)}
    for condition in conditions:
        if condition != "clean":
            arousal[condition] = accuracy(models, condition_table(speakers, condition))
    return {
        "model": "voice",
        "data": path.name,
        "weights": "without the speaker" if seen else "shipped",
        "arousal": arousal,
        "speech": found_speech(clips[::16]),
        "other": invented(6 * every) if seen else {},
    }


def table(report: Mapping[str, Any]) -> str:
    """The figures as Markdown tables."""
    lines = ["| condition | clips | accuracy | worst speaker |", "| --- | --- | --- | --- |"]
    for condition, row in report["arousal"].items():
        lines.append(f"| {condition} | {row['clips']} | {row['accuracy']:.3f} | {row['worst_speaker']:.3f} |")
    lines += ["", "| sound | heard, s | told as speech, s | share |", "| --- | --- | --- | --- |"]
    rows = [(f"speech, {name}", row) for name, row in report["speech"].items()] + list(report["other"].items())
    lines += [
        f"| {name} | {row['heard_s']:.1f} | {row['speech_s']:.1f} | {row['speech_s'] / max(row['heard_s'], 0.1):.3f} |"
        for name, row in rows
    ]
    return "\n".join(lines)
