"""What single looks, sounds and events count for in a window."""

from __future__ import annotations

import pytest

from edge_agent.domain.event import BURST, Event
from edge_agent.domain.observation import AudioReport, Observation
from edge_agent.domain.summary import BurstSums, MeasureSums, Presence, Summary
from edge_agent.payloads.rendering import summary_document
from edge_agent.summary.merging import merge
from edge_agent.summary.window import MAX_EMOTION_HOLD, MAX_HOLD, STALE, WindowBuilder
from tests.unit.summary.streams import fill, look, merged, reading

HAPPINESS = 1


# ---------------------------------------------------------------- the last look holds, but not for ever


def test_between_looks_the_last_one_holds() -> None:
    (window,) = fill([look(1, "a"), look(2, "a", "b"), look(3)], 10, 10)
    assert window.faces.person_seconds == pytest.approx(1 + 2)
    assert window.faces.seconds == pytest.approx(2 + MAX_HOLD)
    assert (window.faces.most, window.faces.arrived, window.faces.carried) == (2, 2, 0)


def test_what_was_not_watched_is_not_counted_as_seen() -> None:
    (window,) = fill([look(1, "a"), look(8, "a")], 10, 10)
    assert window.faces.person_seconds == pytest.approx(MAX_HOLD + 2)
    assert window.stream.video_seconds == pytest.approx(MAX_HOLD + 2)


def test_before_the_first_look_nothing_was_seen() -> None:
    (window,) = fill([look(9, "a")], 10, 10)
    assert window.faces.seconds == pytest.approx(1)


def test_after_a_lost_camera_windows_are_empty() -> None:
    first, second, third = fill([look(9, "a", "b")], 10, 30)
    assert (first.faces.most, first.faces.arrived) == (2, 2)
    assert (second.faces.most, second.faces.carried, second.faces.person_seconds) == (2, 2, pytest.approx(2))
    assert (third.faces.most, third.faces.carried, third.faces.arrived, third.faces.seconds) == (0, 0, 0, 0)


@pytest.mark.parametrize("flag", ["dark", "covered", "frozen"])
def test_a_blinded_camera_watches_nothing(flag: str) -> None:
    blind = look(2, flags=frozenset({flag}))
    (window,) = fill([look(1, "a"), blind, look(5, "a"), look(6)], 10, 10)
    assert window.faces.person_seconds == pytest.approx(1 + 1)
    assert window.stream.video_seconds == pytest.approx(1 + 1 + MAX_HOLD)
    assert window.stream.flags == {flag}


def test_another_flag_does_not_blind() -> None:
    (window,) = fill([look(1, "a", flags=frozenset({"blurred"})), look(2)], 10, 10)
    assert window.faces.person_seconds == pytest.approx(1)


# ---------------------------------------------------------------- boundaries


def test_a_person_who_stays_is_carried_over_the_boundary() -> None:
    windows = fill([look(t, "a") for t in range(25)], 10, 25)
    assert [(w.faces.carried, w.faces.arrived) for w in windows] == [(0, 1), (1, 0), (1, 0)]
    assert [w.faces.person_seconds for w in windows] == pytest.approx([10, 10, 5])
    whole = merged(windows)
    assert (whole.faces.carried, whole.faces.arrived) == (0, 1)


def test_a_person_missed_at_the_boundary_counts_once() -> None:
    windows = fill([look(8, "a"), look(9), look(11), look(12, "a")], 10, 20)
    assert [(w.faces.carried, w.faces.arrived) for w in windows] == [(0, 1), (1, 0)]
    whole = merged(windows)
    assert whole.faces.carried + whole.faces.arrived == 1


def test_a_look_at_the_boundary_belongs_to_the_window_that_begins() -> None:
    first, second = fill([look(9, "a"), look(10)], 10, 20)
    assert (first.stream.analysed, second.stream.analysed) == (1, 1)
    assert first.faces.person_seconds == pytest.approx(1)
    assert (second.faces.most, second.faces.carried + second.faces.arrived) == (0, 0)


