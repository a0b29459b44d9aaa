"""The synthesizer's front: one labelled sound per call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from training.burst.synth import airs, calls, rejections
from training.burst.synth.draw import Draw
from training.burst.synth.voice import Speaker

Maker = Callable[[Draw, Speaker, str], npt.NDArray[np.float32]]

_MAKERS: Mapping[str, Maker] = {
    "laughter": calls.laughter,
    "crying": calls.crying,
    "scream": calls.scream,
    "sigh": airs.sigh,
    "gasp": airs.gasp,
    "groan": calls.groan,
    "cough": airs.cough,
    "throat_clearing": airs.throat_clearing,
    "sneeze": airs.sneeze,
    "speech": rejections.speech,
    "background": rejections.background,
}

KINDS: Mapping[str, Mapping[str, float]] = {
    "laughter": {"haha": 4, "giggle": 3, "chuckle": 2, "nasal": 1, "breathy": 1.2, "cackle": 1.5},
    "crying": {"sob": 2, "wail": 2.5, "whimper": 1.5, "baby": 4},
    "scream": {"scream": 4, "shriek": 4, "yell": 3},
    "sigh": {"breath": 6, "soft": 3, "nasal": 1},
    "gasp": {"pant": 5, "gasp": 2.5, "heavy": 2.5},
    "groan": {"moan": 4, "groan": 4, "grunt": 1.5, "hum": 1, "growl": 2, "strain": 1.5, "ugh": 2.5, "pain": 3.5},
    "cough": {"dry": 6, "wet": 4},
    "throat_clearing": {"ahem": 3, "hrm": 4, "scrape": 2.5, "grind": 2},
    "sneeze": {"built": 5, "sudden": 5},
    "speech": {"babble": 1},
    "background": dict.fromkeys(rejections.THINGS, 1.0),
}
"""The ways each label is made and how often."""

_RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    # Moved by a search against YAMNet's scores, where that helped.
    "crying": {
        "bandwidth": (0.92, 2.1),
        "voice_tilt": (-2.0, 3.8),
        "breath_tilt": (-4.8, 1.8),
        "breath": (0.02, 0.24),
        "jitter": (0.0035, 0.043),
        "shimmer": (0.03, 0.27),
    },
    "scream": {
        "bandwidth": (0.84, 2.1),
        "voice_tilt": (-2.5, 2.7),
        "breath_tilt": (-4.0, 0.1),
        "breath": (0.029, 0.35),
        "jitter": (0.003, 0.039),
        "shimmer": (0.03, 0.27),
    },
    "laughter": {"voice_tilt": (0.0, 5.0)},
    "gasp": {"bandwidth": (0.6, 2.2)},
}


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """``samples`` float32 at 16 kHz with a peak of 1; ``kind`` is one of the label's :data:`KINDS`."""

    samples: npt.NDArray[np.float32]
    label: str
    kind: str


def synthesize(label: str, rng: np.random.Generator, kind: str | None = None) -> Clip:
    """One dry sound of ``label`` (a key of :data:`KINDS`), 0.2 to 7 s long.

    Raises:
        KeyError: unknown label or kind.
    """
    draw = Draw(rng, _RANGES.get(label))
    weights = KINDS[label]
    chosen = kind if kind is not None else draw.pick(list(weights), list(weights.values()))
    if chosen not in weights:
        raise KeyError(chosen)
    speaker = Speaker.drawn(draw)
    if chosen == "growl":
        speaker = replace(speaker, voice_tilt=min(speaker.voice_tilt, 1.0))
    return Clip(_MAKERS[label](draw, speaker, chosen), label, chosen)
