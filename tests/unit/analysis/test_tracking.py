"""Who is who: births, deaths, misses, gaps, crossings and doubtful detections."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.analysis.tracking import Tracker, Tracking, TrackingRules
from edge_agent.domain.face import Face
from tests.unit.analysis.faces import face

STEP = 1 / 3


def tracker(rules: TrackingRules | None = None) -> Tracker:
    numbers = itertools.count(1)
    return Tracker(rules, lambda: f"t{next(numbers)}")


def ids(tracking: Tracking) -> list[str]:
    return sorted(f.track for f in tracking.faces)


def settle(made: Tracker, *faces: Face, start: float = 0.0) -> float:
    """Show ``faces`` until they are confirmed; returns the time of the last look."""
    made.update(faces, start)
    made.update(faces, start + STEP)
    return start + STEP


def test_a_face_counts_from_its_second_detection_and_since_its_first() -> None:
    made = tracker()
    first = made.update([face(0.5)], 1.0)
    assert (first.faces, first.arrived, first.tentative) == ((), (), True)
    second = made.update([face(0.5)], 1.3)
    assert [(f.track, f.since) for f in second.arrived] == [("t1", 1.0)]
    assert ids(second) == ["t1"]
    assert second.seen == {"t1"}
    assert not second.tentative


def test_a_single_false_detection_is_no_track() -> None:
    made = tracker()
    made.update([face(0.5)], 0.0)
    for look in range(1, 30):
        outcome = made.update([], look * STEP)
        assert (outcome.faces, outcome.departed) == ((), ())


def test_doubtful_detections_continue_a_track_and_never_begin_one() -> None:
    made = tracker()
    for look in range(6):
        assert made.update([face(0.2, score=0.4)], look * STEP).faces == ()
    now = settle(made, face(0.5), start=10.0)
    after = made.update([face(0.5, score=0.3)], now + STEP)
    assert after.seen == set(ids(after)) != set()
    below = made.update([face(0.5, score=0.1)], now + 2 * STEP)
    assert below.seen == frozenset()


def test_one_missed_detection_does_not_change_the_head_count() -> None:
    made = tracker()
    now = settle(made, face(0.5), face(0.8))
    missed = made.update([face(0.8)], now + STEP)
    assert ids(missed) == ["t1", "t2"]
    assert missed.seen == {"t2"}
    assert {f.track: f.coasting for f in missed.faces} == {"t1": True, "t2": False}
    assert made.update([face(0.5), face(0.8)], now + 2 * STEP).seen == {"t1", "t2"}


def test_a_track_missed_while_leaving_the_frame_is_not_held() -> None:
    made = tracker()
    now = 0.0
    for look, x in enumerate((0.7, 0.8, 0.9, 0.98)):
        now = look * STEP
        made.update([face(x)], now)
    assert made.update([], now + STEP).faces == ()


def test_a_departure_is_reported_once_with_the_stay() -> None:
    made = tracker()
    for look in range(10):
        made.update([face(0.5, score=0.7 + look / 100)], look * STEP)
    departures = [d for look in range(10, 40) for d in made.update([], look * STEP).departed]
    assert [(d.track, d.since) for d in departures] == [("t1", 0.0)]
    assert departures[0].until == pytest.approx(9 * STEP)
    assert departures[0].score == pytest.approx(0.79)


def test_a_person_returning_within_the_gap_keeps_the_track() -> None:
    made = tracker()
    now = settle(made, face(0.5))
    made.update([], now + 1.0)
    made.update([face(0.53)], now + 2.0)
    back = made.update([face(0.53)], now + 2.0 + STEP)
    assert ids(back) == ["t1"]
    assert back.arrived == ()


def test_a_person_returning_later_or_elsewhere_is_new() -> None:
    later, elsewhere = tracker(), tracker()
    now = settle(later, face(0.5))
    later.update([], now + 2.0)
    later.update([], now + 4.0)
    settle(later, face(0.5), start=now + 5.0)
    assert ids(later.update([face(0.5)], now + 6.0)) == ["t2"]
    now = settle(elsewhere, face(0.2))
    elsewhere.update([], now + 1.0)
    settle(elsewhere, face(0.8), start=now + 1.5)
    assert ids(elsewhere.update([face(0.8)], now + 2.2)) == ["t2"]


def test_a_jump_of_a_face_size_is_no_new_person() -> None:
    made = tracker()
    for look in range(30):
        made.update([face(0.5)], look / 15)
    jumped = [made.update([face(0.58)], 2 + look / 15) for look in range(3)]
    assert ids(jumped[-1]) == ["t1"]
    assert all(j.arrived == () for j in jumped)


def test_crossing_people_keep_their_tracks() -> None:
    made = tracker()
    seen: list[dict[str, float]] = []
    for look in range(25):
        t = look / 5
        left, right = face(0.2 + 0.12 * t, y=0.40, size=0.1), face(0.8 - 0.12 * t, y=0.46, size=0.12)
        outcome = made.update([left, right] if look % 2 else [right, left], t)
        seen.append({f.track: f.face.box.w for f in outcome.faces})
    assert all(sorted(sizes) == ["t1", "t2"] for sizes in seen[1:])
    assert all(sizes == seen[1] for sizes in seen[1:])


def test_a_fast_walker_is_followed_at_a_low_rate() -> None:
    made = tracker()
    found = [made.update([face(0.1 + 0.09 * look)], look * STEP) for look in range(9)]
    assert {f.track for outcome in found for f in outcome.faces} == {"t1"}


def test_a_second_box_on_the_same_face_is_not_a_second_person() -> None:
    made = tracker()
    now = settle(made, face(0.5))
    for look in range(4):
        outcome = made.update([face(0.5), face(0.51, size=0.11, score=0.6)], now + (look + 1) * STEP)
    assert ids(outcome) == ["t1"]
    assert not outcome.tentative


def test_key_points_decide_ambiguous_assignments() -> None:
    made = tracker()
    now = settle(made, face(0.47, turn=0.25), face(0.53, size=0.1, y=0.48, turn=-0.25))
    noses = {
        f.track: f.face.keypoints.nose.x - f.face.box.centre.x
        for f in made.update(  # type: ignore[union-attr]
            [face(0.5, y=0.44, turn=-0.25), face(0.5, y=0.44, turn=0.25)], now + STEP
        ).faces
    }
    assert noses["t1"] > 0 > noses["t2"]


def test_holding_keeps_all_tracks_without_motion() -> None:
    made = tracker()
    now = settle(made, face(0.5))
    for look in range(1, 40):
        held = made.hold(now + look * STEP)
        assert (ids(held), held.seen, held.departed) == (["t1"], {"t1"}, ())


def test_holding_does_not_restore_ended_tracks() -> None:
    made = tracker()
    now = settle(made, face(0.5))
    made.update([], now + STEP)
    gone = [made.hold(now + STEP + look * STEP) for look in range(1, 15)]
    assert gone[-1].faces == ()
    assert [d.track for outcome in gone for d in outcome.departed] == ["t1"]


def test_reset_ends_all_stays_with_the_next_update() -> None:
    made = tracker()
    now = settle(made, face(0.5))
    made.reset()
    after = made.update([face(0.5)], now + 60)
    assert [d.track for d in after.departed] == ["t1"]
    assert after.departed[0].until == pytest.approx(now)
    assert ids(made.update([face(0.5)], now + 60.3)) == ["t2"]


def test_identities_are_random() -> None:
    rules = TrackingRules(confirm=1)
    found = [Tracker(rules).update([face(0.5)], 0.0).faces[0].track for _ in range(100)]
    assert len(set(found)) == 100
    assert all(len(track) == 8 for track in found)


@given(
    st.lists(
        st.tuples(
            st.floats(0.03, 1.5),
            st.lists(
                st.builds(face, st.floats(-0.2, 1.2), st.floats(0, 1), st.floats(0.02, 0.6), st.floats(0, 1)),
                max_size=4,
            ),
        ),
        max_size=25,
    )
)
def test_whatever_is_detected_the_books_balance(looks: list[tuple[float, list[Face]]]) -> None:
    made, now = tracker(), 0.0
    arrived: list[str] = []
    departed: list[str] = []
    for dt, faces in looks:
        now += dt
        outcome = made.update(faces, now)
        arrived += [f.track for f in outcome.arrived]
        departed += [d.track for d in outcome.departed]
        in_view = ids(outcome)
        assert len(in_view) == len(set(in_view))
        assert outcome.seen <= set(in_view) <= set(arrived) - set(departed)
        assert len(outcome.seen) <= len(faces)
        assert all(f.since <= now for f in outcome.faces)
    made.reset()
    departed += [d.track for d in made.update([], now + 1).departed]
    assert sorted(departed) == sorted(arrived)
    assert len(set(arrived)) == len(arrived)
