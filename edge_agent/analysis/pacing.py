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
    """Load of the machine; None where unknown. ``cpu``: our share of all cores since the last probe, 0 to 1.
    ``celsius``: the hottest zone. ``throttled``: the firmware has lowered the clock or the voltage is too low."""

    cpu: float | None = None
    celsius: float | None = None
    throttled: bool | None = None


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """Limits of the governor: ``cpu`` as a share of all cores; ``increase`` and ``decrease`` per probe."""

    cpu: float = 0.5
    celsius: float = 75.0
    increase: float = 0.1
    decrease: float = 0.5
    least: float = 0.01


@dataclass(frozen=True, slots=True)
class Allowance:
    """Part of the rate above the lower bound that may be used, ``value`` in 0..1, and why."""

    value: float = 1.0
    reason: str = "no limit"


def next_allowance(last: Allowance, load: Load, limits: LoadLimits) -> Allowance:
    """Take one step: halve the allowance on any excess, else recover a tenth."""
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
    """Load governor: calls ``probe`` every ``every`` seconds and keeps the allowance in between."""

    def __init__(self, probe: Callable[[], Load], limits: LoadLimits | None = None, every: float = 5.0) -> None:
        self._probe = probe
        self._limits = limits or LoadLimits()
        self._every = every
        self._asked: float | None = None
        self._allowance = Allowance()

    def allowance(self, now: float) -> Allowance:
        """Return the allowance at ``now``, monotonic seconds."""
        if self._asked is None or now - self._asked >= self._every or now < self._asked:
            self._asked = now
            self._allowance = next_allowance(self._allowance, self._probe(), self._limits)
        return self._allowance


Pace = Literal["idle", "busy", "burst"]

BURST = 8.0
"""Looks a second while it is open whether somebody arrived, unless the operator bounds the rate."""

PROFILES: Mapping[str, tuple[float, float, float, float]] = {
    "monitor": (1.0, 2.0, 0.5, 1.5),
    "standard": (2.0, 3.0, 0.5, 1.0),
    "detail": (5.0, 10.0, 4.0, 0.2),
}
"""Looks a second without and with people; the evidence that makes a reading unnecessary; and the least seconds between
two readings, for each person in view."""

RECHECK = 5.0
"""Seconds after which an unchanged picture without people is searched again."""

RECHECK_PEOPLE = 1.0
"""The same with people in view."""

FIRST = 3
"""Readings of a new face without waiting: it may not stay, and a single reading is too little evidence."""

ALERT = 1.5
"""Exponent by which the required evidence grows with the prediction error of a face's readings, so that the model runs
most on faces where it improves the window most."""

MAX_AGE = 3.0
"""Seconds after which a face is read again in any case: a window of ten seconds has at least three readings."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """``idle`` and ``busy`` looks per second, ``idle <= busy``.

    ``burst`` is the rate while it is open whether somebody arrived. ``evidence``: readings of similar appearance that
    make another one unnecessary (:mod:`edge_agent.analysis.reading`). ``spacing``: least seconds between two readings
    of a person. ``least``: lowest rate under load and heat, ``idle`` unless given. ``most``: the operator's limit,
    never exceeded. ``fixed``: nothing adapts, and every look searches and reads everybody, as for recordings.
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
        """Combine a profile with the operator's limits, which bound the rate of looks and switch nothing off."""
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
        """Fix the rate: every look searches and reads everybody, regardless of motion and load."""
        return cls(fps, fps, burst=fps, fixed=True)

    @property
    def top(self) -> float:
        """Highest possible rate in looks a second."""
        return max(self.busy, self.burst) if self.most is None else self.most

    def interval(self, pace: Pace, allowance: float = 1.0) -> float:
        """Return the seconds to the next look; ``allowance`` (0 to 1) scales the rate above the least."""
        if self.fixed:
            return 1.0 / self.idle
        wanted = {"idle": self.idle, "busy": self.busy, "burst": max(self.busy, self.burst)}[pace]
        least = self.idle if self.least is None else min(self.least, self.idle)
        return 1.0 / (least + min(max(allowance, 0.0), 1.0) * (wanted - least))


