"""Track faces between searches with Kalman filters and optimal assignment, under random, short-lived identities.

Each face moves by a constant-velocity Kalman filter. Detections are assigned to tracks at the least total cost, certain
ones first and doubtful ones after, as in ByteTrack (Zhang et al., 2022): a doubtful detection can confirm or continue a
track but never begins one. A track is

- tentative until it was detected ``confirm`` times: it does not count as a person yet;
- in view while it is detected and for ``coast`` seconds after, so that one missed detection is no departure;
- lost after that, for ``remember`` seconds: a face that reappears near the place keeps the identity;
- then ended, which is reported once with how long it was in view.

Nothing about a person's appearance is kept: who leaves and comes back later gets a new identity.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from edge_agent.domain.face import Box, Face, TrackedFace

# ---------------------------------------------------------------------- assignment


FORBIDDEN = 1e6
"""Cost from which a pair is never assigned."""


def assign(costs: Sequence[Sequence[float]]) -> dict[int, int]:
    """Assign rows to columns: as many allowed pairs as possible, at the least total cost.

    ``costs`` is a rectangle of finite numbers; pairs at :data:`FORBIDDEN` or above are never made. Allowed costs must
    be small against it. This is the Hungarian method in its shortest-augmenting-path form (Jonker and Volgenant,
    1987).
    """
    rows, columns = len(costs), len(costs[0]) if costs else 0
    if rows == 0 or columns == 0:
        return {}
    if rows > columns:
        flipped = assign([[costs[i][j] for i in range(rows)] for j in range(columns)])
        return {i: j for j, i in flipped.items()}
    owner = _augment_all(costs, rows, columns)
    return {i - 1: j - 1 for j, i in enumerate(owner) if j and i and costs[i - 1][j - 1] < FORBIDDEN}


def _augment_all(costs: Sequence[Sequence[float]], rows: int, columns: int) -> list[int]:
    """Return the row of each column, both counted from 1; 0 for none. Needs ``rows <= columns``."""
    of_row, of_column = [0.0] * (rows + 1), [0.0] * (columns + 1)
    owner = [0] * (columns + 1)
    for row in range(1, rows + 1):
        owner[0] = row
        at, way = 0, [0] * (columns + 1)
        slack, done = [float("inf")] * (columns + 1), [False] * (columns + 1)
        while owner[at]:
            done[at] = True
            i, step, nearest = owner[at], float("inf"), 0
            for j in range(1, columns + 1):
                if done[j]:
                    continue
                reduced = costs[i - 1][j - 1] - of_row[i] - of_column[j]
                if reduced < slack[j]:
                    slack[j], way[j] = reduced, at
                if slack[j] < step:
                    step, nearest = slack[j], j
            for j in range(columns + 1):
                if done[j]:
                    of_row[owner[j]] += step
                    of_column[j] -= step
                else:
                    slack[j] -= step
            at = nearest
        while at:
            owner[at], at = owner[way[at]], way[at]
    return owner


# ---------------------------------------------------------------------- Kalman filter


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise of the filter in face widths: ``measure`` is the detector's jitter, ``drive`` how fast a head changes its
    speed (widths per second to the 3/2), ``start`` the spread of the unknown first speed (widths a second). ``fade``:
    seconds after which a speed that nothing confirms has dropped to a third."""

    measure: float = 0.05
    drive: float = 1.0
    start: float = 1.5
    fade: float = 0.6


@dataclass(frozen=True, slots=True)
class Coordinate:
    """Kalman state of one coordinate: position ``x`` and velocity ``v`` with their covariance."""

    x: float
    v: float
    xx: float
    xv: float
    vv: float

    def predict(self, dt: float, drive: float, fade: float) -> Coordinate:
        """Predict the state after ``dt`` seconds; ``drive`` in units of the coordinate."""
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
        """Update the state by a measurement with standard deviation ``sigma``."""
        total = self.xx + sigma * sigma
        kx, kv = self.xx / total, self.xv / total
        error = measured - self.x
        return Coordinate(
            self.x + kx * error, self.v + kv * error, (1 - kx) * self.xx, (1 - kx) * self.xv, self.vv - kv * self.xv
        )


