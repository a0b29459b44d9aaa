"""Threads that fail are started again within a budget; stale ones are named; all end in order and in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edge_agent.analysis.lanes import VisionLane
from edge_agent.analysis.pacing import Bounds
from edge_agent.domain.clock import ManualClock, SystemClock
from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import Observation
from edge_agent.domain.retry import Budget
from edge_agent.plugin import Kind, SceneAnalyzer
from edge_agent.runtime.lifecycle import Stop
from edge_agent.runtime.supervisor import Beat, Component, Supervisor
from tests.unit.analysis.lanes import active, picture

QUICK = Budget(restarts=3, window=60.0, first=0.001, longest=0.004)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def wait_for_stop(beat: Beat, stop: Stop) -> None:
    stop.wait(60)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def supervisor(clock: ManualClock, stop: Stop) -> Iterator[Supervisor]:
    supervisor = Supervisor(clock, stop, QUICK)
    yield supervisor
    supervisor.stop()


# ---------------------------------------------------------------- restarts


@pytest.mark.parametrize(
    ("recent", "pause"), [(1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 10.0), (7, 10.0), (8, None), (99, None)]
)
def test_pauses_double_up_to_the_longest_and_then_it_gives_up(recent: int, pause: float | None) -> None:
    assert Budget(restarts=7, first=0.5, longest=10.0).pause(recent) == pause


@pytest.mark.parametrize("failure", [ValueError("lens cap"), SystemExit(3), MemoryError()])
def test_a_failing_component_is_started_again(supervisor: Supervisor, stop: Stop, failure: BaseException) -> None:
    starts: list[int] = []

    def fails_twice(beat: Beat, own: Stop) -> None:
        starts.append(1)
        if len(starts) <= 2:
            raise failure
        own.wait(60)

    supervisor.start([Component("camera", fails_twice)])
    eventually(lambda: len(starts) == 3)
    (health,) = supervisor.health()
    assert (health.name, health.alive, health.restarts) == ("camera", True, 2)
    assert health.last_error == f"{type(failure).__name__}: {failure}"
    assert not stop.requested


def test_a_component_that_fails_too_often_stops_the_agent(supervisor: Supervisor, stop: Stop) -> None:
    starts: list[int] = []

    def fails(beat: Beat, own: Stop) -> None:
        starts.append(1)
        raise ValueError("lens cap")

    supervisor.start([Component("camera", fails)])
    assert stop.wait(30)
    assert stop.reason == "camera failed too often: ValueError: lens cap"
    assert len(starts) == 1 + QUICK.restarts
    eventually(lambda: supervisor.finished(["camera"]))
    assert not supervisor.health()[0].alive


def test_what_was_raised_on_purpose_is_one_line_said_once(
    supervisor: Supervisor, stop: Stop, caplog: pytest.LogCaptureFixture
) -> None:
    """A film that is missing: no traceback at each of the attempts, and the reason at the end."""

    def fails(beat: Beat, own: Stop) -> None:
        raise MediaError("/srv/kiosk.mp4: no such file")

    with caplog.at_level("INFO"):
        supervisor.start([Component("camera", fails)])
        assert stop.wait(30)
    assert [record.getMessage() for record in caplog.records] == ["camera: /srv/kiosk.mp4: no such file"]
    assert not any(record.exc_info for record in caplog.records)
    assert stop.reason == "camera failed too often: /srv/kiosk.mp4: no such file"


def test_failures_long_ago_do_not_count(clock: ManualClock, stop: Stop, supervisor: Supervisor) -> None:
    starts: list[int] = []

    def fails_rarely(beat: Beat, own: Stop) -> None:
        starts.append(1)
        if len(starts) <= 3 * QUICK.restarts:
            clock.advance(QUICK.window / 2)
            raise ValueError("cable")
        own.wait(60)

    supervisor.start([Component("camera", fails_rarely)])
    eventually(lambda: len(starts) > 3 * QUICK.restarts)
    assert not stop.requested


def test_one_failure_leaves_the_others_alone(supervisor: Supervisor) -> None:
    starts: list[str] = []

    def steady(beat: Beat, own: Stop) -> None:
        starts.append("steady")
        own.wait(60)

    def fails_once(beat: Beat, own: Stop) -> None:
        starts.append("shaky")
        if starts.count("shaky") == 1:
            raise ValueError
        own.wait(60)

    supervisor.start([Component("steady", steady), Component("shaky", fails_once)])
    eventually(lambda: starts.count("shaky") == 2)
    assert starts.count("steady") == 1


def test_a_stop_during_the_pause_is_obeyed_at_once(clock: ManualClock, stop: Stop) -> None:
    supervisor = Supervisor(clock, stop, Budget(first=60.0, longest=60.0))
    failed = threading.Event()

    def fails(beat: Beat, own: Stop) -> None:
        failed.set()
        raise ValueError

    supervisor.start([Component("camera", fails)])
    assert failed.wait(30)
    began = time.monotonic()
    assert supervisor.stop() == []
    assert time.monotonic() - began < 30


def test_a_component_that_fails_while_stopping_is_not_started_again(supervisor: Supervisor) -> None:
    starts: list[int] = []

    def fails_at_the_end(beat: Beat, own: Stop) -> None:
        starts.append(1)
        own.wait(60)
        raise OSError("device gone")

    supervisor.start([Component("camera", fails_at_the_end)])
    eventually(lambda: bool(starts))
    assert supervisor.stop() == []
    assert starts == [1]


# ---------------------------------------------------------------- heartbeats


def test_a_component_without_heartbeat_is_stale_until_the_next_beat(supervisor: Supervisor, clock: ManualClock) -> None:
    """Row 29: a component without a heartbeat is stale until it has one again."""
    beat_now, beaten = threading.Event(), threading.Event()

    def beats_when_told(beat: Beat, own: Stop) -> None:
        while not own.requested:
            if beat_now.wait(0.002):
                beat_now.clear()
                beat()
                beaten.set()

    started = threading.Event()

    def silent(beat: Beat, own: Stop) -> None:
        started.set()
        own.wait(60)

    supervisor.start([Component("lane", beats_when_told, stale_after=5), Component("slow", silent, stale_after=30)])
    assert started.wait(30)
    eventually(lambda: supervisor.health()[0].beat_age == 0)
    clock.advance(5.0)
    assert supervisor.stale() == []
    clock.advance(0.1)
    assert supervisor.stale() == ["lane"]
    assert supervisor.health()[0].beat_age == pytest.approx(5.1)
    beat_now.set()
    assert beaten.wait(30)
    assert supervisor.stale() == []
    clock.advance(30.0)
    assert supervisor.stale() == ["lane", "slow"]


def test_a_machine_whose_steps_take_long_is_given_time_and_a_hang_is_found_all_the_same(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    """What hangs is several times slower than all before, and slower than ``stale_after``."""
    step, done = threading.Event(), threading.Event()

    def works(beat: Beat, own: Stop) -> None:
        while not own.requested:
            if step.wait(0.002):
                step.clear()
                beat()
                done.set()

    supervisor.start([Component("vision", works, stale_after=30, expected=12)])

    def after(seconds: float, *, then_beat: bool = False) -> list[str]:
        clock.advance(seconds)
        found = supervisor.stale()
        if then_beat:
            done.clear()
            step.set()
            assert done.wait(30)
        return found

    eventually(lambda: supervisor.health()[0].beat_age == 0)
    assert after(59, then_beat=True) == []  # five times what the self-check let expect
    assert after(250, then_beat=True) == []  # five times what it took
    assert after(299) == []
    assert after(2) == ["vision"]  # but never longer than that


def test_on_a_fast_machine_a_hang_is_found_as_soon_as_ever(supervisor: Supervisor, clock: ManualClock) -> None:
    started = threading.Event()

    def hangs(beat: Beat, own: Stop) -> None:
        started.set()
        own.wait(60)

    supervisor.start([Component("vision", hangs, stale_after=30, expected=0.2)])
    assert started.wait(30)
    clock.advance(30.5)
    assert supervisor.stale() == ["vision"]


def test_a_lane_of_slow_analyzers_beats_between_them_on_the_real_clock(stop: Stop) -> None:
    """Four answers of 0.2 s in each look: together longer than ``stale_after``, each of them shorter."""
    clock = SystemClock(lambda: True)
    supervisor, looks = Supervisor(clock, stop, QUICK), []

    class Slow(SceneAnalyzer):
        def analyze(self, frame: Frame) -> list[Observation]:
            time.sleep(0.2)
            return []

    lane = VisionLane([active(Kind.SCENE, Slow(), f"slow{n}") for n in range(4)], Bounds.at(100))

    def look(beat: Beat, own: Stop) -> None:
        lane.on_step = beat
        while not own.requested:
            beat()
            looks.append(lane.offer(picture(clock.monotonic(), [])))

    supervisor.start([Component("vision", look, stale_after=0.5)])
    stale = []
    while len(looks) < 3:
        stale += supervisor.stale()
        time.sleep(0.05)
    supervisor.stop()
    assert stale == []


def test_a_component_that_waits_to_be_started_again_is_not_stale(clock: ManualClock, stop: Stop) -> None:
    supervisor = Supervisor(clock, stop, Budget(first=60.0, longest=60.0))

    def fails(beat: Beat, own: Stop) -> None:
        raise ValueError

    supervisor.start([Component("camera", fails, stale_after=5)])
    eventually(lambda: supervisor.health()[0].restarts == 1)
    clock.advance(1000.0)
    assert supervisor.stale() == []
    supervisor.stop()


def test_work_that_is_over_is_finished_and_not_stale(supervisor: Supervisor, clock: ManualClock) -> None:
    supervisor.start([Component("replay", lambda beat, own: None), Component("lane", wait_for_stop)])
    eventually(lambda: supervisor.finished(["replay"]))
    assert not supervisor.finished(["replay", "lane"])
    clock.advance(1000.0)
    assert supervisor.stale() == ["lane"]
    assert [h.alive for h in supervisor.health()] == [False, True]


# ---------------------------------------------------------------- the end


def test_a_phase_ends_before_the_next_is_asked(supervisor: Supervisor) -> None:
    order: list[str] = []

    def component(name: str, phase: int) -> Component:
        def run(beat: Beat, own: Stop) -> None:
            own.wait(60)
            order.append(f"{name} ended")

        return Component(name, run, wake=lambda: order.append(f"{name} woken"), phase=phase)

    supervisor.start([component("summariser", 2), component("lane", 1), component("camera", 0)])
    assert supervisor.stop() == []
    assert [line for line in order if line.endswith("ended")] == ["camera ended", "lane ended", "summariser ended"]
    assert order.index("camera ended") < order.index("lane woken")
    assert order.index("lane ended") < order.index("summariser woken")


def test_waking_ends_a_blocked_component(supervisor: Supervisor) -> None:
    released = threading.Event()
    component = Component("camera", lambda beat, own: released.wait(60) and None, wake=released.set)
    supervisor.start([component])
    assert supervisor.stop() == []


def test_a_component_that_does_not_stop_is_named_and_delays_no_other(supervisor: Supervisor, caplog) -> None:
    release, ended = threading.Event(), threading.Event()

    def flush(beat: Beat, own: Stop) -> None:
        own.wait(60)
        ended.set()

    supervisor.start(
        [
            Component("summariser", flush),
            Component("camera", lambda beat, own: release.wait(60) and None, stop_within=0.05),
        ]
    )
    try:
        assert supervisor.stop() == ["camera"]
        assert ended.is_set()
        assert "camera did not stop within" in caplog.text
    finally:
        release.set()


def test_components_of_a_phase_are_stopped_at_once_and_those_of_the_next_after_them(supervisor: Supervisor) -> None:
    """Two that need each other's stop to end: one after the other, the first would use up its time."""
    asked = {"camera": threading.Event(), "vision": threading.Event()}
    order: list[str] = []

    def end_after(name: str, other: str) -> None:
        asked[other].wait(60)
        order.append(name)

    def flush(beat: Beat, own: Stop) -> None:
        own.wait(60)
        order.append("summariser")

    busy: list[list[str]] = []
    supervisor.start(
        [
            Component("summariser", flush, phase=1),
            Component("vision", lambda beat, own: end_after("vision", "camera"), asked["vision"].set, stop_within=60.0),
            Component("camera", lambda beat, own: end_after("camera", "vision"), asked["camera"].set, stop_within=60.0),
        ]
    )
    assert supervisor.stop(lambda: busy.append(list(order))) == []
    assert sorted(order[:2]) == ["camera", "vision"]
    assert order[2:] == ["summariser"]
    assert busy[0] == [], "told before anything was stopped"
    assert sorted(busy[1]) == ["camera", "vision"]


