"""Timeline of each person in view as short windows, for local readers; in memory only, and for minutes only.

A person is a track: a random name that ends with the visit. The sums are those of a summary, over one face, so there is
no timeline where ``privacy.min_people`` requires several people in everything that is published.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from edge_agent.domain.face import Box, TrackedFace
from edge_agent.domain.observation import (
    ATTENTION,
    EMOTION,
    EMOTIONS,
    IDENTITY,
    UNKNOWN_PERSON,
    Observation,
    VisionReport,
)
from edge_agent.domain.summary import AttentionSums, EmotionSums, Window
from edge_agent.summary.window import MAX_EMOTION_HOLD, WindowBuilder

STEP_S = 5.0
"""Length of a person's windows: long enough for two readings at every rate."""
KEEP_S = 600.0
"""Seconds that are kept; people who left longer ago are forgotten."""
HERE_S = 10.0
"""Seconds without a report, as while the camera is off, after which nobody counts as present."""
MOST = 64
"""People remembered at most; the least recently seen is dropped first."""
NOW_S = 2.0
"""Seconds before a person's latest reading that tell what the person shows now."""
LATEST = 8
"""Readings that do so at most."""


@dataclass(frozen=True, slots=True)
class Person:
    """A visit: ``since`` and ``until`` are the first and last sight, monotonic seconds; ``here``: still in view.

    ``now`` holds the latest readings of emotion and attention; ``box`` is where the face is, None once it is gone.
    """

    track: str
    since: float
    until: float
    here: bool
    windows: tuple[Window, ...]
    now: Window
    box: Box | None = None
    name: str | None = None
    """Name of somebody enrolled, for this machine only; None while unknown."""


@dataclass(slots=True)
class _Visit:
    since: float
    until: float
    builder: WindowBuilder | None = None
    key: str = UNKNOWN_PERSON
    windows: deque[Window] = field(default_factory=lambda: deque(maxlen=int(KEEP_S / STEP_S)))
    readings: deque[Observation] = field(default_factory=lambda: deque(maxlen=LATEST))
    looks: deque[Observation] = field(default_factory=lambda: deque(maxlen=LATEST))
    box: Box | None = None

    def see(self, report: VisionReport, face: TrackedFace) -> None:
        if self.builder is None:
            self.builder = WindowBuilder(report.time, STEP_S)
        self.until = report.time
        self.windows.extend(self.builder.advance(report.time))
        about = tuple(o for o in report.observations if o.track == face.track)
        self.box = face.face.box
        self.readings.extend(o for o in about if o.name == EMOTION and not o.recalled)
        self.looks.extend(o for o in about if o.name == ATTENTION)
        self.key = next((next(iter(o.values)) for o in about if o.name == IDENTITY), self.key)
        self.builder.vision(replace(report, faces=(face,), observations=about, events=()))

    def now(self) -> Window:
        """Sums over the latest readings, each of the same weight; none when they are too old to hold."""
        held = self.until - MAX_EMOTION_HOLD
        read = [tuple(o.values.get(name, 0.0) for name in EMOTIONS) for o in _lately(self.readings, held)]
        looks = [(o.values.get("score", 0.0), o.values.get("looking", 0.0)) for o in _lately(self.looks, held)]
        emotion = EmotionSums(
            float(len(read)),
            tuple(sum(p[k] for p in read) for k in range(len(EMOTIONS))),
            tuple(sum(p[k] ** 2 for p in read) for k in range(len(EMOTIONS))),
            len(read),
        )
        attention = AttentionSums(float(len(looks)), sum(score for score, _ in looks), sum(look for _, look in looks))
        return Window(self.since, self.until, emotion=emotion, attention=attention)

    def here(self, now: float) -> bool:
        return self.builder is not None and self.until >= now - HERE_S

    def leave(self) -> None:
        if self.builder is not None:
            self.windows.extend(self.builder.advance(self.until))
            last = self.builder.flush(self.until)
            self.windows.extend([last] if last is not None else [])
            self.builder = self.box = None
            self.readings.clear()
            self.looks.clear()


def _lately(readings: Collection[Observation], since: float) -> list[Observation]:
    """Return the latest readings, two at least where there are: where little changes they are seconds apart."""
    latest = list(readings)
    if not latest or latest[-1].time < since:
        return []
    near = [o for o in latest if o.time >= latest[-1].time - NOW_S]
    return near if len(near) > 1 else latest[-2:]


class People:
    """Collect reports from one thread; read from any. Times are those of the reports, monotonic.

    ``name`` returns the name of an enrolled person by key, None for others.
    """

    def __init__(self, name: Callable[[str], str | None] = lambda _key: None) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._visits: dict[str, _Visit] = {}

    def accept(self, report: VisionReport, now: float = math.inf) -> None:
        """Add ``report`` to the timeline of each person in view; a time later than ``now`` is taken as now."""
        report = replace(report, time=min(report.time, now))
        with self._lock:
            for face in report.faces:
                self._visits.setdefault(face.track, _Visit(min(face.since, report.time), report.time)).see(report, face)
            here = {face.track for face in report.faces}
            for track, visit in self._visits.items():
                if track not in here:
                    visit.leave()
            self._forget(report.time - KEEP_S)

    def tick(self, now: float) -> None:
        """Forget people who left long ago; to be called about once a second, also without reports."""
        with self._lock:
            self._forget(now - KEEP_S)

    def since(self, begin: float, now: float) -> list[Person]:
        """People in view at ``begin`` or later, by arrival, with their complete windows from then on."""
        with self._lock:
            found = [
                Person(
                    track,
                    v.since,
                    v.until,
                    v.here(now),
                    tuple(w for w in v.windows if w.end > begin),
                    v.now(),
                    v.box,
                    self._name(v.key),
                )
                for track, v in self._visits.items()
                if v.until >= begin
            ]
        return sorted(found, key=lambda person: (person.since, person.track))

    def _forget(self, before: float) -> None:
        lately = sorted(self._visits.items(), key=lambda item: item[1].until, reverse=True)
        self._visits = {track: v for n, (track, v) in enumerate(lately) if n < MOST and v.until >= before}
