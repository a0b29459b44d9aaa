"""How often to look, to search for faces and to read them: pure decisions, each with its reason.

A *look* compares a tiny picture with that of the last search (some 50 microseconds). A *search* runs the face detector.
A *reading* asks the emotion model about one face. Each costs about ten times the one before on a Pi, and each is only
made when the one before gives cause, or when the last of its kind is too old to vouch for the present.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edge_agent.analysis.evidence import MAX_GAP, History, reading_interval

Profile = Literal["monitor", "standard", "detail"]

PROFILES: Mapping[str, tuple[float, float, float]] = {
    "monitor": (1.0, 2.0, 0.05),
    "standard": (2.0, 3.0, 0.035),
    "detail": (5.0, 10.0, 0.02),
}
"""Looks a second while nobody is there, and while somebody is; and the tolerance of a window's distribution."""

RECHECK = 5.0
"""Seconds after which an unmoving picture without people is searched all the same."""

RECHECK_PEOPLE = 1.0
"""Likewise with people in view."""

CHANGE = 0.35
"""Difference in appearance (:mod:`edge_agent.analysis.appearance`) that alone makes a face due."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """``idle`` and ``busy`` looks per second, ``idle <= busy``. Equal: every look searches and reads everybody.

    ``tolerance``: Jensen-Shannon distance that a window's distribution may be off by, for want of readings.
    """

    idle: float
    busy: float
    tolerance: float = PROFILES["standard"][2]

    @classmethod
    def of(
        cls,
        profile: Profile,
        min_fps: float | None = None,
        max_fps: float | None = None,
        tolerance: float | None = None,
    ) -> Bounds:
        """The profile's bounds, overridden by the operator's."""
        idle, busy, usual = PROFILES[profile]
        if min_fps is not None:
            idle, busy = min_fps, max(busy, min_fps)
        if max_fps is not None:
            idle, busy = min(idle, max_fps), max_fps
        return cls(idle, busy, usual if tolerance is None else tolerance)

    @property
    def fixed(self) -> bool:
        """Whether the rate does not adapt: what recordings are analysed with."""
        return self.idle == self.busy

    def interval(self, *, awake: bool, allowance: float = 1.0) -> float:
        """Seconds to the next look; ``allowance`` (0 to 1) is the part of the rate above idle that load permits."""
        rate = self.idle + min(max(allowance, 0.0), 1.0) * (self.busy - self.idle) if awake else self.idle
        return 1.0 / rate


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is done, and why."""

    go: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Why:
    """Every decision of one look, for ``edge-agent watch --why``. ``reading`` is by track; ``wait`` in seconds."""

    time: float
    search: Decision
    reading: Mapping[str, Decision] = field(default_factory=dict)
    wait: float = 0.0
    rate: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known at a look. ``searched``: seconds since the last search; ``people`` in view; ``missed``: some of them
    were not detected then; ``tentative``: a face waits to be confirmed; ``share`` of the picture that changed."""

    searched: float
    moved: bool = True
    share: float = 1.0
    people: int = 0
    missed: bool = False
    tentative: bool = False
    blind: str = ""


def plan_search(scene: Scene, bounds: Bounds) -> Decision:
    """Whether this look searches for faces."""
    if scene.blind:
        return Decision(False, f"the camera is {scene.blind}")
    if bounds.fixed:
        return Decision(True, "fixed rate")
    if scene.tentative:
        return Decision(True, "a face waits to be confirmed")
    if scene.moved:
        return Decision(True, f"{scene.share:.0%} of the picture changed")
    if scene.missed:
        return Decision(True, "a face was missed")
    limit = RECHECK_PEOPLE if scene.people else RECHECK
    if scene.searched >= limit - 1e-6:
        return Decision(True, f"not searched for {scene.searched:.1f} s")
    return Decision(False, "nothing has changed")


def plan_reading(history: History, since: float, now: float, change: float, people: int, bounds: Bounds) -> Decision:
    """Whether a face that is in view since ``since`` and looks different by ``change`` is read now."""
    if bounds.fixed:
        return Decision(True, "fixed rate")
    if not history.readings:
        return Decision(True, "never read")
    age = now - history.last
    interval = reading_interval(history, since, now, bounds.tolerance, people)
    # Time and change add up: half the interval and half the change make a whole cause.
    cause = age / max(interval, 1e-6) + change / CHANGE
    if age >= MAX_GAP - 1e-6:
        return Decision(True, f"read {age:.1f} s ago")
    if cause >= 1:
        if age >= interval:
            return Decision(True, f"open: needs a reading every {interval:.1f} s")
        return Decision(True, f"looks different by {change:.2f}")
    return Decision(False, f"settled: {len(history.readings)} readings, next in {interval - age:.1f} s")


class Schedule:
    """Turns an interval into due times without drift and without bursts after a pause."""

    def __init__(self) -> None:
        self._due = float("-inf")

    def due(self, now: float) -> bool:
        """Whether it is time to look."""
        return now >= self._due - 1e-6

    def looked(self, now: float, interval: float) -> None:
        """A look was taken at ``now``; the next is due one interval after the last due time, or after now if late."""
        due = self._due + interval
        self._due = due if now < due <= now + interval else now + interval
