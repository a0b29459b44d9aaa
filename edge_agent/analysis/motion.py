"""Where a face will be: a constant-velocity Kalman filter whose velocity fades, one coordinate at a time.

With diagonal noise the usual eight-state box filter falls apart into independent pairs of position and velocity, so a
few lines of scalar arithmetic do what a matrix library would. Looks may come at any interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_agent.domain.face import Box


@dataclass(frozen=True, slots=True)
class Noise:
    """In face widths: ``measure`` is the detector's jitter, ``drive`` how fast a head changes its speed (widths per
    second to the 3/2), ``start`` the spread of the unknown first speed (widths a second). ``fade``: seconds after which
    a speed that nothing confirms has dropped to a third."""

    measure: float = 0.05
    drive: float = 1.0
    start: float = 1.5
    fade: float = 0.6


@dataclass(frozen=True, slots=True)
class Coordinate:
    """Position ``x`` and velocity ``v`` with their covariance."""

    x: float
    v: float
    xx: float
    xv: float
    vv: float

    def predict(self, dt: float, drive: float, fade: float) -> Coordinate:
        """After ``dt`` seconds; ``drive`` in units of the coordinate."""
        keep = math.exp(-dt / fade)
        reach = fade * (1 - keep)
        q = drive * drive
        return Coordinate(
            self.x + reach * self.v,
            keep * self.v,
            self.xx + 2 * reach * self.xv + reach * reach * self.vv + q * dt**3 / 3,
            keep * (self.xv + reach * self.vv) + q * dt * dt / 2,
            keep * keep * self.vv + q * dt,
        )

    def correct(self, measured: float, sigma: float) -> Coordinate:
        """With a measurement whose standard deviation is ``sigma``."""
        total = self.xx + sigma * sigma
        kx, kv = self.xx / total, self.xv / total
        error = measured - self.x
        return Coordinate(
            self.x + kx * error, self.v + kv * error, (1 - kx) * self.xx, (1 - kx) * self.xv, self.vv - kv * self.xv
        )


@dataclass(frozen=True, slots=True)
class Motion:
    """Centre and size of a face box in fractions of the frame; the size has a velocity too, as people walk up."""

    x: Coordinate
    y: Coordinate
    w: Coordinate
    h: Coordinate

    @classmethod
    def begin(cls, box: Box, noise: Noise) -> Motion:
        """A face seen once: its speed is unknown."""

        def start(value: float, size: float, restless: float = 1.0) -> Coordinate:
            return Coordinate(value, 0.0, (noise.measure * size) ** 2, 0.0, (restless * noise.start * size) ** 2)

        centre = box.centre
        return cls(start(centre.x, box.w), start(centre.y, box.h), start(box.w, box.w, 0.3), start(box.h, box.h, 0.3))

    def predict(self, dt: float, noise: Noise) -> Motion:
        """After ``dt`` seconds without a detection."""
        w, h = max(self.w.x, 1e-3), max(self.h.x, 1e-3)
        return Motion(
            self.x.predict(dt, noise.drive * w, noise.fade),
            self.y.predict(dt, noise.drive * h, noise.fade),
            self.w.predict(dt, 0.3 * noise.drive * w, noise.fade),
            self.h.predict(dt, 0.3 * noise.drive * h, noise.fade),
        )

    def correct(self, box: Box, noise: Noise, score: float) -> Motion:
        """With a detection; the less certain it is, the less it counts (as in NSA Kalman of StrongSORT)."""
        sigma = noise.measure * (2.0 - min(max(score, 0.0), 1.0))
        centre = box.centre
        return Motion(
            self.x.correct(centre.x, sigma * box.w),
            self.y.correct(centre.y, sigma * box.h),
            self.w.correct(box.w, sigma * box.w),
            self.h.correct(box.h, sigma * box.h),
        )

    @property
    def box(self) -> Box:
        """Where the face is believed to be."""
        w, h = max(self.w.x, 1e-3), max(self.h.x, 1e-3)
        return Box(self.x.x - w / 2, self.y.x - h / 2, w, h)

    @property
    def doubt(self) -> float:
        """Standard deviation of the centre, in face sizes."""
        return max(math.sqrt(self.x.xx) / max(self.w.x, 1e-3), math.sqrt(self.y.xx) / max(self.h.x, 1e-3))
