"""Decide how often to look, to search for faces and to read them; motion gate and load governor. Each with its reason.

A *look* passes a tiny picture to the motion gate (some 50 microseconds). A *search* runs the face detector. A *reading*
runs the emotion model on one face. Each costs about ten times the one before on a Pi, and each runs only when the one
before gives cause or when the last of its kind is too old.

The gate compares the picture with the one of the last search, not with the last frame: if nothing has changed since, a
search would find what it found then, however slowly things move. A change of the light is removed by its mean; a
flickering screen or a fan is learned as the noise of its cells once searches because of it find nobody. The gate errs
towards seeing motion, and a search follows from time to time whatever it says.

The governor scales the rate between the operator's bounds by additive increase and multiplicative decrease, as TCP
congestion control does, so the lower bound always holds; load comes from a probe.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_agent.domain.commands import Profile

# ---------------------------------------------------------------------- load governor


@dataclass(frozen=True, slots=True)
class Load:
    """What the machine says; None where it does not. ``cpu``: our share of all cores since the last question, 0 to 1.
    ``celsius``: the hottest zone. ``throttled``: the firmware has lowered the clock or the voltage is too low."""

    cpu: float | None = None
    celsius: float | None = None
    throttled: bool | None = None


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """``cpu`` is a share of all cores; ``increase`` and ``decrease`` are per question."""

    cpu: float = 0.5
    celsius: float = 75.0
    increase: float = 0.1
    decrease: float = 0.5
    least: float = 0.01


@dataclass(frozen=True, slots=True)
class Allowance:
    """``value`` in 0..1 is the part of the rate above the lower bound that may be used."""

    value: float = 1.0
    reason: str = "no limit"


def next_allowance(last: Allowance, load: Load, limits: LoadLimits) -> Allowance:
    """One step: halve on any excess, else recover a tenth."""
    excess = []
    if load.throttled:
        excess.append("the firmware throttles")
    if load.celsius is not None and load.celsius > limits.celsius:
        excess.append(f"{load.celsius:.0f} °C is above {limits.celsius:.0f}")
    if load.cpu is not None and load.cpu > limits.cpu:
        excess.append(f"CPU share {load.cpu:.0%} is above {limits.cpu:.0%}")
    if excess:
        value = last.value * limits.decrease
        return Allowance(value if value >= limits.least else 0.0, ", ".join(excess))
    value = min(1.0, last.value + limits.increase)
    return Allowance(value, "no limit" if value >= 1.0 else "recovering")


class Governor:
    """Asks ``probe`` every ``every`` seconds of the caller's time and remembers the allowance in between."""

    def __init__(self, probe: Callable[[], Load], limits: LoadLimits | None = None, every: float = 5.0) -> None:
        self._probe = probe
        self._limits = limits or LoadLimits()
        self._every = every
        self._asked: float | None = None
        self._allowance = Allowance()

    def allowance(self, now: float) -> Allowance:
        """The allowance at ``now``, monotonic seconds."""
        if self._asked is None or now - self._asked >= self._every or now < self._asked:
            self._asked = now
            self._allowance = next_allowance(self._allowance, self._probe(), self._limits)
        return self._allowance


Pace = Literal["idle", "busy", "burst"]

BURST = 8.0
"""Looks a second while it shows whether somebody came, unless the operator bounds the rate."""

PROFILES: Mapping[str, tuple[float, float, float, float]] = {
    "monitor": (1.0, 2.0, 0.5, 1.5),
    "standard": (2.0, 3.0, 0.5, 1.0),
    "detail": (5.0, 10.0, 4.0, 0.2),
}
"""Looks a second while nobody is there, and while somebody is; the evidence that settles how a look
reads; and the least seconds between two readings, for each person in view."""

RECHECK = 5.0
"""Seconds after which an unmoving picture without people is searched all the same."""

RECHECK_PEOPLE = 1.0
"""Likewise with people in view."""

FIRST = 3
"""Readings a new face gets at once: it may not stay, and one reading is none."""

