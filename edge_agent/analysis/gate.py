"""Has anything moved since the detector last searched? A comparison of tiny grey pictures, some tens of microseconds.

The picture is compared with the one of the last search, not with the last frame: if nothing has changed since, a search
would find what it found then, however slowly things move. A change of the light is taken out by its mean; a flickering
screen or a fan is learned as the noise of its cells once searches because of it find nobody. The gate errs towards
seeing motion, and its owner searches from time to time whatever it says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 48, 36
"""Size of the picture the gate wants, whatever the camera's shape."""

_START_NOISE = 2.0
_LEARN = 0.25


@dataclass(frozen=True, slots=True)
class GateRules:
    """A cell has changed when it differs by ``floor`` grey levels or ``factor`` times its noise, but at most
    ``ceiling`` is asked of it; something has moved when ``cells`` cells have."""

    floor: float = 8.0
    factor: float = 4.5
    ceiling: float = 60.0
    cells: int = 3


@dataclass(frozen=True, slots=True)
class Change:
    """``share`` of the picture's cells that changed, 0 to 1; ``moved`` is the verdict."""

    share: float
    moved: bool


class MotionGate:
    """Call :meth:`look` for every picture and :meth:`searched` after each search of the latest one."""

    def __init__(self, rules: GateRules | None = None) -> None:
        self._rules = rules or GateRules()
        self._reference: npt.NDArray[np.float32] | None = None
        self._latest: npt.NDArray[np.float32] | None = None
        self._difference: npt.NDArray[np.float32] | None = None
        self._noise = np.full((HEIGHT, WIDTH), _START_NOISE, np.float32)
        self._limit = self._limits()

    def look(self, picture: npt.NDArray[np.uint8]) -> Change:
        """Compare ``picture``, uint8 [HEIGHT, WIDTH], with that of the last search. The first picture always moves."""
        self._latest = picture.astype(np.float32)
        if self._reference is None:
            self._difference = None
            return Change(1.0, True)
        gain = (float(self._latest.sum()) + 1.0) / (float(self._reference.sum()) + 1.0)
        self._difference = np.abs(self._latest - self._reference * np.float32(min(max(gain, 0.7), 1.4)))
        changed = int(np.count_nonzero(self._difference > self._limit))
        return Change(changed / picture.size, changed >= self._rules.cells)

    def searched(self, *, nobody: bool) -> None:
        """The detector has searched the latest picture; ``nobody`` if it found no face."""
        if nobody and self._difference is not None:
            # The root of the mean would be the textbook's noise; the mean of the size resists single passers-by.
            self._noise += np.float32(_LEARN) * (self._difference - self._noise)
            self._limit = self._limits()
        self._reference = self._latest

    def reset(self) -> None:
        """Forget the picture, keep the noise: the same camera is back."""
        self._reference = None

    def _limits(self) -> npt.NDArray[np.float32]:
        rules = self._rules
        # No cell is quieter than most: a few differences are a poor measure of the noise of one.
        noise = np.maximum(self._noise, np.median(self._noise))
        limits: npt.NDArray[np.float32] = np.clip(noise * np.float32(rules.factor), rules.floor, rules.ceiling)
        return limits
