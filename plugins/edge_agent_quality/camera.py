"""Quality flags of the camera, from statistics of one small grey picture per look and from whether it changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import Frame
from edge_agent.domain.observation import FLAG, Observation
from edge_agent.plugin import SceneAnalyzer, imaging
from edge_agent_quality import CameraQualitySettings

WIDTH, HEIGHT = 160, 120
_WHITE = 250
_LEVELS = np.arange(256, dtype=np.float64)
_DETAIL_NEEDS = 20.0
"""A picture of less contrast than this has no edges that could be blurred."""


@dataclass(frozen=True, slots=True)
class Figures:
    """``bright``: 98th percentile; ``contrast``: standard deviation; ``sharp``: mean difference of the steepest tenth
    of neighbours over the contrast, in per cent; ``white``: share of pixels at the top. Grey levels of 0..255."""

    bright: float
    contrast: float
    sharp: float
    white: float


def measure(picture: npt.NDArray[np.uint8]) -> Figures:
    """Figures of a uint8 [h, w] picture, from every third row.

    All come from two histograms, which cost a tenth of sorting and of floating-point statistics.
    """
    rows = picture[::3]
    levels = np.bincount(rows.ravel(), minlength=256) / rows.size
    steps = np.bincount(np.abs(np.diff(rows.astype(np.int16), axis=1)).ravel(), minlength=256)
    mean = float(levels @ _LEVELS)
    contrast = math.sqrt(max(0.0, float(levels @ _LEVELS**2) - mean * mean))
    return Figures(
        bright=float(np.searchsorted(np.cumsum(levels), 0.98)),
        contrast=contrast,
        sharp=100 * _mean_of_top(steps, 0.1) / max(contrast, 1.0),
        white=float(levels[_WHITE:].sum()),
    )


def _mean_of_top(histogram: npt.NDArray[np.int64], share: float) -> float:
    """Mean level of the highest ``share`` of what ``histogram`` counts."""
    wanted = share * float(histogram.sum())
    from_top = np.minimum(np.cumsum(histogram[::-1]), wanted)
    taken = np.diff(from_top, prepend=0.0)
    return float(taken @ _LEVELS[::-1]) / wanted


def judge(figures: Figures, limits: CameraQualitySettings) -> dict[str, bool]:
    """Flags of a single picture. A picture without light is dark, not covered; without contrast not blurred."""
    dark = figures.bright < limits.dark
    covered = not dark and figures.contrast < limits.covered
    return {
        "dark": dark,
        "covered": covered,
        "overexposed": figures.white > limits.overexposed,
        "blurred": figures.contrast >= _DETAIL_NEEDS and figures.sharp < limits.blurred,
    }


class CameraQuality(SceneAnalyzer):
    """Analyzer ``camera_quality``; see the package. Keeps the last picture that differed."""

    def __init__(self, settings: CameraQualitySettings) -> None:
        self._settings = settings
        self._last: npt.NDArray[np.uint8] | None = None
        self._changed = 0.0
        self._uncovered = math.inf

    def analyze(self, frame: Frame) -> Sequence[Observation]:
        """One observation with every flag, 0 or 1."""
        picture = imaging.luma(frame, WIDTH, HEIGHT)
        flags = judge(measure(picture), self._settings)
        flags["covered"] = self._lasting(flags["covered"], frame.time)
        flags["frozen"] = self._frozen(picture, frame.time)
        return [Observation(FLAG, {name: float(up) for name, up in flags.items()}, frame.time)]

    def self_check(self) -> None:
        """Do nothing: there is no model."""

    def close(self) -> None:
        """Discard the picture."""
        self._last = None

    def _lasting(self, covered: bool, now: float) -> bool:
        """Debounce: an empty picture counts once it lasts, because it may be a door that opens."""
        if not covered or not self._uncovered <= now:
            self._uncovered = now
        return covered and now - self._uncovered >= self._settings.covered_s

    def _frozen(self, picture: npt.NDArray[np.uint8], now: float) -> bool:
        if self._last is None or now < self._changed or not np.array_equal(picture, self._last):
            self._last, self._changed = picture, now
        return now - self._changed >= self._settings.frozen_s