@dataclass(frozen=True, slots=True)
class Motion:
    """Kalman state of a face box, centre and size in fractions of the frame; the size has a velocity as people walk up.

    With diagonal noise the usual eight-state box filter separates into independent pairs of position and velocity, so
    scalar arithmetic does what a matrix library would.
    """

    x: Coordinate
    y: Coordinate
    w: Coordinate
    h: Coordinate

    @classmethod
    def begin(cls, box: Box, noise: Noise) -> Motion:
        """Start from one detection, with unknown speed."""

        def start(value: float, size: float, restless: float = 1.0) -> Coordinate:
            return Coordinate(value, 0.0, (noise.measure * size) ** 2, 0.0, (restless * noise.start * size) ** 2)

        centre = box.centre
        return cls(start(centre.x, box.w), start(centre.y, box.h), start(box.w, box.w, 0.3), start(box.h, box.h, 0.3))

    def predict(self, dt: float, noise: Noise) -> Motion:
        """Predict the state after ``dt`` seconds without a detection."""
        w, h = max(self.w.x, 1e-3), max(self.h.x, 1e-3)
        return Motion(
            self.x.predict(dt, noise.drive * w, noise.fade),
            self.y.predict(dt, noise.drive * h, noise.fade),
            self.w.predict(dt, 0.3 * noise.drive * w, noise.fade),
            self.h.predict(dt, 0.3 * noise.drive * h, noise.fade),
        )

    def correct(self, box: Box, noise: Noise, score: float) -> Motion:
        """Update by a detection; the less certain it is, the less it counts (NSA Kalman filter of StrongSORT)."""
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
        """Estimated box."""
        w, h = max(self.w.x, 1e-3), max(self.h.x, 1e-3)
        return Box(self.x.x - w / 2, self.y.x - h / 2, w, h)

    @property
    def doubt(self) -> float:
        """Standard deviation of the centre, in face sizes."""
        return max(math.sqrt(self.x.xx) / max(self.w.x, 1e-3), math.sqrt(self.y.xx) / max(self.h.x, 1e-3))


# ---------------------------------------------------------------------- tracks


@dataclass(frozen=True, slots=True)
class TrackingRules:
    """Thresholds of the tracker. ``strong``: least score to begin a track; ``weak``: to continue one. Times in seconds.

    A detection may lie up to ``step`` face sizes from where its track is expected, plus twice the filter's doubt, and
    never more than ``reach``; and be up to ``growth`` times larger or smaller. Who is confirmed within ``jump`` of
    where somebody is missing is taken for that person.
    """

    strong: float = 0.5
    weak: float = 0.3
    confirm: int = 2
    coast: float = 0.7
    remember: float = 3.0
    step: float = 0.5
    jump: float = 1.0
    reach: float = 2.0
    growth: float = 1.8
    noise: Noise = field(default_factory=Noise)


@dataclass(frozen=True, slots=True)
class Departure:
    """Ended track: in view from ``since`` until ``until`` (monotonic seconds); ``score`` of its best detection."""

    track: str
    since: float
    until: float
    score: float


@dataclass(frozen=True, slots=True)
class Tracking:
    """Result of the tracker for one frame.

    ``faces`` are the people in view; those not in ``seen`` were not detected now, and their boxes are predictions.
    ``tentative``: a face is not confirmed yet; ``missing``: one was lost so lately that its track may be continued.
    """

    faces: tuple[TrackedFace, ...] = ()
    seen: frozenset[str] = frozenset()
    arrived: tuple[TrackedFace, ...] = ()
    departed: tuple[Departure, ...] = ()
    tentative: bool = False
    missing: bool = False


@dataclass(frozen=True, slots=True)
class _Track:
    id: str
    face: Face
    motion: Motion
    since: float
    seen: float
    at: float
    hits: int
    misses: int
    best: float


