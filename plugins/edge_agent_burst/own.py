"""The bundled int8 model: probabilities of nine labels, speech and background from two seconds of log-mel frames.

Frames are computed once, as the sound arrives; the network runs every ``hop`` on the latest two seconds, and not at all
while they are quiet. The first window of a stretch of sound is preceded by silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE
from edge_agent_burst import LABELS, REJECTIONS, Label
from edge_agent_burst.events import LabelPolicy, Reading
from edge_agent_burst.frontend import BANDS, FLOOR_DB, FRAME, HOP, Frames, LogMel, level, relative


class Engine(Protocol):
    """One model with its windowing. Times are seconds since construction or the last :meth:`reset`."""

    @property
    def policies(self) -> Mapping[Label, LabelPolicy]:
        """Policies of the events of every label, for the scores of this model."""
        ...

    def feed(self, samples: npt.NDArray[np.float32]) -> Iterable[Reading]:
        """Return the readings that float32 [n] of new sound completes."""
        ...

    def drain(self) -> Iterable[Reading]:
        """Return the readings of sound that no full window has covered, at the end of the sound."""
        ...

    def reset(self) -> None:
        """Discard the sound so far; time starts again at 0."""
        ...


MODEL = "burst"
"""Name in the model catalogue."""
WINDOW_FRAMES = 125
"""Frames of one window: two seconds."""
CLASSES = (*LABELS, *REJECTIONS)
"""Order of the network's outputs."""
QUIET_DB = -85.0
"""Below this band level (about -65 dB full scale) nothing is judged."""
RECENT_S = 1.2
"""A sound that appears in a window for the first time began within its last stretch of this length."""
_TRAIL_S = 1.0

POLICIES: Mapping[Label, LabelPolicy] = {
    "laughter": LabelPolicy(on=0.55, off=0.33, agree=4, among=5),
    "crying": LabelPolicy(on=0.7, off=0.42, agree=7, among=8),
    "scream": LabelPolicy(on=0.5, off=0.3, agree=4, among=5),
    "sigh": LabelPolicy(on=0.4, off=0.24, agree=4, among=5, longest=5.0),
    "gasp": LabelPolicy(on=0.4, off=0.24, agree=3, among=4, longest=5.0),
    "groan": LabelPolicy(on=0.45, off=0.27, agree=4, among=5, longest=10.0),
    "cough": LabelPolicy(on=0.5, off=0.3, agree=4, among=5, longest=10.0),
    "throat_clearing": LabelPolicy(on=0.45, off=0.27, agree=3, among=4, longest=5.0),
    "sneeze": LabelPolicy(on=0.4, off=0.24, agree=6, among=8, longest=5.0),
}
"""Chosen on recordings and speakers that were not trained on and on hours of sound without bursts; see the model card.
For long sounds, more windows that agree at lower scores find more at as few false events."""

Network = Callable[[npt.NDArray[np.float32]], Sequence[npt.NDArray[np.float32]]]
"""The model: float32 [1, 125, 64, 1] in -1..1 to a list whose first member is float32 [1, 11], summing to 1."""


def by_label(probabilities: npt.NDArray[np.float32]) -> dict[str, float]:
    """Select the labels that can be reported from ``probabilities`` (in the order of :data:`CLASSES`)."""
    return {label: float(p) for label, p in zip(LABELS, probabilities, strict=False)}


class OwnEngine:
    """Run the bundled model on the latest two seconds, every ``hop`` samples."""

    def __init__(self, network: Network, hop: int) -> None:
        self._network = network
        self._every = max(1, round(hop / HOP))
        self.reset()

    @property
    def policies(self) -> Mapping[Label, LabelPolicy]:
        return {label: policy.every(self.hop / AUDIO_RATE) for label, policy in POLICIES.items()}

    def reset(self) -> None:
        self._spectrum = LogMel()
        self._window: Frames = np.full((WINDOW_FRAMES, BANDS), FLOOR_DB, np.float32)
        self._frames = 0
        self._unseen = 0
        self._waiting: list[npt.NDArray[np.float32]] = []

    def feed(self, samples: npt.NDArray[np.float32]) -> Iterable[Reading]:
        for reading, _ in self.probabilities(samples):
            yield reading

    def drain(self) -> Iterable[Reading]:
        for reading, _ in self.rest():
            yield reading

    @property
    def hop(self) -> int:
        """Samples between two windows."""
        return self._every * HOP

    def rest(self) -> Iterable[tuple[Reading, npt.NDArray[np.float32]]]:
        """Like :meth:`drain`, with probabilities as in :meth:`probabilities`.

        Silence is appended, so that the last moments are judged as often as all others.
        """
        if self._frames > 0 or sum(map(len, self._waiting)) >= FRAME:
            yield from self.probabilities(np.zeros(round(_TRAIL_S * AUDIO_RATE), np.float32))

    def probabilities(self, samples: npt.NDArray[np.float32]) -> Iterable[tuple[Reading, npt.NDArray[np.float32]]]:
        """Like :meth:`feed`, each reading with the probabilities in the order of :data:`CLASSES`."""
        self._waiting.append(samples)
        if sum(map(len, self._waiting)) < self._spectrum.missing(self._every - self._unseen):
            return  # many frames at once cost little more than one
        frames = self._spectrum.feed(np.concatenate(self._waiting))
        self._waiting = []
        while len(frames):
            part, frames = frames[: self._every - self._unseen], frames[self._every - self._unseen :]
            self._window = np.concatenate([self._window[len(part) :], part])
            self._frames += len(part)
            self._unseen += len(part)
            if self._unseen >= self._every:
                yield self._read()

    def _read(self) -> tuple[Reading, npt.NDArray[np.float32]]:
        self._unseen = 0
        end = (self._frames * HOP + FRAME - HOP) / AUDIO_RATE
        probabilities = self._judge()
        return Reading(max(0.0, end - RECENT_S), end, by_label(probabilities)), probabilities

    def _judge(self) -> npt.NDArray[np.float32]:
        if level(self._window) < QUIET_DB:
            return np.zeros(len(CLASSES), np.float32)
        return self._network(relative(self._window)[None, :, :, None])[0].reshape(-1)