def test_a_hold_over_the_boundary_is_shared_out() -> None:
    first, second = fill([look(9, "a"), look(10.5)], 10, 20)
    assert (first.faces.person_seconds, second.faces.person_seconds) == (pytest.approx(1), pytest.approx(0.5))
    assert (second.faces.most, second.faces.carried) == (1, 1)


def test_empty_windows_are_windows_too() -> None:
    windows = fill([], 10, 35)
    assert [(w.begin, w.end) for w in windows] == [(0, 10), (10, 20), (20, 30), (30, 35)]
    assert all(w.faces.seconds == w.stream.audio_seconds == 0 for w in windows)


def test_a_window_may_begin_at_any_time() -> None:
    builder = WindowBuilder(1234.5, 10)
    assert builder.end == 1244.5
    assert builder.advance(1244.4) == []
    (window,) = builder.advance(1244.5)
    assert (window.begin, window.end) == (1234.5, 1244.5)


def test_many_windows_do_not_drift() -> None:
    builder = WindowBuilder(0.0, 0.1)
    windows = builder.advance(360.0)
    assert len(windows) in (3599, 3600)
    assert abs(windows[-1].end - 0.1 * len(windows)) < 1e-6


def late(builder: WindowBuilder, picture: float, now: float, *tracks: str) -> None:
    """A look at the picture of ``picture`` that took until ``now``."""
    builder.suspend(now, "", "")
    builder.vision(look(picture, *tracks))


def test_looks_that_take_longer_than_they_hold_cover_the_time_after_their_pictures() -> None:
    """On a starved machine a look takes seconds: its time passed as unlooked at, and must not stay so."""
    builder = WindowBuilder(0.0, 20)
    builder.vision(look(0, "a"))
    for picture, now in ((4, 8), (9, 13), (14, 18)):
        late(builder, picture, now, "a", "b")
    (window,) = builder.advance(20)
    assert window.faces.seconds == window.stream.video_seconds == pytest.approx(8)
    assert window.faces.person_seconds == pytest.approx(2 + 3 * 2 * 2)
    assert window.unseen == {"no_look": pytest.approx(12)}


def test_a_late_look_gives_no_time_that_another_look_or_another_reason_has() -> None:
    builder = WindowBuilder(0.0, 10)
    builder.vision(look(0, "a"))
    late(builder, 1, 4, "a")  # 0 to 2 are held already; so 1 to 3 gives one second more
    builder.suspend(4, "missing", "")
    builder.suspend(6, "", "")
    late(builder, 5, 8)  # of 5 to 7 the camera was missing until 6
    (window,) = builder.advance(10)
    assert window.faces.seconds == pytest.approx(3)
    assert window.unseen["missing"] == pytest.approx(2)
    assert sum(window.unseen.values()) + window.faces.seconds == pytest.approx(10)


def test_a_look_of_an_earlier_window_alone_says_nothing_about_a_window() -> None:
    """`faces.max` was 2 where coverage was 0: all figures are unknown then."""
    builder = WindowBuilder(0.0, 10)
    builder.vision(look(0))
    builder.advance(10)
    late(builder, 6, 14, "a", "b")
    (second,) = builder.advance(20)
    assert second.unseen == {"no_look": pytest.approx(10)}
    document = summary_document(Summary(0.0, "synced", second), "d", "b", 1)
    assert set(document["faces"].values()) == {None}


def test_flushing_gives_the_rest_once() -> None:
    builder = WindowBuilder(0.0, 10)
    builder.vision(look(1, "a"))
    window = builder.flush(2.5)
    assert window is not None
    assert (window.begin, window.end, window.faces.person_seconds) == (0, 2.5, pytest.approx(1.5))
    assert builder.flush(2.5) is None
    assert builder.end == 12.5


# ---------------------------------------------------------------- what comes late or twice