def pace_of(scene: Scene, since_motion: float) -> Pace:
    """Choose the pace. Motion without people may be a person who is gone in two seconds, so it calls for a burst."""
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
    """All decisions of one look, for ``edge-agent watch --why``. ``reading`` is by track; ``wait`` is seconds to the
    next look at ``pace``, under the governor's ``limit``."""

    time: float
    search: Decision
    reading: Mapping[str, Decision] = field(default_factory=dict)
    wait: float = 0.0
    pace: Pace = "idle"
    limit: str = "no limit"

    def document(self) -> dict[str, object]:
        """Return the payload of the ``pacing`` topic. Tracks are counted, not named."""
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
    """Input of the decisions at a look. ``searched``: seconds since the last search; ``people`` in view; ``missed``:
    some of them were not detected then; ``tentative``: a face is not confirmed yet; ``share`` of the picture that
    changed; ``blind``: why the picture shows nobody, empty when it can."""

    searched: float
    moved: bool = True
    share: float = 1.0
    people: int = 0
    missed: bool = False
    tentative: bool = False
    blind: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """Reading history of a face: read ``count`` times, last ``age`` seconds ago, worth ``evidence`` readings for its
    appearance now; one of ``people`` in view. ``surprise``: prediction error of its readings, 1 for a usual face."""

    count: int = 0
    age: float = math.inf
    evidence: float = 0.0
    people: int = 1
    surprise: float = 1.0


def plan_search(scene: Scene, bounds: Bounds) -> Decision:
    """Decide whether this look searches for faces."""
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
    """Decide whether a face is read now."""
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
    """Turn intervals into due times without drift, and without bursts after a pause.

    ``most``: limit in looks a second that holds (but for one at the edge of a second) also when frames come late,
    intervals change or the stream is interrupted.
    """

    def __init__(self, most: float | None = None) -> None:
        self._due = -math.inf
        self._most = most
        self._latest: deque[float] = deque(maxlen=1 if most is None else math.floor(most) + 1)

    @property
    def next(self) -> float:
        """Time from which a look is due."""
        full = self._most is not None and len(self._latest) == self._latest.maxlen
        return max(self._due, self._latest[0] + 1.0) if full else self._due

    def due(self, now: float) -> bool:
        """Return whether a look is due at ``now``."""
        if self._latest and now < self._latest[-1]:  # another stream, whose time starts over
            self._due = -math.inf
            self._latest.clear()
        return now >= self.next - 1e-6

    def looked(self, now: float, interval: float) -> None:
        """Record a look at ``now``; the next is due one interval after the last due time, or after now if late."""
        due = self._due + interval
        self._due = due if now < due <= now + interval else now + interval
        self._latest.append(now)

    def restart(self, most: float | None = None) -> None:
        """Make a look due as soon as the new limit ``most`` allows; earlier looks still count against it."""
        self._due = self._latest[-1] + 1.0 / most if most and self._latest else -math.inf
        self._most = most
        self._latest = deque(self._latest, maxlen=1 if most is None else math.floor(most) + 1)


# ---------------------------------------------------------------------- motion gate


GATE_WIDTH, GATE_HEIGHT = 48, 36
"""Size of the gate's picture, whatever the camera's shape."""

_START_NOISE = 2.0
_LEARN = 0.25


@dataclass(frozen=True, slots=True)
class GateRules:
    """Thresholds of the motion gate: a cell has changed when it differs by ``factor`` times its noise, clipped to
    ``floor`` and ``ceiling`` grey levels; there is motion when ``cells`` cells have changed."""

    floor: float = 8.0
    factor: float = 4.5
    ceiling: float = 60.0
    cells: int = 3


@dataclass(frozen=True, slots=True)
class Change:
    """Result of the motion gate: ``share`` of the cells that changed, 0 to 1, and whether that is motion."""

    share: float
    moved: bool


class MotionGate:
    """Motion gate: call :meth:`look` for every picture and :meth:`searched` after each search of the latest one."""

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
        """Record a search of the latest picture; ``nobody``: it found no face, so the difference was noise."""
        if nobody and self._difference is not None:
            # Mean absolute difference rather than standard deviation: it resists a single passer-by.
            self._noise += np.float32(_LEARN) * (self._difference - self._noise)
            self._limit = self._limits()
        self._reference = self._latest

    def reset(self) -> None:
        """Forget the picture and keep the noise, for the same camera after an interruption."""
        self._reference = None

    def _limits(self) -> npt.NDArray[np.float32]:
        rules = self._rules
        # The median is the lower bound: a few differences estimate the noise of a single cell poorly.
        noise = np.maximum(self._noise, np.median(self._noise))
        limits: npt.NDArray[np.float32] = np.clip(noise * np.float32(rules.factor), rules.floor, rules.ceiling)
        return limits
