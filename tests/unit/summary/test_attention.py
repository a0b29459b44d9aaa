"""Attention is held from look to look, stays are counted when they end, and both merge exactly."""

from __future__ import annotations

import pytest

from edge_agent.domain.event import DEPARTURE, PERSON, Event
from edge_agent.domain.observation import ATTENTION, FACEMESH, Observation
from edge_agent.domain.summary import AttentionSums, StaySums
from tests.unit.summary.streams import fill, look, merged


def turned(track: str, time: float, score: float) -> Observation:
    return Observation(ATTENTION, {"score": score, "looking": float(score >= 0.5)}, time, track)


def test_looking_seconds_and_ratio() -> None:
    reports = [look(t, "a", observations=(turned("a", t, 1.0 if t < 3 else 0.2),)) for t in range(5)]
    (window,) = fill([*reports, look(5.0)], 10.0, 10.0)
    assert window.attention == AttentionSums(weight=5.0, score=pytest.approx(3.4), looking=3.0)
    assert window.attention.ratio == pytest.approx(0.6)


def test_what_is_not_known_does_not_count_and_is_not_a_measure() -> None:
    (window,) = fill([look(0.0, "a"), look(1.0, "a", observations=(turned("a", 1.0, 0.9),)), look(2.0)], 10.0, 10.0)
    assert window.attention.weight == 1.0
    assert window.measures == {}
    assert fill([look(0.0, "a")], 10.0, 10.0)[0].attention.ratio is None


def test_how_much_of_it_the_eyes_decided_is_counted_and_merges() -> None:
    by_eyes = Observation(ATTENTION, {"score": 0.9, "looking": 1.0, "eyes": 1.0}, 1.0, "a")
    reports = [
        look(0.0, "a", observations=(turned("a", 0.0, 0.9),)),
        look(1.0, "a", observations=(by_eyes,)),
        look(4.0),
    ]
    (window,) = fill(reports, 10.0, 10.0)
    assert (window.attention.weight, window.attention.by_eyes) == (3.0, 2.0)
    assert window.attention.share_by_eyes == pytest.approx(2 / 3)
    assert merged(fill(reports, 2.0, 4.0)).attention.by_eyes == 2.0
    assert AttentionSums().share_by_eyes is None


def test_points_of_a_face_are_no_measure() -> None:
    mesh = Observation(FACEMESH, {"x0": 1.0}, 0.0, "a")
    assert fill([look(0.0, "a", observations=(mesh,))], 10.0, 10.0)[0].measures == {}


def test_stays_are_counted_where_they_end() -> None:
    left = [Event(DEPARTURE, PERSON, 0.9, 2.0, seconds) for seconds in (4.0, 9.0)]
    windows = fill([look(6.0, events=(left[0],)), look(11.0, events=(left[1],))], 10.0, 20.0)
    assert [w.stays for w in windows] == [StaySums(1, 4.0, 4.0), StaySums(1, 9.0, 9.0)]
    assert merged(windows).stays == StaySums(2, 13.0, 9.0)


def test_windows_that_merge_keep_attention() -> None:
    reports = [look(t / 2, "a", observations=(turned("a", t / 2, t % 3 / 2),)) for t in range(60)]
    parts, whole = fill(reports, 5.0, 30.0), fill(reports, 30.0, 30.0)
    joined = merged(parts).attention
    assert (joined.weight, joined.score, joined.looking) == pytest.approx(
        (whole[0].attention.weight, whole[0].attention.score, whole[0].attention.looking)
    )
