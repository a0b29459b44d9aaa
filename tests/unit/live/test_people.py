"""Each person as a series of windows: whose readings they are and how long they are kept."""

from __future__ import annotations

import pytest

from edge_agent.domain.observation import ATTENTION, Observation
from edge_agent.domain.summary import estimate_window
from edge_agent.live.people import HERE_S, KEEP_S, MOST, STEP_S, People
from edge_agent.summary.window import MAX_HOLD
from edge_agent.web.analytics import people as told
from tests.unit.summary.streams import look, reading


def looking(track: str, time: float) -> Observation:
    return Observation(ATTENTION, {"score": 0.9, "looking": 1.0}, time, track)


def watch(people: People, begin: int, end: int, **moods: str) -> None:
    """Everybody named, each with a mood, in a look a second."""
    for t in range(begin, end):
        found = tuple(reading(track, t, **{mood: 0.8}) for track, mood in moods.items())
        people.accept(look(float(t), *moods, observations=(*found, looking(next(iter(moods)), t))))


def test_each_has_a_course_of_ones_own() -> None:
    people = People()
    watch(people, 0, 11, a="happiness", b="sadness")
    watch(people, 11, 21, b="happiness")
    a, b = people.since(0.0, 20.0)
    assert (a.track, a.since, a.until, a.here) == ("a", 0.0, 10.0, False)
    assert (b.until, b.here) == (20.0, True)
    moods = [[e.dominant for w in p.windows if (e := estimate_window(w))] for p in (a, b)]
    assert moods == [["happiness"] * 2, ["sadness"] * 2 + ["happiness"] * 2]
    assert [w.begin for w in b.windows] == [0.0, STEP_S, 2 * STEP_S, 3 * STEP_S]
    assert sum(w.faces.person_seconds for w in a.windows) == pytest.approx(10.0)
    assert a.windows[0].attention.ratio == 1.0
    assert b.windows[0].attention.ratio is None, "only the first one's head was looked at"


def test_the_document_of_a_person() -> None:
    people = People()
    watch(people, 0, 10, a="sadness")
    watch(people, 10, 21, a="happiness")
    (person,) = told(people.since(0.0, 20.0), "kiosk-1", 1_790_000_000.0)
    assert person["track"] == "a"
    assert (person["since"], person["until"]) == ("2026-09-21T14:13:20.000Z", "2026-09-21T14:13:40.000Z")
    assert (person["here"], person["seconds"]) == (True, 20.0)
    assert person["trend"] > 0.5
    assert person["emotion"]["readings"] == 20
    assert [step["emotion"]["dominant"] for step in person["timeline"]] == ["sadness"] * 2 + ["happiness"] * 2
    assert person["timeline"][2]["start"] == "2026-09-21T14:13:30.000Z"
    assert person["attention"]["ratio"] == 1.0


def test_a_new_person_has_no_timeline_yet() -> None:
    people = People()
    watch(people, 0, 2, a="happiness")
    (person,) = told(people.since(0.0, 2.0), "kiosk-1", 0.0)
    assert (person["emotion"], person["attention"], person["trend"], person["timeline"]) == (None, None, None, [])
    assert person["here"]


def test_time_out_of_view_under_the_same_name_is_not_counted() -> None:
    people = People()
    watch(people, 0, 6, a="happiness", b="sadness")
    watch(people, 6, 20, a="happiness")
    (gone,) = (p for p in people.since(0.0, 20.0) if p.track == "b")
    assert (gone.here, gone.windows[-1].end) == (False, 5.0)
    watch(people, 20, 26, a="happiness", b="sadness")
    (back,) = (p for p in people.since(0.0, 26.0) if p.track == "b")
    assert back.here
    assert [(w.begin, w.end) for w in back.windows] == [(0.0, 5.0), (20.0, 25.0)]


