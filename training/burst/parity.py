"""Whether the int8 model still says what the trained one said: on synthetic sounds that a seed reproduces anywhere.

:mod:`training.burst.dump` stores the float network's answers in ``parity.json`` beside this module; a test compares
the shipped file's with them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent_burst.frontend import BANDS, FLOOR_DB, LogMel, relative
from edge_agent_burst.own import CLASSES, WINDOW_FRAMES
from training.burst.synth import synthesize

REFERENCE = Path(__file__).with_name("parity.json")
SEEDS = (11, 12, 13, 14)


def windows() -> npt.NDArray[np.float32]:
    """Float32 [classes * seeds, 125, 64]: the beginning of a dry sound, one class after the other."""
    return np.stack([_window(label, seed) for label in CLASSES for seed in SEEDS])


def _window(label: str, seed: int) -> npt.NDArray[np.float32]:
    frames = LogMel().feed(synthesize(label, np.random.default_rng(seed)).samples)[:WINDOW_FRAMES]
    window = np.full((WINDOW_FRAMES, BANDS), FLOOR_DB, np.float32)
    window[-len(frames) :] = frames
    return relative(window)


def write(probabilities: npt.NDArray[np.float32]) -> None:
    """Store the float network's answers to :func:`windows`."""
    rounded: Any = np.round(probabilities.astype(float), 4).tolist()
    REFERENCE.write_text(json.dumps(rounded, separators=(",", ":")).replace("],[", "],\n[") + "\n", encoding="utf-8")


def read() -> npt.NDArray[np.float64]:
    """Float [classes * seeds, classes]."""
    return np.array(json.loads(REFERENCE.read_text(encoding="utf-8")))