@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_a_wake_that_fails_does_not_hold_up_the_rest(supervisor: Supervisor, how: str) -> None:
    release, ended = threading.Event(), threading.Event()

    def wake() -> None:
        if how == "raises":
            raise OSError("device gone")
        release.wait(60)

    def flush(beat: Beat, own: Stop) -> None:
        own.wait(60)
        ended.set()

    camera = Component("camera", wait_for_stop, wake=wake, stop_within=0.3)
    supervisor.start([Component("summariser", flush), camera])
    began = time.monotonic()
    try:
        assert supervisor.stop() == []
        assert ended.is_set()
        assert time.monotonic() - began < 30
    finally:
        release.set()


def test_stopping_twice_and_stopping_nothing_are_fine(supervisor: Supervisor) -> None:
    supervisor.start([Component("lane", wait_for_stop)])
    assert supervisor.stop() == supervisor.stop() == []
    assert supervisor.health() == []


def test_a_component_gets_its_own_stop_flag(supervisor: Supervisor, stop: Stop) -> None:
    """The agent's stop only asks the main thread; it then ends the components one after the other."""
    running = threading.Event()

    def run(beat: Beat, own: Stop) -> None:
        assert own is not stop
        running.set()
        own.wait(60)

    supervisor.start([Component("lane", run)])
    assert running.wait(30)
    stop.request("SIGTERM")
    assert supervisor.health()[0].alive
