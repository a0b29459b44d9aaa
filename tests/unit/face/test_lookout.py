"""Where the second looks go: only where somebody is suspected, never more than allowed, and nobody is starved."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.domain.face import Box
from edge_agent_face import lookout
from edge_agent_face.lookout import COLUMNS, ROWS, WHOLE, Memory, Seen

ASPECTS = (16 / 9, 4 / 3, 1.0, 9 / 16)
STILL = np.zeros((ROWS, COLUMNS), bool)


def moved(x: float, y: float) -> lookout.Cells:
    """A person's worth of motion around a place."""
    cells = STILL.copy()
    column, row = int(x * COLUMNS), int(y * ROWS)
    cells[row : row + 3, column : column + 2] = True
    return cells


def settled(aspect: float, now: float = 0.0) -> Memory:
    """Everything was examined and nobody is there."""
    memory = lookout.notice(lookout.begin(), STILL, [], now)
    views = lookout.choose(memory, aspect, budget=8)
    return lookout.learn(memory, views, [], now)


def certain(faces: list[Box]) -> list[Seen]:
    return [Seen(face, 0.8) for face in faces]


def covers(view: Box, x: float, y: float) -> bool:
    return view.x <= x <= view.x + view.w and view.y <= y <= view.y + view.h


@pytest.mark.parametrize(("aspect", "tiles"), [(16 / 9, 2), (4 / 3, 4), (1.0, 4), (9 / 16, 2)])
def test_at_first_every_place_is_examined_once(aspect: float, tiles: int) -> None:
    memory, views = lookout.begin(), []
    for k in range(tiles):
        memory = lookout.notice(memory, STILL, [], 0.2 * k)
        chosen = lookout.choose(memory, aspect, budget=1)
        views += chosen
        memory = lookout.learn(memory, chosen, [], 0.2 * k)
    assert len(views) == tiles
    for x, y in np.random.default_rng(0).uniform(0, 1, (200, 2)):
        assert any(covers(view, x, y) for view in views)
    assert lookout.choose(lookout.notice(memory, STILL, [], 2.0), aspect, budget=8) == []


@pytest.mark.parametrize("aspect", ASPECTS)
def test_nothing_is_spent_on_a_still_empty_scene_until_it_was_left_long(aspect: float) -> None:
    memory = settled(aspect)
    for now in np.arange(0.2, lookout.REFRESH_S, 0.5):
        assert lookout.choose(lookout.notice(memory, STILL, [], float(now)), aspect, 2) == []
    assert lookout.choose(lookout.notice(memory, STILL, [], lookout.REFRESH_S + 3), aspect, 2)


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize(("x", "y"), [(0.1, 0.2), (0.9, 0.8), (0.5, 0.5)])
def test_motion_is_looked_at(aspect: float, x: float, y: float) -> None:
    memory = lookout.notice(settled(aspect), moved(x, y), [], 5.0)
    (view,) = lookout.choose(memory, aspect, 2)
    assert view != WHOLE
    assert covers(view, x, y)


def test_motion_of_a_detected_person_needs_no_second_look() -> None:
    face = Box(0.4, 0.2, 0.15, 0.2)
    memory = lookout.notice(settled(4 / 3), moved(0.45, 0.7), [Seen(face, 0.9)], 5.0)
    assert lookout.choose(memory, 4 / 3, 2) == []


def test_motion_without_faces_is_examined_at_growing_intervals() -> None:
    memory, looks = settled(16 / 9), []
    for k in range(300):
        now = 5 + 0.1 * k
        memory = lookout.notice(memory, moved(0.3, 0.5), [], now)
        views = lookout.choose(memory, 16 / 9, 2)
        looks += [now] * len(views)
        memory = lookout.learn(memory, views, [], now)
    gaps = np.diff(looks)
    assert 12 <= len(looks) <= 25
    assert gaps.max() <= lookout.CALM_S[1] + 0.2
    assert gaps[0] < gaps[-2]