def test_a_late_look_counts_in_the_open_window_and_invents_no_time() -> None:
    builder = WindowBuilder(0.0, 10)
    builder.vision(look(8, "a"))
    (first,) = builder.advance(10.2)
    builder.vision(look(9.9, "a", "b"))
    builder.vision(look(10.4, "a", "b"))
    (second,) = builder.advance(20)
    assert first.faces.person_seconds == pytest.approx(2)
    assert second.faces.person_seconds == pytest.approx(2 * (0.4 + MAX_HOLD))
    assert (first.stream.analysed, second.stream.analysed) == (1, 2)
    assert (second.faces.carried, second.faces.arrived) == (1, 1)


def test_time_that_runs_backwards_is_not_counted_twice() -> None:
    (window,) = fill([look(5, "a"), look(3, "a"), look(4, "a"), look(6)], 10, 10)
    assert window.faces.person_seconds == pytest.approx(1)


# ---------------------------------------------------------------- emotion


def test_a_reading_speaks_for_its_face_until_the_next_one() -> None:
    sad = look(0, "a", observations=(reading("a", 0),))
    glad = look(1, "a", observations=(reading("a", 1, happiness=0.75),))
    (window,) = fill([sad, glad, look(2)], 10, 10)
    assert window.emotion.weight == pytest.approx(2)
    assert window.emotion.p[HAPPINESS] == pytest.approx(0.75)
    assert window.emotion.square[HAPPINESS] == pytest.approx(0.75**2)
    assert window.emotion.readings == 2


def test_a_reading_is_good_for_a_few_seconds_only() -> None:
    looks = [look(0, "a", observations=(reading("a", 0, happiness=1.0),)), *(look(t, "a") for t in range(1, 10))]
    (window,) = fill(looks, 10, 10)
    assert window.faces.person_seconds == pytest.approx(10)
    assert window.emotion.weight == pytest.approx(MAX_EMOTION_HOLD)


def test_a_reading_does_not_outlive_its_face() -> None:
    first = look(0, "a", "b", observations=(reading("a", 0), reading("b", 0, happiness=1.0)))
    (window,) = fill([first, look(1, "a"), look(2, "a", "b"), look(3)], 10, 10)
    assert window.emotion.weight == pytest.approx(3 + 1)
    assert window.emotion.p[HAPPINESS] == pytest.approx(1)


def test_a_reading_without_a_track_is_no_evidence() -> None:
    trackless = Observation("emotion", reading("a", 0).values, 0)
    (window,) = fill([look(0, "a", observations=(trackless,)), look(1)], 10, 10)
    assert (window.emotion.readings, window.emotion.weight) == (0, 0)
    assert window.measures == {}


# ---------------------------------------------------------------- sound, events, measures


def cough(score: float, seconds: float = 0.5) -> Event:
    return Event(BURST, "cough", score, 0.0, seconds)


def test_bursts_are_counted_by_label_and_other_events_are_not() -> None:
    heard = AudioReport(1, 1, 0, events=(cough(0.6), Event("arrival", "person", 1.0, 0.0, 0.0), cough(0.9, 0.25)))
    (window,) = fill([heard, look(2, events=(Event(BURST, "laughter", 0.5, 0.0, 2.0),))], 10, 10)
    assert window.bursts == {"cough": BurstSums(2, 0.9, 0.75), "laughter": BurstSums(1, 0.5, 2.0)}
    (quiet,) = fill([], 10, 10)
    both = merge(window, fill([AudioReport(11, 1, 0, events=(cough(0.7),))], 10, 20, begin=10)[0])
    assert both.bursts["cough"] == BurstSums(3, 0.9, 1.25)
    assert quiet.bursts == {}


def test_measures_keep_their_extremes() -> None:
    levels = [
        AudioReport(t, 1, 0, (Observation("loudness", {"dbfs": level, "peak": 1}, t),))
        for t, level in ((1, -40.0), (2, -60.0), (12, -20.0))
    ]
    first, second = fill(levels, 10, 20)
    assert first.measures["loudness.dbfs"] == MeasureSums(2, -100.0, -60.0, -40.0)
    assert first.measures["loudness.dbfs"].mean == -50
    assert list(first.measures) == ["loudness.dbfs", "loudness.peak"]
    whole = merge(first, second).measures["loudness.dbfs"]
    assert whole == MeasureSums(3, -120.0, -60.0, -20.0)


