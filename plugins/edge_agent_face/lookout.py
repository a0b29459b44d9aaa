"""Policy of ``range = "auto"``: which parts of the picture the full range searches after the short range. Pure;
positions are fractions.

A second look costs as much as the full range, whatever it covers: the whole picture for faces of middle size, or a tile
of :data:`TILE` of its longer side for small ones. It is spent only where something suggests a person: a face found
shortly before that the short range misses, motion that does not belong to a found face, or a part not examined for
long (at first, all of them). A part that was examined without result is skipped for a while.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_agent.domain.face import Box

COLUMNS, ROWS = 24, 18
"""Cells of the picture, whatever its shape."""
TILE = 9 / 16
"""Side of a tile in longer sides of the picture: two tiles cover 16:9, four cover 4:3."""
WHOLE = Box(0.0, 0.0, 1.0, 1.0)
SURE = 0.6
"""Least score of a face found by the short range that needs no second look."""
CERTAIN = 0.5
"""Least score of a face found by a second look where nobody was found before."""
FORGET = 3
"""Searches in a row without a face after which the search for it ends."""
REFRESH_S = 30.0
"""Longest time in seconds between two examinations of a part, as long as there are searches."""
CALM_S = (0.25, 2.0)
"""Seconds for which a part is skipped after an examination without result: at first (doubled each time) and at most."""

STIRRED = 0.1
"""Share of its size by which a denied face moves or grows for it to be somebody who stirs."""

SPARING_S = 5.0
"""Seconds between two looks that no known or suspected face calls for, while the short range is sure of somebody:
people close to the camera are the usual scene, and what moves there is mostly theirs."""

Cells = npt.NDArray[np.bool_]


class Seen(NamedTuple):
    """A detected face and its score."""

    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """A face found before, whether it was certain at least once, the number of searches without it since; how often a
    closer look did not confirm it, the time (s) until which it gets no other, and where it was at the first of them."""

    box: Box
    certain: bool
    missed: int = 0
    denied: int = 0
    rests: float = -math.inf
    first: Box | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """State kept between searches, all [ROWS, COLUMNS]: cells that wait for a look, the time (s) until which each
    is skipped, and the number of its examinations without result. ``near``: the short range is sure of somebody;
    ``spent``: time of the last look for the sake of waiting cells, and ``sparing`` whether none is due yet."""

    suspects: tuple[Suspect, ...]
    waiting: Cells
    calm: npt.NDArray[np.float64]
    tries: npt.NDArray[np.int64]
    near: bool = False
    spent: float = -math.inf
    sparing: bool = False


def begin() -> Memory:
    """Return the initial state: every part waits."""
    shape = (ROWS, COLUMNS)
    return Memory((), np.zeros(shape, bool), np.full(shape, -math.inf), np.zeros(shape, int))


def notice(memory: Memory, moved: Cells, near: Sequence[Seen], now: float) -> Memory:
    """Update before :meth:`choose`: cells that ``moved`` since the last search, and the faces of the short range.

    A face of low score is small or none: a suspect, like one that was found before and now is not.
    """
    sure = [face.box for face in near if face.score >= SURE]
    unsure = [face.box for face in near if face.score < SURE]
    stale = now - memory.calm > REFRESH_S
    waiting = memory.waiting | stale | (moved & (now >= memory.calm))
    open_ones = (s for s in memory.suspects if not any(_same(s.box, box) for box in sure))
    suspects = _add(open_ones, unsure)
    sparing = bool(sure) and 0 <= now - memory.spent < SPARING_S
    return replace(memory, suspects=suspects, waiting=waiting & ~_people(sure), near=bool(sure), sparing=sparing)


def choose(memory: Memory, aspect: float, budget: int) -> list[Box]:
    """Choose up to ``budget`` parts of the picture for the full range; ``aspect`` is width over height."""
    chosen: list[Box] = []
    suspects, waiting = list(memory.suspects), memory.waiting & (not memory.sparing)
    while len(chosen) < budget and (suspects or waiting.sum() > 1):
        views = _views(suspects, aspect)
        worth = [_worth(view, suspects, waiting, aspect) for view in views]
        best = views[int(np.argmax(worth))]
        if max(worth) <= 1:
            break
        chosen.append(best)
        suspects = [s for s in suspects if not _shows(best, s.box, aspect)]
        if best != WHOLE:
            # One look at a time for what only moves, while somebody is near.
            once = memory.near and math.isfinite(memory.spent) and not suspects
            waiting = np.zeros_like(waiting) if once else waiting & ~_cells(best)
    return chosen


def learn(memory: Memory, views: Sequence[Box], found: Sequence[Seen], now: float) -> Memory:
    """Update after the looks at ``views``; ``found`` are all faces of this search."""
    examined = np.zeros((ROWS, COLUMNS), bool)
    for view in views:
        if view != WHOLE:
            examined |= _cells(view)
    people = _people([face.box for face in found])
    tries = np.where(now - memory.calm > REFRESH_S, 0, memory.tries)
    first, most = CALM_S
    rest = np.minimum(first * 2.0**tries, most)
    return Memory(
        suspects=follow(memory, found).suspects,
        waiting=memory.waiting & ~examined & ~people,
        calm=np.where(examined, np.where(people, now, now + rest), memory.calm),
        spent=now if (memory.waiting & examined).any() else memory.spent,
        tries=np.where(people, 0, np.where(examined, tries + 1, tries)),
    )


def follow(memory: Memory, found: Sequence[Seen]) -> Memory:
    """Update only who was found where, after a search: all that a range without second looks remembers."""
    suspects = (*(_again(memory, face) for face in found), *_missing(memory.suspects, found))
    return replace(memory, suspects=suspects)


def deny(memory: Memory, face: Seen, now: float) -> Memory:
    """Note that a closer look did not confirm ``face``: the next ones wait, twice as long each time."""
    before = _denied(memory, face)
    others = (s for s in memory.suspects if not _same(s.box, face.box))
    rests = now + min(CALM_S[0] * 2.0**before.denied, CALM_S[1])
    one = Suspect(face.box, False, 0, before.denied + 1, rests, before.first or face.box)
    return replace(memory, suspects=(*others, one))


def rests(memory: Memory, face: Seen, now: float) -> bool:
    """Whether ``face`` was denied lately, so that nobody looks at it again before some time has passed."""
    return now < _denied(memory, face).rests


def stirs(memory: Memory, face: Seen) -> bool:
    """Whether ``face`` was denied elsewhere first: people move, pictures on a wall do not."""
    first = _denied(memory, face).first
    if first is None:
        return False
    a, b = first.centre, face.box.centre
    return max(abs(a.x - b.x) / first.w, abs(a.y - b.y) / first.h, abs(face.box.w / first.w - 1)) > STIRRED


def _denied(memory: Memory, face: Seen) -> Suspect:
    found = (s for s in memory.suspects if _same(s.box, face.box))
    return max(found, key=lambda s: s.denied, default=Suspect(face.box, False))


def _again(memory: Memory, face: Seen) -> Suspect:
    if _certain(memory, face):
        return Suspect(face.box, True)
    return replace(_denied(memory, face), box=face.box, certain=False, missed=0)


def believable(memory: Memory, faces: Sequence[Seen]) -> list[bool]:
    """Select the faces of a second look that count: certain ones, and uncertain ones where a face was found before.

    A close search of a large part of the picture gives more false detections of low score.
    """
    return [_certain(memory, face) for face in faces]


def _certain(memory: Memory, face: Seen) -> bool:
    return face.score >= CERTAIN or known(memory, face)


def known(memory: Memory, face: Seen) -> bool:
    """Whether a face was certain before where ``face`` is now."""
    return any(s.certain and _same(s.box, face.box) for s in memory.suspects)


def overruled(views: Sequence[Box], near: Sequence[Seen], aspect: float) -> list[bool]:
    """Select the faces of the short range that a second look replaces: those of low score that it covered.

    Those that it found too are among its own.
    """
    return [f.score < SURE and any(_shows(view, f.box, aspect) for view in views) for f in near]


def _add(suspects: Iterable[Suspect], unsure: Sequence[Box]) -> tuple[Suspect, ...]:
    known = tuple(suspects)
    return (*known, *(Suspect(box, False) for box in unsure if not any(_same(s.box, box) for s in known)))


def _missing(suspects: Iterable[Suspect], found: Sequence[Seen]) -> Iterator[Suspect]:
    for suspect in suspects:
        if suspect.missed + 1 < FORGET and not any(_same(suspect.box, face.box) for face in found):
            yield replace(suspect, missed=suspect.missed + 1)


def _same(one: Box, other: Box) -> bool:
    """Whether both can be the same face in successive searches: their centres are within one face size."""
    reach_x, reach_y = max(one.w, other.w), max(one.h, other.h)
    a, b = one.centre, other.centre
    return abs(a.x - b.x) < reach_x and abs(a.y - b.y) < reach_y


def _views(suspects: Sequence[Suspect], aspect: float) -> list[Box]:
    """Candidate parts: the whole, an even grid of tiles, and a tile around each suspect."""
    w, h = min(1.0, TILE * max(1, 1 / aspect)), min(1.0, TILE * max(aspect, 1))
    places = [(x, y) for y in _steps(1 - h, h / 4) for x in _steps(1 - w, w / 4)]
    centres = [s.box.centre for s in suspects]
    places += [(min(max(c.x - w / 2, 0), 1 - w), min(max(c.y - h / 2, 0), 1 - h)) for c in centres]
    return [WHOLE, *(Box(x, y, w, h) for x, y in places)]


def _steps(length: float, step: float) -> list[float]:
    count = math.ceil(length / step - 1e-9) + 1
    return [length * k / max(1, count - 1) for k in range(count)]


def _worth(view: Box, suspects: Sequence[Suspect], waiting: Cells, aspect: float) -> float:
    """Value of a look: a suspect counts more than any motion, and more the longer it was not found."""
    people = sum(COLUMNS * ROWS * (1 + s.missed) for s in suspects if _shows(view, s.box, aspect))
    # In the whole picture small faces are too coarse for a part to count as examined.
    return people + (0.0 if view == WHOLE else float(np.count_nonzero(waiting & _cells(view))))


def _shows(view: Box, face: Box, aspect: float) -> bool:
    """Whether a look at ``view`` would show ``face`` uncut and large enough for the full range."""
    longer = face.w * min(aspect, 1)
    if view == WHOLE:
        return longer >= 0.07
    near_left, near_top = face.x - face.w / 2 >= view.x, face.y - face.h / 2 >= view.y
    near_right = face.x + 1.5 * face.w <= view.x + view.w
    near_bottom = face.y + 1.5 * face.h <= view.y + view.h
    return (
        longer <= TILE / 2
        and (near_left or view.x <= 0)
        and (near_top or view.y <= 0)
        and (near_right or view.x + view.w >= 1)
        and (near_bottom or view.y + view.h >= 1)
    )


def _cells(box: Box) -> Cells:
    """Cells whose centre lies in ``box``."""
    x, y = (np.arange(COLUMNS) + 0.5) / COLUMNS, (np.arange(ROWS) + 0.5) / ROWS
    column, row = (x >= box.x) & (x <= box.x + box.w), (y >= box.y) & (y <= box.y + box.h)
    return np.asarray(row[:, None] & column[None, :])


def _people(faces: Sequence[Box]) -> Cells:
    """Cells of the bodies below ``faces``, arms included, and of the hair above: motion there needs no other cause."""
    cells = np.zeros((ROWS, COLUMNS), bool)
    for face in faces:
        cells |= _cells(Box(face.x - 1.2 * face.w, face.y - face.h, 3.4 * face.w, 8 * face.h))
    return cells