ALERT = 1.5
"""The evidence that settles a look grows with this power of how much the face's readings surprise: effort goes to
the faces whose windows it makes better."""

MAX_AGE = 3.0
"""Seconds after which a face is read again whatever is remembered of it: a window of ten has three readings."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """``idle`` and ``busy`` looks per second, ``idle <= busy``.

    ``burst`` is the rate for the moments in which it shows whether somebody came. ``evidence``: readings of similar
    looks that settle a look (:mod:`edge_agent.analysis.reading`). ``least``: what load and heat may slow looks down
    to, ``idle`` unless given. ``most``: looks a second that are never exceeded, by the operator's word. ``fixed``:
    nothing adapts, every look searches and reads everybody; recordings are analysed so.
    """

    idle: float
    busy: float
    evidence: float = PROFILES["standard"][2]
    spacing: float = PROFILES["standard"][3]
    burst: float = BURST
    least: float | None = None
    most: float | None = None
    fixed: bool = False

    @classmethod
    def of(
        cls,
        profile: Profile,
        min_fps: float | None = None,
        max_fps: float | None = None,
        evidence: float | None = None,
    ) -> Bounds:
        """The profile's bounds, overridden by the operator's, however low: they bound looks and switch nothing off."""
        idle, busy, usual, spacing = PROFILES[profile]
        if min_fps is not None:
            idle, busy = min_fps, max(busy, min_fps)
        if max_fps is not None:
            idle, busy = min(idle, max_fps), max_fps
        # Load must be able to slow down also what the operator bounds to less than the profile's idle rate.
        least = min_fps or min(idle, busy * PROFILES[profile][0] / PROFILES[profile][1])
        burst = max(busy, BURST) if max_fps is None else max_fps
        return cls(idle, busy, usual if evidence is None else evidence, spacing, burst, least, max_fps)

    @classmethod
    def at(cls, fps: float) -> Bounds:
        """A fixed rate: every look searches and reads everybody, whatever moves and however busy the machine is."""
        return cls(fps, fps, burst=fps, fixed=True)

    @property
    def top(self) -> float:
        """The most looks a second that can come of these bounds."""
        return max(self.busy, self.burst) if self.most is None else self.most

    def interval(self, pace: Pace, allowance: float = 1.0) -> float:
        """Seconds to the next look; ``allowance`` (0 to 1) is the part of the rate above the least that load leaves."""
        if self.fixed:
            return 1.0 / self.idle
        wanted = {"idle": self.idle, "busy": self.busy, "burst": max(self.busy, self.burst)}[pace]
        least = self.idle if self.least is None else min(self.least, self.idle)
        return 1.0 / (least + min(max(allowance, 0.0), 1.0) * (wanted - least))


def pace_of(scene: Scene, since_motion: float) -> Pace:
    """How fast to look on. Something that moved where nobody was may be a person who is gone in two seconds."""
    if scene.blind:
        return "idle"
    if scene.tentative or (not scene.people and since_motion < 0.5):
        return "burst"
    return "busy" if scene.people or since_motion < 2.0 else "idle"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is done, and why."""

    go: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Why:
    """Every decision of one look, for ``edge-agent watch --why``. ``reading`` is by track; ``wait`` is seconds to the
    next look at ``pace``, under the governor's ``limit``."""

    time: float
    search: Decision
    reading: Mapping[str, Decision] = field(default_factory=dict)
    wait: float = 0.0
    pace: Pace = "idle"
    limit: str = "no limit"

    def document(self) -> dict[str, object]:
        """The decisions in words, as published on the ``pacing`` topic. Tracks are counted, not named."""
        read = [decision.reason for decision in self.reading.values() if decision.go]
        return {
            "v": 1,
            "pace": self.pace,
            "next_look_s": round(self.wait, 3),
            "limit": self.limit,
            "searched": self.search.go,
            "search": self.search.reason,
            "faces": len(self.reading),
            "read": len(read),
            "readings": sorted({decision.reason for decision in self.reading.values()}),
        }


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known at a look. ``searched``: seconds since the last search; ``people`` in view; ``missed``: some of
    them were not detected then; ``tentative``: a face waits to be confirmed; ``share`` of the picture that
    changed."""

    searched: float
    moved: bool = True
    share: float = 1.0
    people: int = 0
    missed: bool = False
    tentative: bool = False
    blind: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a face: it was read ``count`` times, last ``age`` seconds ago; those readings are worth
    ``evidence`` for how it looks now; it is one of ``people`` in view. ``surprise``: how far its readings usually lie
    from what was recalled, 1 for a usual face."""

    count: int = 0
    age: float = math.inf
    evidence: float = 0.0
    people: int = 1
    surprise: float = 1.0


