"""Run the vision lane: one step per frame, from analyzers to a report.

Synchronous and without threads: the daemon calls a lane from its own thread, ``analyze`` from a plain loop. Time is the
media's own. :mod:`edge_agent.analysis.pacing` decides when to look, search and read; the vision lane carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, TypeVar

from edge_agent.analysis.pacing import (
    GATE_HEIGHT,
    GATE_WIDTH,
    Bounds,
    Change,
    Decision,
    Governor,
    LookSchedule,
    MotionGate,
    Pace,
    Scene,
    Why,
    pace_of,
    plan_search,
)
from edge_agent.analysis.reading import ReadingPlan
from edge_agent.analysis.reunion import Reunion
from edge_agent.analysis.tracking import Departure, Tracker, Tracking
from edge_agent.domain.event import ARRIVAL, DEPARTURE, PERSON, Event
from edge_agent.domain.face import TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import (
    BLINDING,
    EMOTION,
    REAPPEARED,
    UNSEARCHED,
    NetworkSums,
    Observation,
    VisionReport,
    split_flags,
)
from edge_agent.plugin import imaging
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.plugin.spec import Kind

T = TypeVar("T")


class VisionLane:
    """Run one camera's motion gate, tracker, schedules and picture analyzers.

    ``governor`` lowers the rate under load and heat; None for recordings, where load does not matter.
    """

    def __init__(
        self,
        analyzers: Sequence[ActiveAnalyzer],
        bounds: Bounds,
        tracker: Tracker | None = None,
        governor: Governor | None = None,
    ) -> None:
        self._detector = next((a for a in analyzers if a.spec.kind is Kind.DETECTOR), None)
        self._scenes = [a for a in analyzers if a.spec.kind is Kind.SCENE]
        readers = [a for a in analyzers if a.spec.kind is Kind.FACE]
        self._readers = sorted(readers, key=lambda a: bool(a.spec.uses))  # stable: what is used comes before its user
        self._others = [*self._scenes, *self._readers]
        patience = max((a.recollects_s for a in self._readers), default=0.0)
        self._reunion = Reunion(patience) if patience else None
        self._schedules = {a.spec.name: LookSchedule(a.spec.max_fps) for a in self._others}
        self._schedule = LookSchedule(bounds.most)
        self.on_step: Callable[[], None] = lambda: None
        """Progress callback, called before each analyzer runs."""
        self._emotional: set[str] = set()
        self._flags: dict[str, frozenset[str]] = {}
        self._governor = governor
        self._tracker = tracker or Tracker()
        self._gate = MotionGate()
        self._captured = 0
        self._next_index: int | None = None
        self._skipped = self._dropped = 0
        self._size: tuple[int, int] | None = None
        self._resized = 0
        self._transfers: tuple[Frame, Frame] | None = None
        self._unsearched = False
        self._events: list[Event] = []
        self._start(bounds)

    def _start(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._plan = ReadingPlan(bounds)
        self._schedule.restart(bounds.most)
        self._tracking = Tracking()
        self._lost: tuple[Departure, ...] = ()
        self._searched = self._moved = -inf
        self.why: Why | None = None
        """Decisions of the last look, for ``edge-agent watch --why``; None before the first."""

    @property
    def wanted(self) -> bool:
        """Whether any picture analyzer is active, so that frames are of use."""
        return self._detector is not None or bool(self._others)

    @property
    def due(self) -> float:
        """Time of the next look; a frame captured before is of no use."""
        return self._schedule.next

    def offer(self, frame: Frame, overwritten: int = 0) -> VisionReport | None:
        """Analyse ``frame`` if a look is due; None when it is skipped.

        ``overwritten`` counts frames captured since the last call and replaced in the mailbox by later ones.
        """
        self._count(frame, overwritten)
        if not self._schedule.due(frame.time):
            return None
        observations = self._look_at_scene(frame)
        blind = sorted(BLINDING & self._raised())
        change = self._glance(frame, blind)
        search = plan_search(self._scene(frame.time, change, blind), self._bounds)
        tracking = self._follow(frame, search, blind=bool(blind))
        reading, found = self._read(frame, tracking)
        tracking, found = self._reunite(frame.time, tracking, found)
        pace = pace_of(self._scene(frame.time, change, blind), frame.time - self._moved)
        self._schedule_next(frame.time, search, reading, pace)
        return self._report(frame, tracking, [*observations, *found])

    def forget(self) -> None:
        """Let the analyzers of faces forget the people they remember: the camera is switched off."""
        for active in self._readers:
            active.forget()

    def finish(self) -> tuple[Event, ...]:
        """Arrivals and departures that were held back until now: the recording is over."""
        arrived, gone = self._reunion.finish() if self._reunion is not None else ((), ())
        return (*map(_arrival, arrived), *map(_departure, gone))

    def reset(self) -> None:
        """Drop tracks, flags and due times after an interruption of the stream."""
        self._tracker.reset()
        self._gate.reset()
        self._flags.clear()
        for active in self._others:
            self._schedules[active.spec.name].restart(active.spec.max_fps)
        self._next_index = None
        self._skipped = 0
        self._start(self._bounds)

    def repace(self, bounds: Bounds) -> None:
        """Change the rates while running; tracks keep their identities."""
        self._bounds = bounds
        self._plan = ReadingPlan(bounds)
        self._schedule.restart(bounds.most)

    # ------------------------------------------------------------------ looking and searching

    def _look_at_scene(self, frame: Frame) -> list[Observation]:
        found: list[Observation] = []
        for active in self._scenes:
            if not active.alive:
                self._flags.pop(active.spec.name, None)
            elif self._its_turn(active, frame.time):
                others, flags = split_flags(self._call(active, lambda a: a.analyze(frame)))
                found += others
                self._flags[active.spec.name] = flags
        return found

    def _raised(self) -> frozenset[str]:
        return frozenset().union(*self._flags.values())

    def _glance(self, frame: Frame, blind: Sequence[str]) -> Change:
        if self._bounds.fixed or blind or self._detector is None:
            return Change(1.0, True)
        change = self._gate.look(imaging.luma(frame, GATE_WIDTH, GATE_HEIGHT))
        if change.moved:
            self._moved = frame.time
        return change

    def _scene(self, now: float, change: Change, blind: Sequence[str]) -> Scene:
        last = self._tracking
        return Scene(
            searched=now - self._searched,
            moved=change.moved,
            share=change.share,
            people=len(last.faces),
            missed=len(last.seen) < len(last.faces),
            tentative=last.tentative,
            blind=" and ".join(blind),
        )

    def _follow(self, frame: Frame, search: Decision, *, blind: bool) -> Tracking:
        detector = self._detector
        if blind or detector is None:
            return self._see_nobody(frame.time)
        if search.go:
            faces = self._call(detector, lambda a: a.detect(frame))
            self._unsearched = not detector.answered
            if self._unsearched:  # no answer does not mean that nobody is there
                return self._see_nobody(frame.time)
            self._searched = frame.time
            found = self._tracker.update(faces, frame.time)
            self._tracking = replace(found, departed=(*self._lost, *found.departed))
            self._lost = ()
            if not self._bounds.fixed:
                self._gate.searched(nobody=not faces)
        else:
            self._tracking = self._tracker.hold(frame.time)
        return self._tracking

    def _see_nobody(self, now: float) -> Tracking:
        """Clear the view while no search is possible; departures are held back until the next search confirms them."""
        self._lost += self._tracker.update((), now).departed
        self._searched = -inf  # so the next look searches
        self._tracking = Tracking()
        return self._tracking

    # ------------------------------------------------------------------ reading faces

    def _read(self, frame: Frame, tracking: Tracking) -> tuple[dict[str, Decision], list[Observation]]:
        """Run the face analyzers; those that report emotions only on faces whose evidence is insufficient.

        Other analyzers get every detected face, as often as their ``max_fps`` allows.
        """
        seen = [face for face in tracking.faces if face.track in tracking.seen]
        plan = dict(self._plan.decide(frame, tracking.faces, tracking.seen)) if self._readers else {}
        due = [face for face in seen if plan[face.track].go] if plan else []
        found: list[Observation] = []
        by_analyzer: dict[str, Sequence[Observation]] = {}
        for active in self._readers:
            faces = due if active.spec.name in self._emotional else seen
            if (faces or active.spec.identifies) and self._its_turn(active, frame.time):
                known = [o for name in active.spec.uses for o in by_analyzer.get(name, ())]
                by_analyzer[active.spec.name] = self._ask(active, frame, _informed(faces, known))
                found += by_analyzer[active.spec.name]
        found += self._plan.learn(found, frame.time)
        return plan, found

    def _reunite(self, now: float, tracking: Tracking, found: list[Observation]) -> tuple[Tracking, list[Observation]]:
        """Give back its identity to a track that an analyzer knows again, and hold back the departures until then."""
        if self._reunion is None:
            return tracking, found
        back = {o.track: o.before for o in found if o.name == REAPPEARED and o.track and o.before}
        same = {new: old for new, old in back.items() if self._tracker.rename(new, old, self._reunion.since(old))}
        tracking = self._reunion.apply(tracking, same, now, tracking.missing)
        self._tracking = replace(self._tracking, faces=tracking.faces, seen=tracking.seen)
        kept = [o for o in found if o.name != REAPPEARED]
        return tracking, [replace(o, track=same.get(o.track or "", o.track)) for o in kept]

    def _ask(self, active: ActiveAnalyzer, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        observations: Sequence[Observation] = self._call(active, lambda a: a.analyze(frame, faces))
        if any(o.name == EMOTION for o in observations):
            self._emotional.add(active.spec.name)
        return observations

    def _call(self, active: ActiveAnalyzer, use: Callable[[Any], Sequence[T]]) -> Sequence[T]:
        """Call an analyzer and return its observations; its events are queued for the report."""
        self.on_step()
        found = active.call(use, ())
        self._events += [item for item in found if isinstance(item, Event)]
        return [item for item in found if not isinstance(item, Event)]

    def _its_turn(self, active: ActiveAnalyzer, now: float) -> bool:
        if active.spec.max_fps is None:
            return True
        schedule = self._schedules[active.spec.name]
        if not schedule.due(now):
            return False
        schedule.looked(now, 1 / active.spec.max_fps)
        return True

    # ------------------------------------------------------------------ when next, and what was found

    def _schedule_next(self, now: float, search: Decision, reading: dict[str, Decision], pace: Pace) -> None:
        allowance = self._governor.allowance(now) if self._governor else None
        wait = self._bounds.interval(pace, allowance.value if allowance else 1.0)
        self._schedule.looked(now, wait)
        self.why = Why(now, search, reading, wait, pace, allowance.reason if allowance else "no limit")

    def _report(self, frame: Frame, tracking: Tracking, observations: Sequence[Observation]) -> VisionReport:
        captured, self._captured = self._captured, 0
        dropped, self._dropped = self._dropped, 0
        resized, self._resized = self._resized, 0
        events, self._events = self._events, []
        return VisionReport(
            frame.time,
            frame.index,
            tracking.faces,
            tuple(observations),
            tuple(_arrival(face) for face in tracking.arrived)
            + tuple(_departure(d) for d in tracking.departed)
            + tuple(events),
            self._raised() | ({UNSEARCHED} if self._unsearched or self._detector is None else frozenset()),
            captured=captured,
            dropped=dropped,
            resized=resized,
            network=self._transferred(),
        )

    def _count(self, frame: Frame, overwritten: int) -> None:
        unwanted = frame.skipped - self._skipped if frame.skipped >= self._skipped else frame.skipped
        self._skipped = frame.skipped
        self._captured += 1 + overwritten + unwanted
        if self._next_index is not None and frame.index >= self._next_index:
            self._dropped += max(0, frame.index - self._next_index - overwritten - unwanted)
        self._next_index = frame.index + 1
        size = (frame.width, frame.height)
        self._resized += self._size not in (None, size)
        self._size = size
        first, last = self._transfers or (frame, frame)
        if frame.transfer is None or last.transfer is None or frame.transfer.received < last.transfer.received:
            first = frame  # another stream, which counts from 0
        self._transfers = (first, frame)

    def _transferred(self) -> NetworkSums:
        """What the network brought between the pictures of the last two reports."""
        first, last = self._transfers or (None, None)
        if first is None or last is None:
            return NetworkSums()
        self._transfers = (last, last)
        if first.transfer is None or last.transfer is None:
            return NetworkSums()
        begin, end = first.transfer, last.transfer
        return NetworkSums(
            end.received - begin.received,
            last.time - first.time,
            end.stalls - begin.stalls,
            end.stalled - begin.stalled,
        )


def _informed(faces: Sequence[TrackedFace], known: Sequence[Observation]) -> Sequence[TrackedFace]:
    """``faces`` with what is ``known`` about each."""
    if not known:
        return faces
    about: dict[str | None, dict[str, Mapping[str, float]]] = {}
    for observation in known:
        about.setdefault(observation.track, {})[observation.name] = observation.values
    return [replace(face, observed=about[face.track]) if face.track in about else face for face in faces]


def _arrival(face: TrackedFace) -> Event:
    return Event(ARRIVAL, PERSON, face.face.score, face.since, 0.0)


def _departure(departure: Departure) -> Event:
    return Event(DEPARTURE, PERSON, departure.score, departure.since, departure.until - departure.since)