def test_all_sound_is_counted_wherever_the_boundaries_fall() -> None:
    blocks = [AudioReport(t * 0.96, 0.96, 0) for t in range(40)]
    windows = fill(blocks, 10, 40)
    assert sum(w.stream.audio_seconds for w in windows) == pytest.approx(40 * 0.96)
    assert all(abs(w.stream.audio_seconds - 10) < 1 for w in windows[:3])


def test_frames_flags_and_losses_add_up() -> None:
    first = look(1, captured=5, dropped=2, flags=frozenset({"blurred"}), latency=0.1, resized=1)
    looks = [first, look(11, captured=3, latency=0.3)]
    loud = AudioReport(12, 1, 0, flags=frozenset({"clipping"}))
    whole = merged(fill([*looks, loud], 10, 20)).stream
    assert (whole.captured, whole.analysed, whole.dropped) == (8, 2, 2)
    assert whole.flags == {"blurred", "clipping"}
    assert (whole.latency, whole.slowest, whole.resized) == (pytest.approx(0.4), 0.3, 1)


def test_unwatched_time_is_counted_by_reason() -> None:
    """A7: what was searched and what was not make up the window, whatever came between."""
    builder = WindowBuilder(0.0, 20.0)
    builder.suspend(0.5, "missing", "starting")
    builder.suspend(1.0, "", "")
    builder.vision(look(2.0, "a"))
    builder.vision(look(3.0, "a", flags=frozenset({"covered", "blurred"})))
    builder.vision(look(5.0, "a"))
    builder.suspend(6.0, "paused", "paused")
    builder.vision(look(6.1, "a"))  # was on its way: it does not hold while the camera is off
    builder.suspend(8.0, "", "off")
    builder.vision(look(8.5))
    (window,) = builder.advance(20.0)
    assert window.unseen == pytest.approx(
        {"starting": 0.5 + 1.0 + 0.5, "missing": 0.5, "covered": 2.0, "paused": 2.0, "no_look": 9.5}
    )
    assert window.unheard == pytest.approx({"starting": 0.5, "paused": 2.0, "off": 12.0})
    assert window.faces.seconds == pytest.approx(1.0 + 1.0 + 2.0)
    assert window.faces.known


def test_an_unwatched_window_is_unknown_and_merging_adds_the_reasons() -> None:
    windows = fill([look(1.0, flags=frozenset({"no_detector"})), look(11.0), look(12.0)], 10.0, 20.0)
    assert [w.faces.known for w in windows] == [False, True]
    whole = merged(windows)
    assert whole.unseen == pytest.approx({"starting": 1.0, "no_detector": 10.0, "no_look": 6.0})
    assert whole.faces.known


def test_the_last_pictures_of_a_recording_hold_on_when_it_is_over() -> None:
    builder = WindowBuilder(0.0, 10.0)
    builder.vision(look(0.0, "a"))
    builder.suspend(0.5, "ended", "")
    builder.vision(look(1.0, "a"))
    (window,) = builder.advance(10.0)
    assert (window.faces.seconds, window.unseen) == (3.0, {"ended": 7.0})


def test_presence_is_known_while_frames_are_analysed() -> None:
    builder = WindowBuilder(0.0, 10.0)
    assert builder.presence(0.0) == Presence(None, "starting")
    builder.vision(look(1.0, "a", "b"))
    assert builder.presence(1.0) == builder.presence(1.0 + STALE) == Presence(2)
    assert builder.presence(1.1 + STALE) == Presence(None, "no_look")
    builder.vision(look(20.0, flags=frozenset({"dark"})))
    assert builder.presence(20.0) == Presence(None, "dark")
    builder.suspend(21.0, "privacy", "")
    assert builder.presence(21.0) == Presence(None, "privacy")
