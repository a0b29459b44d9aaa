"""Rates stay within their bounds, every decision has a reason, and more cause never means less work."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.analysis.pacing import (
    FIRST,
    MAX_AGE,
    PROFILES,
    RECHECK,
    RECHECK_PEOPLE,
    Bounds,
    LookSchedule,
    Past,
    Scene,
    pace_of,
    plan_reading,
    plan_search,
)
from edge_agent.domain.commands import Profile

SCENES = st.builds(
    Scene,
    searched=st.floats(0, 100),
    moved=st.booleans(),
    share=st.floats(0, 1),
    people=st.integers(0, 5),
    missed=st.booleans(),
    tentative=st.booleans(),
    blind=st.sampled_from(["", "dark"]),
)
RATES = st.one_of(st.none(), st.floats(0.1, 30))
BOUNDS = st.one_of(
    st.builds(Bounds.of, st.sampled_from(sorted(PROFILES)), max_fps=RATES),  # type: ignore[arg-type]
    st.tuples(st.floats(0.1, 30), st.floats(0.1, 30)).map(lambda p: Bounds.of("standard", min(p), max(p))),
    st.floats(0.1, 30).map(Bounds.at),
)
PASTS = st.builds(Past, st.integers(0, 20), st.floats(0, 60), st.floats(0, 20), st.integers(1, 6), st.floats(0.4, 2.5))
STILL = Scene(searched=0.0, moved=False, share=0.0)
STANDARD = Bounds.of("standard")


@given(BOUNDS, st.sampled_from(["idle", "busy", "burst"]), st.floats(-1, 2))
def test_the_rate_keeps_its_bounds(bounds: Bounds, pace: str, allowance: float) -> None:
    rate = 1 / bounds.interval(pace, allowance)  # type: ignore[arg-type]
    top = bounds.busy if pace != "burst" else max(bounds.busy, bounds.burst)
    least = bounds.idle if bounds.least is None else bounds.least
    assert least * (1 - 1e-9) <= rate <= min(max(top, bounds.idle), bounds.top) * (1 + 1e-9)


@given(st.sampled_from(sorted(PROFILES)), RATES, RATES)
def test_configured_bounds_hold_and_disable_nothing(profile: Profile, low: float | None, high: float | None) -> None:
    low, high = sorted((low, high)) if low is not None and high is not None else (low, high)
    bounds = Bounds.of(profile, low, high)
    assert not bounds.fixed
    assert not plan_search(STILL, bounds).go
    assert bounds.top <= (high or 1e9)
    assert 1 / bounds.interval("busy", 0.0) >= (low or 0.0) * (1 - 1e-9)
    if low is None:
        assert bounds.interval("busy", 0.0) > bounds.interval("busy", 1.0) * 1.3  # load and heat have their say


@given(BOUNDS, st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_allowance_is_never_faster(bounds: Bounds, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert bounds.interval("busy", low) >= bounds.interval("busy", high)


@given(SCENES, BOUNDS)
def test_more_cause_never_searches_less(scene: Scene, bounds: Bounds) -> None:
    decision = plan_search(scene, bounds)
    assert decision.reason
    if decision.go:
        assert plan_search(replace(scene, moved=True), bounds).go
        assert plan_search(replace(scene, tentative=True), bounds).go
        assert plan_search(replace(scene, searched=scene.searched + 1), bounds).go


@given(SCENES, BOUNDS)
def test_nothing_goes_unsearched_for_long_unless_the_camera_is_blind(scene: Scene, bounds: Bounds) -> None:
    late = replace(scene, searched=RECHECK_PEOPLE if scene.people else RECHECK)
    assert plan_search(late, bounds).go == (not scene.blind)


@given(PASTS, BOUNDS)
def test_no_face_goes_unread_for_long(past: Past, bounds: Bounds) -> None:
    assert plan_reading(past, bounds).reason
    assert plan_reading(replace(past, age=max(past.age, MAX_AGE)), bounds).go
    assert plan_reading(replace(past, count=0, age=math.inf), bounds).go
    if plan_reading(past, bounds).go:
        assert plan_reading(replace(past, evidence=0.0), bounds).go
        assert plan_reading(replace(past, surprise=past.surprise + 0.5), bounds).go


@given(PASTS)
def test_a_fixed_rate_always_searches_and_reads(past: Past) -> None:
    fixed = Bounds.at(5)
    assert fixed.fixed
    assert plan_search(STILL, fixed).go
    assert plan_reading(past, fixed).go
    assert fixed.interval("burst", 0.0) == fixed.interval("idle") == pytest.approx(0.2)


def test_an_unmoving_picture_rests() -> None:
    assert not plan_search(STILL, STANDARD).go
    assert pace_of(STILL, since_motion=60) == "idle"


@pytest.mark.parametrize(
    ("change", "since_motion", "pace"),
    [
        ({"tentative": True}, 60, "burst"),
        ({}, 0.2, "burst"),
        ({}, 1.0, "busy"),
        ({"people": 1}, 0.2, "busy"),
        ({"people": 1}, 60, "busy"),
        ({"people": 1, "blind": "dark"}, 0.0, "idle"),
    ],
)
def test_the_rate_is_highest_while_an_arrival_is_unconfirmed(
    change: dict[str, object], since_motion: float, pace: str
) -> None:
    assert pace_of(replace(STILL, **change), since_motion) == pace


def test_a_new_face_is_read_at_once_and_a_settled_one_rests() -> None:
    assert all(plan_reading(Past(count=n, age=0.1, evidence=9), STANDARD).go for n in range(FIRST))
    settled = plan_reading(Past(count=FIRST, age=1.0, evidence=STANDARD.evidence), STANDARD)
    assert not settled.go
    assert "settled" in settled.reason
    assert plan_reading(Past(count=FIRST, age=1.0, evidence=STANDARD.evidence / 2), STANDARD).go


def test_a_surprising_face_needs_more_evidence_than_a_steady_one() -> None:
    usual = Past(count=FIRST, age=1.0, evidence=STANDARD.evidence)
    assert not plan_reading(usual, STANDARD).go
    assert plan_reading(replace(usual, surprise=1.5), STANDARD).go
    half = replace(usual, evidence=STANDARD.evidence / 2)
    assert plan_reading(half, STANDARD).go
    assert not plan_reading(replace(half, surprise=0.5), STANDARD).go


def test_several_people_share_readings() -> None:
    open_question = Past(count=FIRST, age=1.0, evidence=0.0)
    assert plan_reading(open_question, STANDARD).go
    assert not plan_reading(replace(open_question, people=3), STANDARD).go


def test_the_operators_bounds_replace_the_profiles() -> None:
    assert (Bounds.of("standard").idle, Bounds.of("standard").busy) == PROFILES["standard"][:2]
    assert Bounds.of("standard", max_fps=1.0).idle == 1.0
    assert Bounds.of("standard", max_fps=1.0).interval("burst") == 1.0
    assert Bounds.of("monitor", min_fps=4.0).busy == 4.0
    assert Bounds.of("detail", 2.0, 4.0).interval("idle") == 0.5


def test_a_schedule_keeps_its_rate_on_frames_that_do_not_fit() -> None:
    schedule, looks = LookSchedule(), 0
    for frame in range(1500):
        if schedule.due(frame / 15):
            looks += 1
            schedule.looked(frame / 15, 0.4)
    assert looks == pytest.approx(100 / 0.4, abs=2)


@given(
    st.floats(0.3, 12),
    st.lists(
        st.tuples(st.floats(0.001, 0.4), st.floats(1.0, 5.0), st.sampled_from(["", "", "", "restart", "late"])),
        min_size=20,
        max_size=150,
    ),
)
def test_no_second_holds_more_looks_than_the_operator_allows(
    most: float, steps: list[tuple[float, float, str]]
) -> None:
    """Frames at any time, intervals that change, restarts, late ones: at most one more, at the edge of the second."""
    schedule, now, looks = LookSchedule(most), 0.0, []
    for wait, slower, what in steps:
        now += wait + (0.7 / most if what == "late" else 0.0)
        if what == "restart":
            schedule.restart(most)
        if schedule.due(now):
            looks.append(now)
            schedule.looked(now, slower / most)
    assert all(sum(begin <= t < begin + 1 for t in looks) <= most + 1 for begin in looks)
    assert len(looks) <= (now - looks[0]) * most + 2 + 0.7 * 2


def test_a_stream_whose_time_begins_anew_is_looked_at() -> None:
    schedule = LookSchedule(2.0)
    schedule.looked(100.0, 0.5)
    schedule.restart(2.0)
    assert not schedule.due(100.1)
    assert schedule.due(0.0)


def test_a_schedule_does_not_catch_up_after_a_pause() -> None:
    schedule = LookSchedule()
    schedule.looked(0.0, 1.0)
    schedule.looked(10.0, 1.0)
    assert not schedule.due(10.1)
    assert schedule.due(11.0)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 5)), max_size=40))
def test_the_next_look_is_never_further_off_than_the_interval(steps: list[tuple[float, float]]) -> None:
    schedule, now = LookSchedule(), 0.0
    for wait, interval in steps:
        now += wait
        schedule.looked(now, interval)
        assert schedule.due(now + interval)
        assert not schedule.due(now)
