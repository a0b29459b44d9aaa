"""What must hold for any stream: merging is associative, and windows merged are the long window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.domain.observation import VisionReport
from edge_agent.domain.summary import Summary, Window
from edge_agent.summary.merging import merge
from edge_agent.summary.summariser import merge_summaries
from edge_agent.summary.window import MAX_EMOTION_HOLD, MAX_HOLD
from tests.unit.summary.streams import Report, count_slowly, fill, merged, reports

QUICK = settings(max_examples=40)

ABSENCE = 6.5
"""Longest time between two looks at the same track in a random stream: two steps of 3 s and rounding."""


def same(a: Any, b: Any) -> bool:
    """Equal up to the last digits of floats."""
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-7)
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def end_of(found: Sequence[Report]) -> float:
    return (found[-1].time if found else 0.0) + 5.0


@QUICK
@given(found=reports(), length=st.floats(ABSENCE, 30.0))
def test_short_windows_merged_are_the_long_window(found: list[Report], length: float) -> None:
    end = end_of(found)
    short, (whole,) = fill(found, length, end), fill(found, 1e6, end)
    assert same(merged(short), whole)


@QUICK
@given(found=reports(), length=st.floats(1.0, 10.0))
def test_windows_of_any_length_give_the_same_but_for_the_count_of_tracks(found: list[Report], length: float) -> None:
    """Somebody who is missing for a whole window counts as another person after it: never too few."""
    end = end_of(found)
    short, (whole,) = merged(fill(found, length, end)), fill(found, 1e6, end)
    assert short.faces.carried == whole.faces.carried == 0
    assert short.faces.arrived >= whole.faces.arrived
    assert same(short.emotion, whole.emotion)
    assert same(short.stream, whole.stream)
    assert same((short.faces.person_seconds, short.faces.most), (whole.faces.person_seconds, whole.faces.most))


@QUICK
@given(found=reports(), length=st.floats(1.0, 10.0), data=st.data())
def test_merging_is_associative(found: list[Report], length: float, data: st.DataObject) -> None:
    windows = fill(found, length, end_of(found) + 3 * length)
    first = data.draw(st.integers(1, len(windows) - 2))
    second = data.draw(st.integers(first + 1, len(windows) - 1))
    a, b, c = merged(windows[:first]), merged(windows[first:second]), merged(windows[second:])
    assert same(merge(merge(a, b), c), merge(a, merge(b, c)))


@QUICK
@given(found=reports(), length=st.floats(ABSENCE, 30.0))
def test_tracks_of_every_run_of_windows_are_the_people_seen_in_it(found: list[Report], length: float) -> None:
    """Also those of windows in the middle: what the outbox merges need not begin with the first."""
    windows = fill(found, length, end_of(found))
    for first in range(len(windows)):
        for last in range(first, len(windows)):
            run = merged(windows[first : last + 1])
            assert run.faces.carried + run.faces.arrived == len(_seen(found, run.begin, run.end))


def _seen(found: Sequence[Report], begin: float, end: float) -> set[str]:
    """Who was in view at some look from ``begin`` on, or held from the look before."""
    looks = [r for r in found if isinstance(r, VisionReport)]
    inside = [r for r in looks if begin <= r.time < end]
    before = [r for r in looks if r.time < begin]
    held = before[-1:] if before and not before[-1].flags & {"dark"} and before[-1].time + MAX_HOLD > begin else []
    if held and inside and inside[0].time <= begin:
        held = []
    return {f.track for r in (*held, *inside) for f in r.faces}


@QUICK
@given(found=reports(), length=st.floats(1.0, 10.0))
def test_windows_follow_each_other_without_gaps_and_stay_within_their_bounds(
    found: list[Report], length: float
) -> None:
    end = end_of(found)
    windows = fill(found, length, end)
    assert windows[0].begin == 0
    assert windows[-1].end == pytest.approx(end)
    for a, b in pairwise(windows):
        assert a.end == b.begin
        assert a.seconds == pytest.approx(length)
    for window in windows:
        watched = window.faces.seconds
        assert 0 <= watched <= window.seconds + 1e-9
        assert window.stream.video_seconds == pytest.approx(watched)
        assert watched + sum(window.unseen.values()) == pytest.approx(window.seconds)
        assert window.faces.person_seconds <= watched * window.faces.most + 1e-9
        assert window.emotion.weight <= window.faces.person_seconds + 1e-9
        assert sum(window.emotion.p) == pytest.approx(window.emotion.weight, abs=1e-9)
        assert window.faces.most <= window.faces.carried + window.faces.arrived


@QUICK
@given(found=reports(longest_absence=3))
def test_integrals_are_what_small_steps_of_time_add_up_to(found: list[Report]) -> None:
    end = end_of(found)
    (whole,) = fill(found, 1e6, end)
    slow = count_slowly(found, end, MAX_HOLD, MAX_EMOTION_HOLD)
    near = 0.04 * (len(found) + 1)
    assert whole.faces.seconds == pytest.approx(slow["watched"], abs=near)
    assert whole.faces.person_seconds == pytest.approx(slow["persons"], abs=4 * near)
    assert whole.emotion.weight == pytest.approx(slow["weight"], abs=4 * near)
    assert whole.emotion.p[1] == pytest.approx(slow["happiness"], abs=4 * near)


def test_windows_that_overlap_are_not_merged() -> None:
    with pytest.raises(ValueError, match=r"windows overlap: 0\.000\.\.10\.000 and 9\.000\.\.19\.000"):
        merge(Window(0.0, 10.0), Window(9.0, 19.0))


def test_a_merged_summary_starts_first_and_is_as_sure_of_the_time_as_the_less_sure() -> None:
    a, b = Summary(100.0, "synced", Window(0.0, 10.0)), Summary(110.0, "unsynced", Window(10.0, 20.0))
    assert merge_summaries(a, b) == Summary(100.0, "unsynced", Window(0.0, 20.0))
    assert merge_summaries(a, Summary(110.0, "synced", b.window)).clock == "synced"
    assert merge_summaries(a, b).seconds == 20
