"""What turns samples into readings: the interface between a model and the event logic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_agent_burst.events import LabelPolicy, Reading
from edge_agent_burst.labels import Label


class Engine(Protocol):
    """One model with its windowing. Times are seconds since construction or the last :meth:`reset`."""

    @property
    def policies(self) -> Mapping[Label, LabelPolicy]:
        """When this model's scores are believed, for every label."""
        ...

    def feed(self, samples: npt.NDArray[np.float32]) -> Iterable[Reading]:
        """Readings that float32 [n] of new sound completed."""
        ...

    def drain(self) -> Iterable[Reading]:
        """Readings about sound that no full window has covered; the sound is over."""
        ...

    def reset(self) -> None:
        """Forget the sound so far; time starts again at 0."""
        ...
