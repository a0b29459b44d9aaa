"""Event-level scores: bursts set into speech or background at known moments, and how exactly they are found.

Each scene is about three seconds of another recording, the burst 3 to 20 dB above it, and three seconds more. The truth
is where the burst's own loudness first comes within 20 dB of its peak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AudioBlock
from edge_agent_burst.analyzer import BurstAnalyzer
from training.burst import recordings
from training.burst.recordings import RATE, Recording

Samples = npt.NDArray[np.float32]
LEAD_S = 3.0
TOLERANCE_S = 0.5
_BLOCK = RATE // 10


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """``onset`` is when the burst called ``label`` begins, in seconds."""

    samples: Samples
    label: str
    onset: float


def compose(burst: Recording, bed: Recording, rng: np.random.Generator) -> Scene:
    """``burst`` in the middle of ``bed``."""
    sound, lead = recordings.read(burst.path), round(LEAD_S * RATE)
    count = len(sound) + 2 * lead
    scene = np.resize(recordings.read(bed.path), count).astype(np.float32)
    scene *= 10 ** (-rng.uniform(3, 20) / 20) * _loudness(sound) / (_loudness(scene) + 1e-9)
    scene[lead : lead + len(sound)] += sound
    scene *= 0.5 / (np.abs(scene).max() + 1e-9)
    return Scene(scene.astype(np.float32), burst.label, LEAD_S + onset(sound))


def _loudness(x: Samples) -> float:
    """Root mean square of the louder third."""
    return float(np.sqrt(np.mean(np.sort(x**2)[-max(1, len(x) // 3) :])))


def onset(samples: Samples) -> float:
    """When the loudness first comes within 20 dB of its highest, seconds."""
    whole = len(samples) // 160 * 160
    power = (samples[:whole].reshape(-1, 160) ** 2).mean(axis=1)
    return float(np.flatnonzero(power >= power.max() / 100)[0]) * 0.01


def score(analyzer: BurstAnalyzer, scenes: Sequence[Scene]) -> Mapping[str, Any]:
    """Per label: scenes, how many were found at all and within the tolerance; and events of a wrong label."""
    rows: dict[str, dict[str, int]] = {}
    errors = []
    for scene in scenes:
        row = rows.setdefault(scene.label, {"scenes": 0, "found": 0, "in_time": 0, "wrong_label": 0})
        events = _hear(analyzer, scene.samples)
        distances = [abs(event.start - scene.onset) for event in events if event.label == scene.label]
        row["scenes"] += 1
        row["found"] += bool(distances)
        row["in_time"] += bool(distances) and min(distances) <= TOLERANCE_S
        row["wrong_label"] += sum(event.label != scene.label for event in events)
        errors += [min(distances)] if distances else []
    return {"labels": rows, "median_onset_error_s": round(float(np.median(errors)), 3) if errors else None}


def _hear(analyzer: BurstAnalyzer, samples: Samples) -> list[Any]:
    events = []
    for begin in range(0, len(samples), _BLOCK):
        events += analyzer.analyze(AudioBlock(samples[begin : begin + _BLOCK], begin / RATE))
    return [*events, *analyzer.finish()]