def test_a_small_face_is_followed_and_given_up_after_a_few_searches() -> None:
    face = Box(0.7, 0.4, 0.03, 0.05)
    memory = lookout.learn(settled(16 / 9), [], [Seen(face, 0.8)], 1.0)
    for k in range(lookout.FORGET):
        memory = lookout.notice(memory, STILL, [], 1.2 + 0.2 * k)
        views = lookout.choose(memory, 16 / 9, 2)
        assert len(views) == 1
        assert covers(views[0], 0.715, 0.425)
        memory = lookout.learn(memory, views, [], 1.2 + 0.2 * k)
    assert lookout.choose(lookout.notice(memory, STILL, [], 2.0), 16 / 9, 2) == []


def test_a_face_found_again_by_the_short_range_needs_no_second_look() -> None:
    face = Box(0.7, 0.4, 0.1, 0.15)
    memory = lookout.learn(settled(16 / 9), [], [Seen(face, 0.8)], 1.0)
    assert lookout.choose(lookout.notice(memory, STILL, [Seen(face, 0.8)], 1.2), 16 / 9, 2) == []
    assert lookout.choose(lookout.notice(memory, STILL, [Seen(face, 0.4)], 1.2), 16 / 9, 2)


def test_faces_of_middle_size_share_a_look_at_the_whole() -> None:
    faces = [Box(x, 0.3, 0.12, 0.2) for x in (0.05, 0.45, 0.85)]
    memory = lookout.learn(settled(16 / 9), [], certain(faces), 1.0)
    assert lookout.choose(lookout.notice(memory, STILL, [], 1.2), 16 / 9, 2) == [WHOLE]


def test_parts_left_out_are_examined_next() -> None:
    """Three people that no tile shows together, and one look for each search."""
    faces = [Box(x, y, 0.03, 0.04) for x, y in ((0.02, 0.05), (0.95, 0.05), (0.5, 0.94))]
    memory, seen = lookout.learn(settled(4 / 3), [], certain(faces), 1.0), set()
    for k in range(3):
        memory = lookout.notice(memory, STILL, [], 1.2 + 0.2 * k)
        views = lookout.choose(memory, 4 / 3, 1)
        found = [f for f in faces if covers(views[0], f.centre.x, f.centre.y)]
        seen |= {faces.index(f) for f in found}
        memory = lookout.learn(memory, views, certain(found), 1.2 + 0.2 * k)
    assert seen == {0, 1, 2}


def test_an_uncertain_face_counts_only_where_a_face_was_found_before() -> None:
    face, hand = Box(0.7, 0.4, 0.03, 0.05), Box(0.2, 0.7, 0.03, 0.05)
    memory = lookout.learn(settled(16 / 9), [], [Seen(face, 0.8), Seen(hand, 0.4)], 1.0)
    memory = lookout.notice(memory, STILL, [Seen(Box(0.1, 0.1, 0.04, 0.06), 0.4)], 1.2)
    seen = [Seen(box, score) for box in (face, hand, Box(0.1, 0.1, 0.04, 0.06)) for score in (0.55, 0.4)]
    assert lookout.believable(memory, seen) == [True, True, True, False, True, False]


def test_a_face_found_repeatedly_with_low_score_still_counts() -> None:
    face = Box(0.7, 0.4, 0.03, 0.05)
    memory = lookout.learn(settled(16 / 9), [], [Seen(face, 0.8)], 1.0)
    for k in range(5):
        memory = lookout.learn(memory, [], [Seen(face, 0.35)], 1.2 + 0.2 * k)
    assert lookout.believable(memory, [Seen(face, 0.35)]) == [True]


def test_a_second_look_replaces_uncertain_faces_of_the_short_range() -> None:
    small, wide = Box(0.1, 0.4, 0.05, 0.08), Box(0.1, 0.1, 0.5, 0.7)
    tile = Box(0.0, 0.0, 9 / 16, 1.0)
    near = [Seen(small, 0.4), Seen(small, 0.7), Seen(wide, 0.4), Seen(Box(0.9, 0.4, 0.05, 0.08), 0.4)]
    assert lookout.overruled([tile], near, 16 / 9) == [True, False, False, False]
    assert lookout.overruled([], near, 16 / 9) == [False] * 4


boxes = st.builds(Box, *[st.floats(-0.1, 1.0)] * 2, *[st.floats(0.001, 0.6)] * 2)


