"""Random draws with the distributions the synthesizer uses, over one seeded generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")


class Draw:
    """Thin reading aid around ``rng``. ``ranges`` moves the bounds of draws that have a name."""

    def __init__(self, rng: np.random.Generator, ranges: Mapping[str, tuple[float, float]] | None = None) -> None:
        self.rng = rng
        self._ranges = ranges or {}

    def flat(self, low: float, high: float, name: str = "") -> float:
        """Uniform between the bounds."""
        low, high = self._ranges.get(name, (low, high))
        return float(self.rng.uniform(low, high))

    def log(self, low: float, high: float, name: str = "") -> float:
        """Uniform in the logarithm."""
        low, high = self._ranges.get(name, (low, high))
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def chance(self, probability: float) -> bool:
        """True with ``probability``."""
        return bool(self.rng.random() < probability)

    def pick(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of ``options``, in proportion to ``weights``."""
        p = None if weights is None else np.asarray(weights, float) / np.sum(weights)
        return options[int(self.rng.choice(len(options), p=p))]

    def near(self, spread: float) -> float:
        """A factor of 1 give or take ``spread``."""
        return float(self.rng.uniform(1 - spread, 1 + spread))

    def factors(self, spread: float, count: int) -> npt.NDArray[np.float64]:
        """``count`` factors as by :meth:`near`."""
        return self.rng.uniform(1 - spread, 1 + spread, count)

    def wander(self, count: int, hertz: float, rate: float) -> npt.NDArray[np.float64]:
        """Smooth noise of about unit variance: ``count`` values at ``rate`` per second, changing ``hertz`` times."""
        knots = max(4, int(np.ceil(count / rate * hertz * 2)) + 3)
        return np.interp(np.linspace(0, knots - 1.001, count), np.arange(knots), self.rng.standard_normal(knots))
