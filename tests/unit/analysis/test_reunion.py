"""A track that an analyzer knows again keeps its identity: neither a departure nor an arrival."""

from __future__ import annotations

from edge_agent.analysis.reunion import Reunion
from edge_agent.analysis.tracking import Departure, Tracker, Tracking
from edge_agent.domain.face import Box, Face, TrackedFace
from edge_agent.plugin.spec import JUDGED_WITHIN_S

FACE = Face(Box(0.4, 0.4, 0.2, 0.2), 0.9)


def tracked(track: str, since: float) -> TrackedFace:
    return TrackedFace(track, FACE, since)


def test_who_comes_back_neither_left_nor_arrived() -> None:
    reunion = Reunion(60)
    assert reunion.apply(Tracking(departed=(Departure("a", 0, 10, 0.9),)), {}, 13.0).departed == ()
    new = Tracking(faces=(tracked("b", 20),), seen=frozenset("b"), arrived=(tracked("b", 20),))
    assert reunion.since("a") == 0
    found = reunion.apply(new, {"b": "a"}, 20.4)
    assert (found.arrived, found.departed, found.seen) == ((), (), frozenset("a"))
    assert [face.track for face in found.faces] == ["a"]
    assert reunion.finish() == ([], [])


def test_an_arrival_waits_for_the_answer_only_while_somebody_is_away_and_not_for_long() -> None:
    reunion = Reunion(60)
    new = Tracking(arrived=(tracked("b", 20),))
    assert len(reunion.apply(new, {}, 20.4).arrived) == 1
    reunion.apply(Tracking(departed=(Departure("a", 0, 10, 0.9),)), {}, 21.0)
    assert reunion.apply(Tracking(arrived=(tracked("c", 22),)), {}, 22.0).arrived == ()
    assert [f.track for f in reunion.apply(Tracking(), {}, 22.0 + JUDGED_WITHIN_S).arrived] == ["c"]


def test_a_departure_is_told_after_the_patience_or_at_the_end() -> None:
    reunion = Reunion(60)
    gone = Departure("a", 0, 10, 0.9)
    reunion.apply(Tracking(departed=(gone,)), {}, 13.0)
    assert reunion.apply(Tracking(), {}, 70.0).departed == ()
    assert reunion.apply(Tracking(), {}, 70.1).departed == (gone,)
    reunion.apply(Tracking(departed=(gone,)), {}, 13.0)
    assert reunion.finish() == ([], [gone])


def test_the_tracker_takes_the_old_identity_only_of_who_is_not_in_view() -> None:
    names = iter("abc")
    tracker = Tracker(new_id=lambda: next(names))
    left, right = Face(Box(0.1, 0.4, 0.1, 0.1), 0.9), Face(Box(0.8, 0.4, 0.1, 0.1), 0.9)
    for time in (0.0, 0.3):
        tracker.update([left, right], time)
    assert not tracker.rename("b", "a", None), "both are in view"
    tracker.update([right], 0.6)
    assert tracker.rename("b", "a", None), "a is missing"
    (face,) = tracker.update([right], 0.9).faces
    assert (face.track, face.since) == ("a", 0.0)
    assert not tracker.rename("none", "b", 0.0)
    assert tracker.rename("a", "z", -5.0), "z has ended"
    assert tracker.update([right], 1.2).faces[0].since == -5.0