def test_only_those_within_the_period_and_their_windows_of_it() -> None:
    people = People()
    watch(people, 0, 11, a="happiness")
    watch(people, 11, 101, b="happiness")
    (person,) = people.since(50.0, 100.0)
    assert person.track == "b"
    assert person.windows[0].end > 50.0
    assert person.windows[0].begin < 50.0 + STEP_S


def test_bounded_in_time_and_number() -> None:
    people = People()
    watch(people, 0, 11, a="happiness")
    watch(people, 11, int(KEEP_S) + 20, b="happiness")
    (person,) = people.since(0.0, KEEP_S + 20)
    assert person.track == "b", "who left so long ago is forgotten"
    assert len(person.windows) == KEEP_S / STEP_S
    for n in range(MOST + 10):
        people.accept(look(KEEP_S + 20 + n, f"t{n}"))
    kept = people.since(0.0, KEEP_S + 20 + MOST + 10)
    assert len(kept) == MOST
    assert [p.track for p in kept if p.here] == [f"t{MOST + 9}"]


def test_without_reports_nobody_counts_as_present() -> None:
    people = People()
    watch(people, 0, 7, a="happiness")
    (before,) = people.since(0.0, 6.0 + HERE_S)
    (after,) = people.since(0.0, 6.5 + HERE_S)
    assert (before.here, after.here) == (True, False)
    watch(people, 3600, 3610, b="happiness")
    assert [p.track for p in people.since(0.0, 3610.0)] == ["b"]


def test_a_gap_between_looks_is_not_filled() -> None:
    people = People()
    people.accept(look(0.0, "a"))
    people.accept(look(30.0, "a"))
    (person,) = people.since(0.0, 30.0)
    assert sum(w.faces.person_seconds for w in person.windows) == pytest.approx(MAX_HOLD)


def test_times_of_a_camera_with_another_clock_are_of_now() -> None:
    """As of a camera plugin that stamps its pictures by the wall clock, or wrongly at times."""
    people = People()
    for now in range(12):
        wrong = 1.8e9 + now if now % 4 else float(now)
        people.accept(look(wrong, "a"), float(now))
    (person,) = people.since(0.0, 11.0)
    assert (person.since, person.until, person.here) == (0.0, 11.0, True)
    assert [(w.begin, w.end) for w in person.windows] == [(0.0, 5.0), (5.0, 10.0)]


def test_people_who_left_are_discarded_also_without_reports() -> None:
    people = People()
    watch(people, 0, 11, a="happiness")
    people.tick(10.0 + KEEP_S)
    assert [p.track for p in people.since(0.0, 10.0 + KEEP_S)] == ["a"]
    people.tick(10.5 + KEEP_S)
    assert people.since(0.0, 10.5 + KEEP_S) == []


def test_what_a_person_shows_now_is_of_the_last_two_seconds() -> None:
    people = People()
    watch(people, 0, 10, a="sadness")
    watch(people, 10, 13, a="happiness")
    (person,) = told(people.since(0.0, 12.0), "kiosk-1", 0.0)
    assert person["now"]["emotion"]["dominant"] == "happiness"
    assert person["now"]["emotion"]["readings"] == 3
    assert person["now"]["attention"]["ratio"] == 1.0
    box = look(0.0, "a").faces[0].face.box
    assert person["now"]["box"] == [round(value, 4) for value in (box.x, box.y, box.w, box.h)]


def test_readings_far_apart_tell_as_long_as_they_hold() -> None:
    people = People()
    for t in range(15):
        found = (reading("a", float(t), happiness=0.8),) if t in (0, 4, 8) else ()
        people.accept(look(float(t), "a", observations=found))
        (person,) = told(people.since(0.0, float(t)), "kiosk-1", 0.0)
        shown = person["now"]["emotion"]
        assert (shown is not None) == (4 <= t <= 13), t
    people.accept(look(15.0))
    (gone,) = told(people.since(0.0, 15.0), "kiosk-1", 0.0)
    assert gone["now"] is None
