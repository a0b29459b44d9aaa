"""Windows roll up without losing or inventing anything; a trend compares with the minute before."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.domain.summary import AttentionSums, FaceSums, Summary, Window
from edge_agent.summary.context import TrendKeeper
from edge_agent.summary.summariser import RollUp, merge_summaries
from tests.unit.summary.test_baseline import sums


def summary(index: int, people: float = 1.0, length: float = 10.0) -> Summary:
    begin = index * length
    faces = FaceSums(1, people * length, length, 0, 1)
    return Summary(1000.0 + begin, "synced", Window(begin, begin + length, faces=faces))


def test_minutes_tens_and_hours_come_when_they_are_complete() -> None:
    roll, done = RollUp(), []
    for index in range(360):
        done += roll.add(summary(index))
    lengths = [round(rolled.summary.seconds) for rolled in done]
    assert (lengths.count(60), lengths.count(600), lengths.count(3600)) == (60, 6, 1)
    assert [rolled.level for rolled in done[-3:]] == [60, 600, 3600]
    assert [rolled.number for rolled in done[-3:]] == [60, 6, 1]
    assert done[-1].summary == reduce(merge_summaries, [summary(i) for i in range(360)])


@given(st.integers(1, 130), st.sampled_from([1.0, 7.0, 10.0, 25.0]))
def test_nothing_is_lost_or_invented_on_the_way_up(count: int, length: float) -> None:
    roll = RollUp((60.0, 600.0))
    fed = [summary(i, length=length) for i in range(count)]
    done = [rolled for one in fed for rolled in roll.add(one)]
    for level in (60.0, 600.0):
        whole = [rolled.summary for rolled in done if rolled.level == level]
        covered = [one for one in fed if whole and one.window.end <= whole[-1].window.end + 1e-6]
        if whole:
            assert reduce(merge_summaries, whole).window.faces == reduce(merge_summaries, covered).window.faces
            assert [a.window.end for a in whole[:-1]] == [b.window.begin for b in whole[1:]]
        assert (count * length - (whole[-1].window.end if whole else 0.0)) < 2 * level


def test_a_window_as_long_as_a_level_passes_it_by() -> None:
    done = [rolled for i in range(10) for rolled in RollUp().add(summary(i, length=60.0))]
    assert done == []
    roll = RollUp()
    done = [rolled for i in range(10) for rolled in roll.add(summary(i, length=60.0))]
    assert [(rolled.level, rolled.summary.seconds) for rolled in done] == [(600.0, 600.0)]


def test_a_trend_compares_with_the_minute_before() -> None:
    keeper = TrendKeeper(60.0)
    windows = [
        Window(
            10.0 * k,
            10.0 * k + 10,
            faces=FaceSums(2, 10.0 if k < 9 else 20.0, 10.0),
            emotion=sums() if k < 9 else sums(happiness=1.0),
            attention=AttentionSums(10.0, 5.0, 2.0 if k < 9 else 8.0),
        )
        for k in range(10)
    ]
    trends = [keeper.next(window) for window in windows]
    assert trends[0] is None
    assert trends[1] is not None
    assert trends[1].seconds == 10
    last = trends[-1]
    assert last is not None
    assert last.seconds == 60
    assert (last.valence, last.people, last.attention) == pytest.approx((0.9, 1.0, 0.6))


def test_a_trend_is_absent_without_a_comparison() -> None:
    keeper = TrendKeeper()
    keeper.next(Window(0, 10))
    trend = keeper.next(Window(10, 20, faces=FaceSums(1, 5, 10)))
    assert trend is not None
    assert (trend.valence, trend.people, trend.attention) == (None, None, None)
