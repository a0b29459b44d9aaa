"""YAMNet's 521 AudioSet scores, grouped into the labels of this plugin.

The network (Google, Apache-2.0) judges 0.975 s at a time. Its classes are AudioSet's, in the order of the model's class
map; the highest score of a group counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE
from edge_agent_burst import Label
from edge_agent_burst.events import LabelPolicy, Reading


class Windows:
    """Every ``hop`` samples the latest ``length`` samples, as soon as they are known."""

    def __init__(self, length: int, hop: int) -> None:
        self._length = length
        self._hop = hop
        self._buffer = np.zeros(0, np.float32)
        self._begin = 0
        self._fresh = 0

    def feed(self, samples: npt.NDArray[np.float32]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Append float32 [n]; yields (index of the first sample since the start, float32 [length])."""
        self._buffer = np.concatenate([self._buffer, samples])
        self._fresh += len(samples)
        while len(self._buffer) >= self._length:
            yield self._begin, self._buffer[: self._length]
            self._buffer = self._buffer[self._hop :]
            self._begin += self._hop
            self._fresh = max(0, len(self._buffer) - self._length + self._hop)

    def drain(self) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """A last window, padded with silence, when samples are left that no window has shown."""
        if self._fresh > 0:
            window = np.zeros(self._length, np.float32)
            window[: len(self._buffer)] = self._buffer
            self._fresh = 0
            yield self._begin, window


MODEL = "yamnet"
"""Name in the model catalogue."""
WINDOW = 15_600
"""Samples the network takes, float32 in [-1, 1]."""

GROUPS: Mapping[Label, Sequence[int]] = {
    "laughter": (13, 14, 15, 16, 17, 18),
    "crying": (19, 20, 21, 22),
    "scream": (6, 7, 9, 11),
    "sigh": (23,),
    "gasp": (39, 40),
    "groan": (33, 34),
    "cough": (42,),
    "throat_clearing": (43,),
    "sneeze": (44,),
}

POLICIES: Mapping[Label, LabelPolicy] = {
    "laughter": LabelPolicy(on=0.35, off=0.15),
    "crying": LabelPolicy(on=0.3, off=0.15),
    "scream": LabelPolicy(on=0.4, off=0.2),
    "sigh": LabelPolicy(on=0.35, off=0.2, longest=5.0),
    "gasp": LabelPolicy(on=0.3, off=0.15, longest=5.0),
    "groan": LabelPolicy(on=0.35, off=0.2, longest=10.0),
    "cough": LabelPolicy(on=0.3, off=0.15, longest=10.0),
    "throat_clearing": LabelPolicy(on=0.5, off=0.25, longest=5.0),
    "sneeze": LabelPolicy(on=0.2, off=0.1, longest=5.0),
}
"""Chosen on the clean recordings and on speech; see the model card."""

Network = Callable[[npt.NDArray[np.float32]], Sequence[npt.NDArray[np.float32]]]
"""The model: float32 [15600] to a list whose first member is float32 [1, 521]."""


class YamnetEngine:
    """YAMNet on a window every ``hop`` samples."""

    def __init__(self, network: Network, hop: int) -> None:
        self._network = network
        self._hop = hop
        self._windows = Windows(WINDOW, hop)

    @property
    def policies(self) -> Mapping[Label, LabelPolicy]:
        return {label: policy.every(self._hop / AUDIO_RATE) for label, policy in POLICIES.items()}

    def feed(self, samples: npt.NDArray[np.float32]) -> Iterable[Reading]:
        for begin, window in self._windows.feed(samples):
            yield self._read(begin, window)

    def drain(self) -> Iterable[Reading]:
        for begin, window in self._windows.drain():
            yield self._read(begin, window)

    def reset(self) -> None:
        self._windows = Windows(WINDOW, self._hop)

    def _read(self, begin: int, window: npt.NDArray[np.float32]) -> Reading:
        scores = np.asarray(self._network(window)[0]).reshape(-1)
        grouped: dict[str, float] = {
            label: float(max(scores[index] for index in group)) for label, group in GROUPS.items()
        }
        # The network calls every sneeze a cough too, but hardly ever a cough a sneeze.
        grouped["cough"] *= 1.0 - grouped["sneeze"]
        return Reading(begin / AUDIO_RATE, (begin + WINDOW) / AUDIO_RATE, grouped)