class Tracker:
    """Multi-object tracker of faces. ``new_id`` makes identities; default: eight random hexadecimal digits."""

    def __init__(self, rules: TrackingRules | None = None, new_id: Callable[[], str] | None = None) -> None:
        self._rules = rules or TrackingRules()
        self._new_id = new_id or (lambda: secrets.token_hex(4))
        self._tracks: list[_Track] = []
        self._departed: list[Departure] = []
        self._updated = -math.inf

    def update(self, faces: Sequence[Face], time: float) -> Tracking:
        """Update the tracks by all detections of a search at ``time`` (monotonic seconds, not decreasing)."""
        expected = [_expect(track, time, self._rules.noise) for track in self._tracks]
        found = self._associate(expected, faces, time)
        hit = [self._hit(track, faces[found[i]], time) for i, track in enumerate(expected) if i in found]
        missed = [
            replace(track, misses=track.misses + 1)
            for i, track in enumerate(expected)
            if i not in found and self._survives(track, time)
        ]
        hit, missed, arrived = self._recognise(hit, missed)
        born = self._births(hit, [f for j, f in enumerate(faces) if j not in set(found.values())], time)
        self._tracks = [*hit, *missed, *born]
        return self._outcome(arrived, time)

    def hold(self, time: float) -> Tracking:
        """Keep everyone in place when nothing moved since the last search; lost tracks age."""
        confirm, last = self._rules.confirm, self._updated
        there = [t for t in self._tracks if t.seen == last and t.hits >= confirm]
        away = [t for t in self._tracks if t not in there and self._survives(t, time)]
        self._tracks = [*(replace(t, seen=time, at=time) for t in there), *away]
        return self._outcome([], time)

    def rename(self, track: str, before: str, since: float | None) -> bool:
        """Give ``track`` the identity of ``before``, which is missing or has ended, in view since ``since``."""
        old = next((t for t in self._tracks if t.id == before), None)
        new = next((t for t in self._tracks if t.id == track), None)
        since = since if old is None else old.since if old.seen < self._updated else None
        if new is not None and since is not None:
            rest = [t for t in self._tracks if t is not new and t is not old]
            self._tracks = [*rest, replace(new, id=before, since=since)]
        return new is not None and since is not None

    def reset(self) -> None:
        """End all tracks after an interruption; the next update reports the departures."""
        while self._tracks:
            self._leave(self._tracks.pop(0))

    # ------------------------------------------------------------------ association

    def _associate(self, tracks: Sequence[_Track], faces: Sequence[Face], time: float) -> dict[int, int]:
        """Assign faces to tracks: track index to face index."""
        rules = self._rules
        current = [i for i, t in enumerate(tracks) if t.hits >= rules.confirm and self._coasts(t, time)]
        lost = [i for i, t in enumerate(tracks) if t.hits >= rules.confirm and not self._coasts(t, time)]
        tentative = [i for i, t in enumerate(tracks) if t.hits < rules.confirm]
        strong = [j for j, f in enumerate(faces) if f.score >= rules.strong]
        weak = [j for j, f in enumerate(faces) if rules.weak <= f.score < rules.strong]
        found: dict[int, int] = {}
        for among, candidates in (
            (current, strong),
            (current, weak),
            (tentative, strong),
            (tentative, weak),
            (lost, strong),
        ):
            open_tracks = [i for i in among if i not in found]
            taken = set(found.values())
            open_faces = [j for j in candidates if j not in taken]
            costs = [[self._cost(tracks[i], faces[j]) for j in open_faces] for i in open_tracks]
            found |= {open_tracks[a]: open_faces[b] for a, b in assign(costs).items()}
        return found

    def _recognise(
        self, hit: Sequence[_Track], missed: Sequence[_Track]
    ) -> tuple[list[_Track], list[_Track], list[TrackedFace]]:
        """Give newly confirmed tracks the identity of a missing one nearby: a jump or a gap is no new arrival.

        Returns the tracks detected now, those still missing, and the true arrivals.
        """
        new = [i for i, t in enumerate(hit) if t.hits == self._rules.confirm]
        old = [j for j, t in enumerate(missed) if t.hits >= self._rules.confirm]
        costs = [[self._cost(missed[j], hit[i].face, self._rules.jump) for j in old] for i in new]
        same = {new[a]: old[b] for a, b in assign(costs).items()}
        result = list(hit)
        for i, j in same.items():
            result[i] = replace(hit[i], id=missed[j].id, since=missed[j].since, best=max(hit[i].best, missed[j].best))
        recognised = set(same.values())
        return (
            result,
            [t for j, t in enumerate(missed) if j not in recognised],
            [_tracked(hit[i]) for i in new if i not in same],
        )

    def _cost(self, track: _Track, face: Face, step: float | None = None) -> float:
        """0 for the expected place, size and pose; about 2 at the limits; FORBIDDEN beyond them."""
        rules, box = self._rules, track.motion.box
        size_x, size_y = (box.w + face.box.w) / 2, (box.h + face.box.h) / 2
        dx, dy = box.centre.x - face.box.centre.x, box.centre.y - face.box.centre.y
        distance = math.hypot(dx / max(size_x, 1e-6), dy / max(size_y, 1e-6))
        limit = min(rules.reach, (rules.step if step is None else step) + 2 * track.motion.doubt)
        growth = abs(math.log(max(face.box.area, 1e-9) / max(box.area, 1e-9))) / 2
        if distance > limit or growth > math.log(rules.growth):
            return FORBIDDEN
        return distance / limit + growth / math.log(rules.growth) / 2 + track.face.pose_change(face) / 2

    def _births(self, tracks: Sequence[_Track], faces: Sequence[Face], time: float) -> list[_Track]:
        """Begin tracks for certain detections that do not overlap an existing track."""
        taken = [t.face.box for t in tracks if t.seen == time]
        born = []
        for face in faces:
            if face.score >= self._rules.strong and all(face.box.iou(box) < 0.4 for box in taken):
                motion = Motion.begin(face.box, self._rules.noise)
                born.append(_Track(self._new_id(), face, motion, time, time, time, 1, 0, face.score))
                taken.append(face.box)
        return born

    # ------------------------------------------------------------------ life cycle

    def _hit(self, track: _Track, face: Face, time: float) -> _Track:
        motion = track.motion.correct(face.box, self._rules.noise, face.score)
        best = max(track.best, face.score)
        return replace(track, face=face, motion=motion, seen=time, hits=track.hits + 1, misses=0, best=best)

    def _coasts(self, track: _Track, time: float) -> bool:
        """Return whether a track counts as in view: detected, or missed once or for a short time."""
        missed = time - track.seen
        centre = track.motion.box.centre
        inside = 0 <= centre.x <= 1 and 0 <= centre.y <= 1
        return missed <= 0 or (inside and (missed <= self._rules.coast or (track.misses == 0 and missed <= 1.1)))

    def _survives(self, track: _Track, time: float) -> bool:
        """Return whether a missed track is kept; the end of a confirmed one is recorded."""
        tentative = track.hits < self._rules.confirm
        kept = time - track.seen <= (self._rules.coast if tentative else self._rules.remember)
        if not kept:
            self._leave(track)
        return kept

    def _leave(self, track: _Track) -> None:
        if track.hits >= self._rules.confirm:
            self._departed.append(Departure(track.id, track.since, track.seen, track.best))

    def _outcome(self, arrived: Sequence[TrackedFace], time: float) -> Tracking:
        confirmed = [t for t in self._tracks if t.hits >= self._rules.confirm]
        seen = [t for t in confirmed if t.seen == time]
        boxes = [t.face.box for t in seen]
        # A missed track is in view unless a detected face overlaps its prediction: hidden behind it, or the same face.
        held = [
            t
            for t in confirmed
            if t.seen < time and self._in_view_missed(t, time) and all(t.motion.box.iou(b) < 0.5 for b in boxes)
        ]
        departed, self._departed, self._updated = tuple(self._departed), [], time
        return Tracking(
            faces=tuple(_tracked(t) for t in seen) + tuple(_tracked(t, coasting=True) for t in held),
            seen=frozenset(t.id for t in seen),
            arrived=tuple(arrived),
            departed=departed,
            tentative=any(t.hits < self._rules.confirm for t in self._tracks),
            missing=any(t.seen < time for t in confirmed),
        )

    def _in_view_missed(self, track: _Track, time: float) -> bool:
        return self._coasts(replace(track, misses=track.misses - 1), time)


def _expect(track: _Track, time: float, noise: Noise) -> _Track:
    dt = time - track.at
    return replace(track, motion=track.motion.predict(dt, noise), at=time) if dt > 0 else track


def _tracked(track: _Track, *, coasting: bool = False) -> TrackedFace:
    face = track.face.moved_to(track.motion.box) if coasting else track.face
    return TrackedFace(track.id, face, track.since, coasting)
