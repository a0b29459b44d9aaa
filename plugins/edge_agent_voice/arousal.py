"""Is it speech, and how aroused is it? Two linear models on a turn's features, and the habit of whoever speaks.

What remains of a turn's features without the speaker's own mean carries from corpus to corpus and from microphone to
microphone; the features themselves do not. The mean is estimated from the last turns. While there are few, it leans
towards the mean of all speakers, feature by feature: much where speakers are alike, hardly where they differ (pitch).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import resources

import numpy as np

from edge_agent_voice.prosody import NAMES, Vector

_WEIGHTS = "arousal.npz"
_MEMORY = 0.5 ** (1 / 16)
"""A turn counts half as much after sixteen more."""
_FULL_S = 1.5
"""Seconds of speech from which a turn counts fully."""
_FAR = 4.0
"""Standard deviations that one feature may be away, so that no single odd one decides."""


@dataclass(frozen=True, slots=True, eq=False)
class Arousal:
    """Weights, by features in the order of :data:`~edge_agent_voice.prosody.NAMES`.

    ``mean`` over speakers; ``within``: standard deviation of a speaker's turns; ``lean``: how many turns the mean over
    speakers is worth; ``weight`` and ``bias``: log odds of high arousal from deviations in units of ``within``.
    ``speech_*``: the same for speech against other sounds, from the features themselves.
    """

    mean: Vector
    within: Vector
    lean: Vector
    weight: Vector
    bias: Vector
    speech_mean: Vector
    speech_deviation: Vector
    speech_weight: Vector
    speech_bias: Vector

    @classmethod
    def bundled(cls) -> Arousal:
        """The weights that come with the plugin."""
        with resources.files(__package__).joinpath(_WEIGHTS).open("rb") as file, np.load(file) as data:
            found = cls(**{field.name: data[field.name].astype(np.float64) for field in fields(cls)})
        if found.weight.shape != (len(NAMES),):
            raise ValueError(f"{_WEIGHTS} is for {len(found.weight)} features, not {len(NAMES)}")
        return found

    def speech(self, features: Vector) -> float:
        """Probability that a turn is speech."""
        scaled = np.clip((features - self.speech_mean) / self.speech_deviation, -_FAR, _FAR)
        return _logistic(float(scaled @ self.speech_weight + self.speech_bias))

    def judge(self, deviation: Vector) -> float:
        """Arousal, -1 to 1, of a turn that differs by ``deviation`` from the speaker's habit."""
        scaled = np.clip(deviation / self.within, -_FAR, _FAR)
        return 2.0 * _logistic(float(scaled @ self.weight + self.bias)) - 1.0


class Habit:
    """Mean features of the turns just heard; nothing of a single turn is kept."""

    def __init__(self, model: Arousal) -> None:
        self._model = model
        self.forget()

    def forget(self) -> None:
        """Begin again: somebody else, or nobody's business."""
        self.turns = 0
        self._weight = 0.0
        self._sum = np.zeros(len(self._model.mean))

    def note(self, features: Vector, seconds: float) -> None:
        """Count a turn."""
        weight = min(1.0, seconds / _FULL_S)
        self._weight = self._weight * _MEMORY + weight
        self._sum = self._sum * _MEMORY + weight * features
        self.turns += 1

    def deviation(self, features: Vector) -> Vector:
        """Features without what is usual."""
        lean = self._model.lean
        return np.asarray(features - (self._sum + lean * self._model.mean) / (self._weight + lean))


def _logistic(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))