@given(
    st.lists(boxes, max_size=12),
    st.lists(st.builds(Seen, boxes, st.floats(0.3, 1)), max_size=6),
    st.sampled_from(ASPECTS),
    st.integers(1, 5),
    st.floats(0, 60),
)
def test_looks_are_within_the_budget_and_the_picture(
    found: list[Box], near: list[Seen], aspect: float, budget: int, now: float
) -> None:
    memory = lookout.learn(lookout.begin(), [], certain(found), 0.0)
    memory = lookout.notice(memory, np.ones((ROWS, COLUMNS), bool), near, now)
    views = lookout.choose(memory, aspect, budget)
    assert len(views) <= budget
    assert len(set(views)) == len(views)
    for view in views:
        assert view.x >= 0
        assert view.y >= 0
        assert max(view.x + view.w, view.y + view.h) <= 1 + 1e-9
        assert view == WHOLE or view.w * aspect / view.h == pytest.approx(1) or view.w == 1 or view.h == 1


def looks(faces: list[Seen], seconds: float, moving: bool) -> int:
    """Looks at 5 pictures a second, the short range finding ``faces`` in each."""
    memory, total = lookout.begin(), 0
    for now in np.arange(0.0, seconds, 0.2):
        memory = lookout.notice(memory, moved(0.9, 0.8) if moving else STILL, faces, float(now))
        chosen = lookout.choose(memory, 4 / 3, 2)
        memory = lookout.learn(memory, chosen, faces, float(now))
        total += len(chosen)
    return total


def test_beside_somebody_near_what_merely_moves_gets_a_look_in_five_seconds() -> None:
    near = [Seen(Box(0.3, 0.2, 0.25, 0.33), 0.9)]
    at_first = looks(near, 1.0, moving=False)
    assert 1 <= at_first <= 4, "the first examination is not spared"
    assert looks(near, 21.0, moving=True) <= at_first + 5
    assert looks([], 21.0, moving=True) > at_first + 8


def test_somebody_whom_the_short_range_loses_is_looked_for_at_once_beside_somebody_near() -> None:
    near, lost = Seen(Box(0.1, 0.2, 0.25, 0.33), 0.9), Seen(Box(0.7, 0.3, 0.12, 0.16), 0.8)
    memory = lookout.begin()
    for now in (0.0, 0.2, 0.4):
        memory = lookout.notice(memory, STILL, [near, lost], now)
        memory = lookout.learn(memory, lookout.choose(memory, 4 / 3, 2), [near, lost], now)
    memory = lookout.notice(memory, moved(0.72, 0.35), [near], 0.6)
    views = lookout.choose(memory, 4 / 3, 2)
    assert any(covers(view, 0.76, 0.38) for view in views)


def test_a_denied_face_rests_longer_each_time_until_somebody_is_certain_there() -> None:
    memory, face, now = lookout.begin(), Seen(Box(0.4, 0.4, 0.1, 0.13), 0.6), 0.0
    pauses = []
    for _ in range(6):
        memory = lookout.follow(lookout.deny(memory, face, now), [face._replace(score=0.49)])
        assert lookout.rests(memory, face, now)
        assert not lookout.known(memory, face)
        begin = now
        while lookout.rests(memory, face, now):
            now += 0.05
        pauses.append(round(now - begin, 2))
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(lookout.CALM_S[1], abs=0.06)
    memory = lookout.follow(memory, [face])
    assert lookout.known(memory, face)
    assert not lookout.rests(memory, face, now)


@pytest.mark.parametrize(
    ("moved_to", "stirs"),
    [
        (Box(0.402, 0.399, 0.101, 0.129), False),  # the noise of a detector
        (Box(0.42, 0.4, 0.1, 0.13), True),
        (Box(0.4, 0.42, 0.1, 0.13), True),
        (Box(0.39, 0.387, 0.12, 0.156), True),  # comes nearer
        (Box(0.7, 0.4, 0.1, 0.13), False),  # somebody else
    ],
)
def test_who_was_denied_and_moves_stirs(moved_to: Box, stirs: bool) -> None:
    face = Seen(Box(0.4, 0.4, 0.1, 0.13), 0.6)
    memory = lookout.begin()
    for k in range(3):  # where it was first counts, however often it is seen in between
        memory = lookout.follow(lookout.deny(memory, face, float(k)), [face._replace(score=0.49)])
    assert not lookout.stirs(lookout.begin(), face)
    assert not lookout.stirs(memory, face)
    assert lookout.stirs(memory, Seen(moved_to, 0.6)) == stirs
