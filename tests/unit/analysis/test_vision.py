"""The lane carries out what pacing decides: who is searched for, who is read, what is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.analysis.lanes import VisionLane
from edge_agent.analysis.pacing import RECHECK, Bounds, Governor, Load
from edge_agent.analysis.sound import AudioLane
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.commands import Profile
from edge_agent.domain.event import ARRIVAL, DEPARTURE, PERSON, Event
from edge_agent.domain.face import Face, TrackedFace
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.observation import ATTENTION, EMOTION, UNSEARCHED, Observation, VisionReport
from edge_agent.plugin import AudioAnalyzer, FaceAnalyzer, Kind, SceneAnalyzer
from edge_agent.summary.window import WindowBuilder
from tests.unit.analysis.faces import face
from tests.unit.analysis.lanes import FPS, Detector, Reader, Watch, active, attention, picture

STANDARD = Bounds.of("standard")
SOMEBODY = face(0.5, 0.5, size=0.3)
Script = Callable[[float], Sequence[Face]]


def visit(begin: float, end: float) -> Script:
    """One person in view from ``begin`` to ``end``."""
    return lambda t: [SOMEBODY] if begin <= t < end else []


def watch(
    lane: VisionLane, script: Script, seconds: float, pattern: Callable[[float], int] = int
) -> list[VisionReport]:
    """Show ``seconds`` of what ``script`` says; each new ``pattern`` number makes the face look different."""
    reports = []
    for tick in range(round(seconds * FPS)):
        t = tick / FPS
        report = lane.offer(picture(t, script(t), pattern(t)))
        if report is not None:
            reports.append(report)
    return reports


def constant(_time: float) -> int:
    return 0


@pytest.fixture
def empty() -> Script:
    return lambda _t: []


def test_an_empty_scene_is_looked_at_and_hardly_searched(empty: Script) -> None:
    detector = Detector(empty)
    reports = watch(VisionLane([active(Kind.DETECTOR, detector, "face")], STANDARD), empty, 60)
    assert len(reports) >= 60 * STANDARD.idle * 0.9
    assert len(detector.asked) <= 60 / RECHECK + 10
    assert max(b - a for a, b in zip(detector.asked, detector.asked[1:], strict=False)) <= RECHECK + 1
    assert sum(r.captured for r in reports) == pytest.approx(60 * FPS, abs=FPS)


@pytest.mark.parametrize("begin", [20.0, 21.13, 22.4, 24.9])
def test_an_arrival_is_detected_within_a_second_and_published_once(begin: float) -> None:
    script = visit(begin, begin + 20)
    lane = VisionLane([active(Kind.DETECTOR, Detector(script), "face")], STANDARD)
    reports = watch(lane, script, begin + 30)
    first = next(r for r in reports if r.faces)
    assert begin <= first.time <= begin + 1
    events = [e for r in reports for e in r.events]
    assert [(e.kind, e.label) for e in events] == [(ARRIVAL, PERSON), (DEPARTURE, PERSON)]
    assert events[0].start == pytest.approx(begin, abs=1)
    assert events[1].start == events[0].start
    assert events[1].seconds == pytest.approx(20, abs=1.5)


def test_a_face_that_looks_the_same_is_read_seldom_and_answered_always() -> None:
    script, reader = visit(5, 65), Reader()
    analyzers = [active(Kind.DETECTOR, Detector(script), "face"), active(Kind.FACE, reader, "emotion")]
    reports = watch(VisionLane(analyzers, STANDARD), script, 65, constant)
    told = [o for r in reports for o in r.observations]
    assert 15 <= len(reader.asked) <= 30
    assert len([o for o in told if not o.recalled]) == len(reader.asked)
    assert len(told) == sum(bool(r.faces) for r in reports)
    assert all(sum(o.values.values()) == pytest.approx(1) for o in told)


def test_a_face_that_keeps_changing_is_read_more() -> None:
    script, steady, lively = visit(5, 65), Reader(), Reader(fickle=True)
    for reader, pattern in ((steady, constant), (lively, lambda t: int(t * 3))):
        analyzers = [active(Kind.DETECTOR, Detector(script), "face"), active(Kind.FACE, reader, "emotion")]
        watch(VisionLane(analyzers, STANDARD), script, 65, pattern)
    assert len(lively.asked) > 1.8 * len(steady.asked)


def test_movement_that_changes_no_reading_is_read_less_than_movement_that_does() -> None:
    script, steady, fickle = visit(5, 65), Reader(), Reader(fickle=True)
    for reader in (steady, fickle):
        analyzers = [active(Kind.DETECTOR, Detector(script), "face"), active(Kind.FACE, reader, "emotion")]
        watch(VisionLane(analyzers, STANDARD), script, 65, lambda t: int(t * 3))
    assert len(fickle.asked) > 1.3 * len(steady.asked)


def test_other_face_analyzers_are_asked_about_everyone_at_every_look() -> None:
    script, reader = visit(5, 25), attention()
    analyzers = [active(Kind.DETECTOR, Detector(script), "face"), active(Kind.FACE, reader, "attention")]
    reports = watch(VisionLane(analyzers, STANDARD), script, 25, constant)
    assert len(reader.asked) == sum(len(r.faces) for r in reports) > 20
    assert {o.name for r in reports for o in r.observations} == {ATTENTION}


def test_an_analyzer_gets_what_those_it_uses_observed_of_the_same_face_in_the_same_picture() -> None:
    class Eyes(FaceAnalyzer):
        def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
            return [Observation("eyes", {"at": frame.time}, frame.time, faces[0].track)]

    class User(FaceAnalyzer):
        told: list[tuple[float, dict[str, float]]] = []  # noqa: RUF012

        def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
            self.told.append((frame.time, dict(faces[0].observed.get("eyes", {}))))
            return []

    user, eyes = active(Kind.FACE, User(), "user"), active(Kind.FACE, Eyes(), "gaze")
    user.spec = replace(user.spec, uses=("gaze",))
    script = visit(0, 5)
    watch(VisionLane([active(Kind.DETECTOR, Detector(script), "face"), user, eyes], STANDARD), script, 5)
    assert User.told
    assert all(found == {"at": time} for time, found in User.told)


def test_a_fixed_rate_searches_and_reads_at_every_look() -> None:
    script, detector, reader = visit(0, 60), Detector(visit(0, 60)), Reader()
    analyzers = [active(Kind.DETECTOR, detector, "face"), active(Kind.FACE, reader, "emotion")]
    reports = watch(VisionLane(analyzers, Bounds.at(5)), script, 10, constant)
    assert len(reports) == len(detector.asked) == 50
    assert len(reader.asked) == sum(len(r.faces) for r in reports) == 49
    assert not any(o.recalled for r in reports for o in r.observations)


@pytest.mark.parametrize("flag", ["dark", "covered", "frozen"])
def test_a_blind_camera_reports_no_people(flag: str) -> None:
    """Row 23: while a camera is dark, covered or frozen nobody is searched for and no emotion reported; afterwards
    they are.
    """
    script, detector, reader = visit(0, 60), Detector(visit(0, 60)), Reader()
    scene = Watch(lambda t: [flag] if 10 <= t < 20 else [])
    analyzers = [
        active(Kind.DETECTOR, detector, "face"),
        active(Kind.FACE, reader, "emotion"),
        active(Kind.SCENE, scene, "quality", max_fps=2.0),
    ]
    lane = VisionLane(analyzers, STANDARD)
    reports = watch(lane, script, 30)
    blind = [r for r in reports if flag in r.flags]
    assert blind[0].time == pytest.approx(10, abs=0.6)
    assert blind[-1].time == pytest.approx(20, abs=0.6)
    assert not any(r.faces or EMOTION in {o.name for o in r.observations} for r in blind)
    assert not any(blind[0].time <= t <= blind[-1].time for t in detector.asked)
    assert any(r.faces for r in reports if r.time > 21)
    assert not any(r.flags for r in reports if r not in blind)


def test_flags_are_no_observations_and_others_pass(empty: Script) -> None:
    scene = Watch(lambda _t: ["blurred"])
    lane = VisionLane([active(Kind.DETECTOR, Detector(empty), "face"), active(Kind.SCENE, scene, "q")], STANDARD)
    reports = watch(lane, empty, 3)
    assert {o.name for r in reports for o in r.observations} == {"scene"}
    assert all(r.flags == {"blurred"} for r in reports)


def test_a_crashed_watch_raises_no_flags_any_more(empty: Script) -> None:
    def script(t: float) -> Sequence[str]:
        if t > 5:
            raise RuntimeError("broken")
        return ["dark"]

    lane = VisionLane([active(Kind.DETECTOR, Detector(empty), "f"), active(Kind.SCENE, Watch(script), "q")], STANDARD)
    reports = watch(lane, empty, 12)
    assert reports[0].flags == {"dark"}
    assert not reports[-1].flags


def test_a_crashed_detector_makes_the_number_of_people_unknown() -> None:
    """Row 26: the face detector raises: flagged, the time does not count as watched, scenes are still looked at."""

    def script(t: float) -> Sequence[Face]:
        if t > 5:
            raise RuntimeError("broken")
        return [SOMEBODY]

    analyzers = [active(Kind.DETECTOR, Detector(script), "f"), active(Kind.SCENE, Watch(lambda _t: []), "q")]
    lane = VisionLane(analyzers, STANDARD)
    reports = watch(lane, visit(0, 60), 12)
    after = [r for r in reports if r.time > 6]
    assert len(after) > 3
    assert all(r.flags == {UNSEARCHED} and not r.faces and r.observations for r in after)
    assert not any(r.flags for r in reports if r.time < 5)
    builder = WindowBuilder(0.0, 12.0)
    for report in reports:
        builder.vision(report)
    window = builder.flush(12.0)
    assert window
    assert window.stream.video_seconds == pytest.approx(5.0, abs=1.0)
    assert window.faces.person_seconds == pytest.approx(window.faces.seconds, abs=1.0)


def test_without_a_detector_scenes_are_still_watched(empty: Script) -> None:
    lane = VisionLane([active(Kind.SCENE, Watch(lambda _t: []), "quality")], STANDARD)
    assert lane.wanted
    assert all(r.observations for r in watch(lane, empty, 3))
    assert not VisionLane([], STANDARD).wanted


def test_heat_slows_the_lane_to_its_lower_bound_with_the_reason() -> None:
    script = visit(0, 60)
    governor = Governor(lambda: Load(celsius=90.0), every=1.0)
    lane = VisionLane([active(Kind.DETECTOR, Detector(script), "face")], STANDARD, governor=governor)
    reports = watch(lane, script, 30)
    late = [r.time for r in reports if r.time > 15]
    assert (len(late) - 1) / (late[-1] - late[0]) == pytest.approx(STANDARD.idle, rel=0.1)
    assert lane.why is not None
    assert "90 °C" in lane.why.limit


@pytest.mark.parametrize("most", [1.0, 2.0])
def test_a_rate_below_the_profiles_leaves_an_empty_room_in_peace(empty: Script, most: float) -> None:
    detector, hot = Detector(empty), Governor(lambda: Load(celsius=90.0))
    lane = VisionLane([active(Kind.DETECTOR, detector, "face")], Bounds.of("standard", max_fps=most), governor=hot)
    watch(lane, empty, 60)
    assert len(detector.asked) <= 60 / RECHECK + 10
    assert lane.why is not None
    assert "90 °C" in lane.why.limit
    assert lane.why.wait > 1.2 / most


def flicker(rng: np.random.Generator) -> Script:
    """A face that is detected every other time."""
    return lambda t: [face(0.3 + 0.02 * (t % 20), size=0.3)] if rng.random() < 0.5 else []


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.5, 1.0, 2.5, 3.0, 7.0]),
    st.sampled_from(["monitor", "standard", "detail"]),
)
def test_the_operators_rate_holds_whatever_happens(seed: int, most: float, profile: Profile) -> None:
    """Faces that flicker, frames that jitter or come in heaps, streams that break off, rates that are set anew."""
    rng = np.random.default_rng(seed)
    script = flicker(rng)
    bounds = Bounds.of(profile, max_fps=most)
    lane, now, looks = VisionLane([active(Kind.DETECTOR, Detector(script), "face")], bounds), 0.0, []
    for _ in range(200):
        now += float(rng.choice([0.001, 1 / 30, 1 / 15, 0.4], p=[0.2, 0.4, 0.35, 0.05])) * float(rng.uniform(0.5, 1.5))
        if rng.random() < 0.05:
            rng.choice([lane.reset, lambda: lane.repace(bounds)])()  # type: ignore[arg-type]
        if lane.offer(picture(now, script(now), seed=int(now))) is not None:
            looks.append(now)
    assert all(sum(begin <= t < begin + 1 for t in looks) <= most + 1 for begin in looks)


def test_the_operators_rate_holds_on_the_real_clock() -> None:
    """As the daemon works: the latest frame whenever the lane is free, each look taking a different time."""
    rng, clock = np.random.default_rng(0), SystemClock(lambda: True)
    script = flicker(rng)
    lane = VisionLane([active(Kind.DETECTOR, Detector(script), "face")], Bounds.of("detail", max_fps=5))
    looks, begin = [], clock.monotonic()
    while (now := clock.monotonic()) < begin + 3.0:
        if lane.offer(picture(now, script(now))) is not None:
            looks.append(now)
        time.sleep(float(rng.exponential(0.02)))
    assert len(looks) >= 6
    assert all(sum(first <= t < first + 1 for t in looks) <= 6 for first in looks)


def test_every_look_can_be_explained() -> None:
    script = visit(0, 60)
    analyzers = [active(Kind.DETECTOR, Detector(script), "face"), active(Kind.FACE, Reader(), "emotion")]
    lane = VisionLane(analyzers, STANDARD)
    assert lane.why is None
    reports = watch(lane, script, 10)
    why = lane.why
    assert why is not None
    assert why.time == reports[-1].time
    assert why.search.reason
    assert set(why.reading) == {f.track for f in reports[-1].faces}
    assert all(decision.reason for decision in why.reading.values())
    assert why.wait == pytest.approx(1 / STANDARD.busy)


def test_new_bounds_take_effect_and_people_keep_their_identities() -> None:
    script = visit(0, 60)
    lane = VisionLane([active(Kind.DETECTOR, Detector(script), "face")], STANDARD)
    before = watch(lane, script, 10)
    lane.repace(Bounds.at(FPS))
    after = [r for t in range(150, 180) if (r := lane.offer(picture(t / FPS, script(t / FPS)))) is not None]
    assert len(after) == 30
    assert {f.track for r in after for f in r.faces} == {f.track for r in before for f in r.faces}


def test_after_an_interruption_all_tracks_are_new() -> None:
    script = visit(0, 60)
    lane = VisionLane([active(Kind.DETECTOR, Detector(script), "face")], STANDARD)
    before = watch(lane, script, 10)
    lane.reset()
    after = [r for t in range(300, 345) if (r := lane.offer(picture(t / FPS, script(t / FPS)))) is not None]
    assert [e.kind for r in after for e in r.events] == [DEPARTURE, ARRIVAL]
    assert not {f.track for r in after for f in r.faces} & {f.track for r in before for f in r.faces}


def test_lost_frames_are_counted(empty: Script) -> None:
    lane = VisionLane([active(Kind.DETECTOR, Detector(empty), "face")], Bounds.at(FPS))

    def numbered(index: int) -> Frame:
        return Frame(picture(0, []).data, picture(0, []).format, 160, 120, index / FPS, index)

    lane.offer(numbered(0))
    report = lane.offer(numbered(5), overwritten=3)
    assert report is not None
    assert (report.captured, report.dropped) == (4, 1)


def test_frames_that_were_not_wanted_are_captured_and_not_lost(empty: Script) -> None:
    lane = VisionLane([active(Kind.DETECTOR, Detector(empty), "face")], STANDARD)
    first = lane.offer(picture(0.0, ()))
    assert first is not None
    late = replace(picture(2.0, ()), skipped=27)
    assert lane.due <= late.time
    report = lane.offer(late, overwritten=1)
    assert report is not None
    assert (report.captured, report.dropped) == (29, 1), "30 pictures later: 27 unwanted, 1 replaced, 1 lost"
    lane.reset()
    again = lane.offer(replace(picture(9.0, ()), skipped=3))
    assert again is not None
    assert (again.captured, again.dropped) == (4, 0), "another stream, which counts from 0"


def test_changes_of_the_pictures_size_are_counted(empty: Script) -> None:
    lane = VisionLane([active(Kind.DETECTOR, Detector(empty), "face")], Bounds.at(1.0))
    small, large = np.zeros((120, 160, 3), np.uint8), np.zeros((240, 320, 3), np.uint8)
    pictures = [small, small, large, small, small, small, large, large]
    reports = [lane.offer(Frame.from_bgr(image, k / 4, k)) for k, image in enumerate(pictures)]
    assert [r.resized for r in reports if r is not None] == [0, 2]
    last = lane.offer(Frame.from_bgr(large, 2.0, 8))
    assert last is not None
    assert last.resized == 1


def test_without_a_detector_frames_are_flagged() -> None:
    """M2: the face model did not load, and two people were told as nobody, seen all the time."""
    lane = VisionLane([active(Kind.SCENE, Watch(lambda _t: []), "q")], STANDARD)
    builder = WindowBuilder(0.0, 10.0)
    for report in watch(lane, visit(0, 60), 10):
        assert report.flags == {UNSEARCHED}
        builder.vision(report)
    (window,) = builder.advance(10.0)
    assert not window.faces.known
    assert window.unseen["no_detector"] > 9
    assert window.stream.video_seconds == 0


def test_a_departure_during_a_covered_camera_is_published_after_the_next_look() -> None:
    lane = VisionLane(
        [
            active(Kind.DETECTOR, Detector(lambda t: [SOMEBODY] if t < 5 else []), "f"),
            active(Kind.SCENE, Watch(lambda t: ["covered"] if 5 <= t < 40 else []), "q"),
        ],
        STANDARD,
    )
    told = [(r.time, e) for r in watch(lane, visit(0, 5), 50) for e in r.events if e.kind == DEPARTURE]
    assert [e.start + e.seconds for _, e in told] == pytest.approx([5.0], abs=1.0)
    assert told[0][0] == pytest.approx(40.0, abs=1.0)


def test_events_of_picture_analyzers_belong_to_their_look() -> None:
    class Door(SceneAnalyzer):
        def analyze(self, frame: Frame) -> Sequence[Observation | Event]:
            return [Observation("door", {"open": 1.0}, frame.time), Event("door", "opened", 0.9, frame.time, 0.0)]

    class Wave(FaceAnalyzer):
        def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation | Event]:
            return [Event("gesture", "wave", 0.8, frame.time, 0.0) for _ in faces]

    script = visit(0, 60)
    analyzers = [
        active(Kind.DETECTOR, Detector(script), "face"),
        active(Kind.SCENE, Door(), "door"),
        active(Kind.FACE, Wave(), "wave"),
    ]
    last = watch(VisionLane(analyzers, STANDARD), script, 5)[-1]
    assert [(e.kind, e.start) for e in last.events] == [("door", last.time), ("gesture", last.time)]
    assert [o.name for o in last.observations] == ["door"]


def test_sound_that_was_skipped_is_a_gap() -> None:
    lane, heard = AudioLane([active(Kind.AUDIO, Ear(), "ear")]), np.zeros(1_600, np.float32)
    first = lane.offer(AudioBlock(heard, 0.0), after_loss=True)
    assert first.gap == 0.0  # nothing was heard before it
    assert lane.offer(AudioBlock(heard, 0.1)).gap == 0.0
    assert lane.offer(AudioBlock(heard, 3.2), after_loss=True).gap == pytest.approx(3.0)


class Ear(AudioAnalyzer):
    def analyze(self, block: AudioBlock) -> Sequence[Observation | Event]:
        return ()
