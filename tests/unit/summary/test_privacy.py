"""Fewer than k people together: nothing about them leaves the summariser, and nothing brings it back."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import reduce

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.domain.clock import ManualClock
from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, FUSION, Event
from edge_agent.domain.face import TrackedFace
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.observation import QUALITY_FLAGS, AudioReport, Observation
from edge_agent.domain.summary import (
    ALLOWED,
    ALLOWED_FACES,
    ALLOWED_STREAM,
    ClockState,
    FaceSums,
    StreamSums,
    Summary,
    Window,
    estimate_window,
)
from edge_agent.payloads.rendering import summary_document
from edge_agent.payloads.schemas import schema
from edge_agent.settings import Settings
from edge_agent.summary.merging import merge
from edge_agent.summary.summariser import RollUp, Summariser, merge_summaries, withhold
from edge_agent_quality import CameraQualitySettings, MicrophoneQualitySettings
from edge_agent_quality.camera import judge, measure
from edge_agent_quality.microphone import MicrophoneQuality
from tests.unit.summary.streams import Report, fill, look, reading, reports

ABOUT_PEOPLE = sorted({field.name for field in fields(Window)} - ALLOWED)

TOLD_OF_FEW = {"v", "device", "boot_id", "seq", "start", "seconds", "clock", "faces", "bursts", "quality"} | {
    "emotion",  # null
    "trend",  # of the number of people
    "unknown",  # seconds in which nobody could be watched, by reason
    "withheld",
    "merged",  # of the devices
}
"""Everything that a payload may hold about fewer people than ``min_people``."""


class Bench:
    """A summariser with a threshold of ``k`` that is shown people with one expression, two looks a second."""

    def __init__(self, k: int) -> None:
        self.clock = ManualClock()
        self.summaries: list[Summary] = []
        self.events: list[str] = []
        self.summariser = Summariser(self.clock, 10.0, self.summaries.append, self._event, min_people=k)

    def _event(self, event: Event, _start: float, _clock: ClockState) -> None:
        self.events.append(event.kind)

    def run(self, seconds: float, tracks: str, expression: str) -> None:
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            now = self.clock.monotonic()
            readings = tuple(reading(track, now, **{expression: 0.9}) for track in tracks)
            self.summariser.accept(look(now, *tracks, observations=readings))
            self.summariser.tick()


def emotions(summaries: list[Summary]) -> list[str | None]:
    found = [estimate_window(s.window) for s in summaries]
    return [e.dominant if e else None for e in found]


def test_windows_of_too_few_are_withheld_and_marked_and_the_others_are_not() -> None:
    bench = Bench(2)
    bench.run(10, "", "neutral")
    bench.run(10, "a", "sadness")
    bench.run(10, "ab", "happiness")
    assert emotions(bench.summaries) == [None, None, "happiness"]
    assert [s.window.withheld for s in bench.summaries] == [0, 10, 0]
    assert bench.summaries[1].window.faces.person_seconds > 9  # presence is told


def test_the_trend_excludes_withheld_windows() -> None:
    bench = Bench(2)
    bench.run(10, "a", "sadness")
    bench.run(10, "ab", "happiness")
    trend = bench.summaries[1].trend
    assert trend is not None
    assert trend.valence is None
    assert trend.people is not None
    plain = Bench(0)
    plain.run(10, "a", "sadness")
    plain.run(10, "ab", "happiness")
    assert plain.summaries[1].trend is not None
    assert plain.summaries[1].trend.valence is not None


def test_the_baseline_does_not_learn_from_withheld_windows() -> None:
    bench = Bench(2)
    bench.run(20, "a", "sadness")
    assert bench.summariser.baseline.weight == 0


def test_a_person_returning_under_another_track_counts_once() -> None:
    bench = Bench(2)
    bench.run(5, "a", "sadness")
    bench.run(5, "b", "sadness")
    assert bench.summaries[0].window.faces.arrived == 2
    assert emotions(bench.summaries) == [None]


def test_a_predicted_face_is_not_a_detected_person() -> None:
    report = look(1.0, "a", "b")
    coasting: tuple[TrackedFace, ...] = (report.faces[0], replace(report.faces[1], coasting=True))
    (window,) = fill([replace(report, faces=coasting)], 10, 10)
    assert (window.faces.most, window.faces.together) == (2, 1)
    assert withhold(window, 2).withheld == 10


@pytest.mark.parametrize(("people", "told"), [("a", [ARRIVAL, BURST]), ("ab", [ARRIVAL, DEPARTURE, FUSION, BURST])])
def test_events_about_persons_wait_for_enough_people(people: str, told: list[str]) -> None:
    bench = Bench(2)
    bench.run(1, people, "neutral")
    now = bench.clock.monotonic()
    events = tuple(Event(kind, "x", 0.9, now, 0.1) for kind in (ARRIVAL, DEPARTURE, FUSION))
    bench.summariser.accept(look(now, *people, events=events))
    bench.summariser.accept(AudioReport(now, 0.1, (), events=(Event(BURST, "cough", 0.9, now, 0.1),)))
    assert bench.events == told


def test_a_withheld_payload_is_marked_and_valid() -> None:
    bench = Bench(3)
    bench.run(10, "ab", "anger")
    document = summary_document(bench.summaries[0], "kiosk-1", "b", 1)
    jsonschema.validate(document, schema("summary", closed=True))
    assert document["withheld"] == 10.0
    assert document["emotion"] is None
    assert not {"attention", "stays", "lift", "fused", "measures", "language", "voice"} & document.keys()


@settings(max_examples=60)
@given(found=reports(), k=st.integers(0, 4), length=st.floats(1.0, 8.0))
def test_what_is_merged_is_exactly_what_was_not_withheld(found: list[Report], k: int, length: float) -> None:
    end = (found[-1].time if found else 0.0) + 5.0
    windows = fill(found, length, end)
    kept = [withhold(w, k) for w in windows]
    for before, after in zip(windows, kept, strict=True):
        assert after == before if after.withheld == 0 else not any(_says(after, part) for part in ABOUT_PEOPLE)
        if k > 1 and 0 < before.faces.together < k:
            assert after.withheld == before.seconds
    whole = reduce(merge, kept)
    open_ones = [w for w in kept if not w.withheld]
    weight = sum(w.emotion.weight for w in open_ones)
    assert whole.emotion.weight == pytest.approx(weight)
    assert whole.stays.count == sum(w.stays.count for w in open_ones)
    assert whole.withheld == pytest.approx(sum(w.seconds for w in kept if w.withheld))


@given(found=reports(), k=st.integers(2, 5), length=st.floats(1.0, 8.0), context=st.sampled_from(["home", "public"]))
def test_only_allowed_fields_are_published(found: list[Report], k: int, length: float, context: str) -> None:
    """The rule as a subscriber sees it, for any stream of reports, any settings and any way of merging."""
    privacy = Settings(privacy={"context": context, "min_people": k}).privacy
    clock, told = ManualClock(), list[Summary]()
    summariser = Summariser(clock, length, told.append, lambda *_: None, min_people=privacy.min_people)
    for report in found:
        clock.advance(max(0.0, report.time - clock.monotonic()))
        summariser.accept(report)
    summariser.flush()
    few = [s for s in told if s.window.faces.together < k]
    for one in [*few, *([reduce(merge_summaries, few)] if few else [])]:
        document = summary_document(one, "kiosk-1", "b", 1)
        assert document.keys() <= TOLD_OF_FEW
        assert document["emotion"] is None
        assert document.get("trend", {}).keys() <= {"people"}
        assert set(document["quality"]["flags"]) <= QUALITY_FLAGS


def test_fields_about_people_are_not_allowed() -> None:
    """A field added to a window is withheld by itself; the property tests above cover it without a change."""
    assert {"emotion", "attention", "stays", "fused", "measures", "usual"} <= set(ABOUT_PEOPLE)


@pytest.mark.parametrize(("sums", "allowed"), [(FaceSums, ALLOWED_FACES), (StreamSums, ALLOWED_STREAM)])
def test_each_field_of_the_sums_that_are_always_published_is_allowed(sums: type, allowed: frozenset[str]) -> None:
    """A withheld one would be published as 0, which is a statement: put it into a part of its own instead."""
    assert {field.name for field in fields(sums)} == allowed


def test_a_flag_of_a_plugin_may_be_about_a_person() -> None:
    window = fill([replace(look(1.0, "a"), flags=frozenset({"blurred", "smoker"}))], 10, 10)[0]
    assert withhold(window, 2).stream.flags == {"blurred"}
    assert withhold(window, 1).stream.flags == {"blurred", "smoker"}


def test_the_flags_of_our_own_analyzers_are_about_streams() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (48, 64), dtype=np.uint8)
    camera = judge(measure(picture), CameraQualitySettings())
    microphone = MicrophoneQuality(MicrophoneQualitySettings())
    second = AudioBlock(rng.normal(0, 0.1, AUDIO_RATE).astype(np.float32), 0.0)
    told = [name for found in microphone.analyze(second) for name in found.values]  # type: ignore[union-attr]
    assert {*camera, *told} <= QUALITY_FLAGS
    assert len(told) >= 3


def test_measures_of_an_empty_room_are_withheld_too() -> None:
    """Whoever was missed by the detector may be what a measure is about."""
    window = fill([replace(look(1.0), observations=(Observation("scene", {"heat": 36.9}, 1.0),))], 10, 10)[0]
    assert withhold(window, 2).measures == {}
    assert withhold(window, 2).withheld == 10
    assert withhold(fill([look(1.0)], 10, 10)[0], 2).withheld == 0


def _says(window: Window, part: str) -> bool:
    return bool(getattr(window, part) != getattr(Window(0, 1), part))


def test_a_roll_up_merges_the_published_windows() -> None:
    bench = Bench(2)
    for _ in range(3):
        for people, expression in (("a", "sadness"), ("ab", "happiness")):
            bench.run(9.5, people, expression)
            bench.run(0.5, "", "neutral")  # the look on the border belongs to the next window
    roll = RollUp()
    (minute,) = [rolled.summary for s in bench.summaries for rolled in roll.add(s)]
    assert emotions([minute]) == ["happiness"]
    assert minute.window.emotion.p[3] == reduce(merge_summaries, bench.summaries).window.emotion.p[3]
    assert minute.window.withheld == 30