def plan_search(scene: Scene, bounds: Bounds) -> Decision:
    """Whether this look searches for faces."""
    if scene.blind:
        return Decision(False, f"the camera is {scene.blind}")
    limit = RECHECK_PEOPLE if scene.people else RECHECK
    causes = (
        (bounds.fixed, "fixed rate"),
        (scene.tentative, "a face waits to be confirmed"),
        (scene.moved, f"{scene.share:.1%} of the picture changed"),
        (scene.missed, "a face was missed"),
        (scene.searched >= limit - 1e-6, f"not searched for {scene.searched:.1f} s"),
    )
    return next((Decision(True, reason) for holds, reason in causes if holds), Decision(False, "nothing has changed"))


def plan_reading(past: Past, bounds: Bounds) -> Decision:
    """Whether a face is read now."""
    if bounds.fixed:
        return Decision(True, "fixed rate")
    if past.count < FIRST:
        return Decision(True, f"readings so far: {past.count}" if past.count else "never read")
    if past.age >= MAX_AGE - 1e-6:
        return Decision(True, f"last read {past.age:.1f} s ago")
    spacing = bounds.spacing * past.people
    if past.age < spacing - 1e-6:
        return Decision(
            False, f"last read {past.age:.1f} s ago, at most every {spacing:.1f} s with {past.people} in view"
        )
    needed = bounds.evidence * past.surprise**ALERT
    if past.evidence < needed:
        return Decision(True, f"open: {past.evidence:.1f} of {needed:.1f} readings of such a look")
    return Decision(False, f"settled: {past.evidence:.1f} readings of such a look")


class LookSchedule:
    """Turns an interval into due times without drift and without bursts after a pause.

    ``most``: looks a second that are never exceeded, but for one at the edge of a second, also when frames come late,
    intervals change or the stream is interrupted.
    """

    def __init__(self, most: float | None = None) -> None:
        self._due = -math.inf
        self._most = most
        self._latest: deque[float] = deque(maxlen=1 if most is None else math.floor(most) + 1)

    def due(self, now: float) -> bool:
        """Whether it is time to look."""
        if self._latest and now < self._latest[-1]:  # another stream, whose time begins anew
            self._due = -math.inf
            self._latest.clear()
        full = self._most is not None and len(self._latest) == self._latest.maxlen
        return now >= self._due - 1e-6 and not (full and now - self._latest[0] < 1.0 - 1e-6)

    def looked(self, now: float, interval: float) -> None:
        """A look was taken at ``now``; the next is due one interval after the last due time, or after now if late."""
        due = self._due + interval
        self._due = due if now < due <= now + interval else now + interval
        self._latest.append(now)

    def restart(self, most: float | None = None) -> None:
        """Look as soon as ``most`` allows, from now on the most; what was looked at before still counts."""
        self._due = self._latest[-1] + 1.0 / most if most and self._latest else -math.inf
        self._most = most
        self._latest = deque(self._latest, maxlen=1 if most is None else math.floor(most) + 1)


# ---------------------------------------------------------------------- motion gate


GATE_WIDTH, GATE_HEIGHT = 48, 36
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
        self._noise = np.full((GATE_HEIGHT, GATE_WIDTH), _START_NOISE, np.float32)
        self._limit = self._limits()

    def look(self, picture: npt.NDArray[np.uint8]) -> Change:
        """Compare a picture, uint8 [GATE_HEIGHT, GATE_WIDTH], with that of the last search; the first always moves."""
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
