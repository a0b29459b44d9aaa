"""A second opinion: where the own model suspects a burst, YAMNet hears the same two seconds and is asked twice.

Once for what it thinks itself, by AudioSet's classes, and once for its embedding, from which a head judges: one linear
layer trained with the own model's training sounds, which comes with the plugin; YAMNet does not. What YAMNet thinks was
learned from real sounds, which counts most where the training sounds are synthetic.
YAMNet runs only on suspicious windows, so its cost is that of the moments when something happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE
from edge_agent_burst import LABELS, Label
from edge_agent_burst.events import LabelPolicy, Reading
from edge_agent_burst.own import POLICIES as OWN_POLICIES
from edge_agent_burst.own import OwnEngine, by_label
from edge_agent_burst.yamnet import WINDOW, by_class

SUSPICION = 0.15
"""Own probability of any burst from which YAMNet is asked."""
HEARD = 2 * AUDIO_RATE
"""Samples both judge."""
_STRIDE = 7_680
DOUBT = 0.01
"""Added to what YAMNet thinks: it can make a label unlikely, but not rule it out."""
_SILENCE = np.float32(1e-5)
"""Loudness added to every window's: where all is silent, all windows count."""
_WEIGHTS = "second_opinion.npz"

Samples = npt.NDArray[np.float32]
POLICIES: Mapping[Label, LabelPolicy] = {
    **OWN_POLICIES,
    "laughter": LabelPolicy(on=0.5, off=0.3, agree=3, among=4),
    "crying": LabelPolicy(on=0.45, off=0.27, agree=3, among=4),
    "cough": LabelPolicy(on=0.3, off=0.18, agree=4, among=5, longest=10.0),
    "sneeze": LabelPolicy(on=0.4, off=0.24, agree=3, among=4, longest=5.0),
}
"""Three opinions are seldom as sure as one is of a cough. Chosen as the own model's were."""

Network = Callable[[Samples], Sequence[npt.NDArray[np.float32]]]
"""YAMNet with its embedding as another output: float32 [15600] to float32 [1, 1024] and scores, float32 [1, 521]."""


class Head:
    """The linear layer: an embedding, averaged by :func:`overall`, to probabilities in the order of ``own.CLASSES``."""

    def __init__(self, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> None:
        self._weight = weight
        self._bias = bias

    @classmethod
    def bundled(cls) -> Head:
        """The head that comes with the plugin."""
        with resources.files(__package__).joinpath(_WEIGHTS).open("rb") as file, np.load(file) as data:
            return cls(data["weight"].astype(np.float32), data["bias"].astype(np.float32))

    def __call__(self, embedding: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        # Square roots, because the embedding is sparse and heavy-tailed; the head was trained on them.
        logits = self._weight @ np.sqrt(embedding) + self._bias
        exponentials = np.exp(logits - logits.max())
        return np.asarray(exponentials / exponentials.sum(), np.float32)


class SecondOpinionEngine:
    """The own engine whose suspicions are confirmed or corrected: the geometric mean of the opinions counts, the own
    model's twice because it has learned from the other two."""

    def __init__(self, own: OwnEngine, yamnet: Network, head: Head) -> None:
        self._own = own
        self._yamnet = yamnet
        self._head = head
        self._recent: Samples = np.zeros(HEARD, np.float32)

    @property
    def policies(self) -> Mapping[Label, LabelPolicy]:
        return POLICIES

    def reset(self) -> None:
        self._own.reset()
        self._recent = np.zeros(HEARD, np.float32)

    def feed(self, samples: Samples) -> Iterable[Reading]:
        # In steps no longer than the own model's hop, so that each window is heard at its own moment.
        for begin in range(0, len(samples), self._own.hop):
            part = samples[begin : begin + self._own.hop]
            self._recent = np.concatenate([self._recent, part])[-HEARD:]
            for reading, probabilities in self._own.probabilities(part):
                yield self._reconsider(reading, probabilities)

    def drain(self) -> Iterable[Reading]:
        for reading, probabilities in self._own.rest():
            self._recent = np.concatenate([self._recent, np.zeros(self._own.hop, np.float32)])[-HEARD:]
            yield self._reconsider(reading, probabilities)

    def _reconsider(self, reading: Reading, probabilities: npt.NDArray[np.float32]) -> Reading:
        if max(probabilities[: len(LABELS)]) < SUSPICION:
            return reading
        embedding, scores = self._ask()
        together = (probabilities**2 * self._head(embedding) * (by_class(scores) + DOUBT)) ** 0.25
        return Reading(reading.start, reading.end, by_label(together / together.sum()))

    def _ask(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """YAMNet's embedding [1024], as by :func:`overall`, and highest scores [521] over the two seconds."""
        windows = [self._recent[begin : begin + WINDOW] for begin in range(HEARD - WINDOW, -1, -_STRIDE)]
        embeddings, scores = (np.concatenate(o) for o in zip(*map(self._yamnet, windows), strict=True))
        return overall(embeddings, np.stack([loudness(w) for w in windows])), np.asarray(scores.max(axis=0), np.float32)


def loudness(window: Samples) -> np.float32:
    """Root mean square."""
    return np.float32(np.sqrt(np.mean(window**2)))


def overall(embeddings: npt.NDArray[np.float32], levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean of ``embeddings`` [n, 1024] by the loudness ``levels`` [n] of their windows.

    Silence has no say beside a sound.
    """
    return np.average(embeddings, axis=0, weights=levels + _SILENCE).astype(np.float32)
