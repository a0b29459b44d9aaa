"""Windows and events stamped with wall time, through jumps of the clock (FAULTS 28) and to the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from edge_agent.domain.clock import ManualClock
from edge_agent.domain.event import BURST, Event
from edge_agent.domain.observation import AudioReport
from edge_agent.domain.summary import ClockState, Presence, Summary
from edge_agent.summary.summariser import Summariser
from tests.unit.summary.streams import look

NOON = 1_750_000_000.0
YEAR, DAY = 365.25 * 86400, 86400.0


@dataclass
class Bench:
    """A summariser on a clock that is moved by hand, and everything it said."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(wall=NOON, monotonic=500.0))
    summaries: list[Summary] = field(default_factory=list)
    events: list[tuple[str, float, ClockState]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.summariser = Summariser(self.clock, 10.0, self.summaries.append, self._on_event)

    def _on_event(self, event: Event, start: float, clock: ClockState) -> None:
        self.events.append((event.label, start, clock))

    def run(self, seconds: float, *tracks: str) -> None:
        """Let time pass with a look every half second."""
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            self.summariser.accept(look(self.clock.monotonic(), *tracks))
            self.summariser.tick()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_windows_are_stamped_with_the_time_at_which_they_began(bench: Bench) -> None:
    bench.run(25)
    assert [(s.start, s.seconds, s.clock) for s in bench.summaries] == [
        (NOON, 10, "synced"),
        (NOON + 10, 10, "synced"),
    ]
    assert bench.summariser.due == 530.0


@pytest.mark.parametrize("jump", [10 * YEAR, -DAY])
def test_a_jump_of_the_wall_clock_moves_the_stamp_never_the_length(bench: Bench, jump: float) -> None:
    """Row 28: ten years forward, or a day back, while a window is open: windows keep their lengths and are marked."""
    bench.run(14, "a")
    bench.clock.set_wall(bench.clock.wall() + jump, synced=False)
    bench.run(17, "a")
    assert [s.seconds for s in bench.summaries] == [10, 10, 10]
    assert [s.start for s in bench.summaries] == pytest.approx([NOON, NOON + 10 + jump, NOON + 20 + jump])
    assert [s.clock for s in bench.summaries] == ["synced", "unsynced", "unsynced"]
    assert [s.window.faces.person_seconds for s in bench.summaries] == pytest.approx([9.5, 10, 10])
    assert sum(s.window.faces.arrived for s in bench.summaries) == 1


def test_before_the_first_time_sync_windows_are_marked_and_right_afterwards(bench: Bench) -> None:
    """Row 28: a start in 1970: marked until the time is known."""
    bench.clock.set_wall(0.0, synced=False)
    bench.run(11)
    bench.clock.set_wall(NOON, synced=True)
    bench.run(10)
    assert [(s.start, s.clock) for s in bench.summaries] == [(pytest.approx(0), "unsynced"), (NOON - 1, "synced")]


def test_an_event_is_passed_on_at_once_with_the_time_at_which_it_began(bench: Bench) -> None:
    bench.clock.advance(3)
    cough = Event(BURST, "cough", 0.9, start=501.5, seconds=0.5)
    bench.summariser.accept(AudioReport(502, 1, 0, events=(cough,)))
    assert bench.events == [("cough", NOON + 1.5, "synced")]
    assert bench.summaries == []
    bench.clock.set_wall(NOON - DAY, synced=False)
    bench.summariser.accept(AudioReport(502, 1, 0, events=(cough,)))
    assert bench.events[1] == ("cough", NOON - DAY - 1.5, "unsynced")


@pytest.mark.parametrize("kind", ["vision", "audio"])
def test_a_report_closes_the_windows_that_ended_before_it(bench: Bench, kind: str) -> None:
    """What is heard or seen after the boundary counts in the new window, though nobody called tick."""
    bench.clock.advance(11)
    cough = Event(BURST, "cough", 0.9, start=510.5, seconds=0.2)
    late = AudioReport(510.5, 0.5, 0, events=(cough,))
    bench.summariser.accept(late if kind == "audio" else look(510.5, "a", events=(cough,)))
    assert [s.window.bursts for s in bench.summaries] == [{}]
    bench.clock.advance(9)
    bench.summariser.tick()
    assert list(bench.summaries[1].window.bursts) == ["cough"]


def test_a_report_from_the_future_is_taken_for_one_of_now(bench: Bench) -> None:
    """A source that gives wall time instead of monotonic time must not make windows for fifty years."""
    bench.clock.advance(5)
    bench.summariser.accept(look(NOON, "a"))
    assert bench.summaries == []
    bench.run(6)
    (first,) = bench.summaries
    assert (first.seconds, first.window.faces.person_seconds) == (10, pytest.approx(0.5))


def test_a_pause_of_the_summariser_leaves_no_hole(bench: Bench) -> None:
    bench.run(3)
    bench.clock.advance(60)
    bench.summariser.tick()
    assert [s.start - NOON for s in bench.summaries] == [0, 10, 20, 30, 40, 50]
    assert [s.window.stream.analysed for s in bench.summaries] == [6, 0, 0, 0, 0, 0]


def test_stopping_gives_the_open_window_as_far_as_it_got(bench: Bench) -> None:
    bench.run(13, "a")
    bench.summariser.flush()
    assert [(s.start - NOON, s.seconds) for s in bench.summaries] == [(0, 10), (10, 3)]
    bench.summariser.flush()
    assert len(bench.summaries) == 2


def test_stopping_on_the_boundary_gives_no_empty_window(bench: Bench) -> None:
    bench.run(10)
    bench.summariser.flush()
    assert [s.seconds for s in bench.summaries] == [10]


def test_presence_is_published_at_once_and_only_on_change() -> None:
    """C5: not with the end of the window."""
    told: list[Presence] = []
    clock = ManualClock(monotonic=100.0)
    summariser = Summariser(clock, 10.0, lambda _s: None, lambda *_e: None, on_presence=told.append)
    for tracks in ((), ("a",), ("a",), ("a", "b"), ()):
        clock.advance(0.5)
        summariser.accept(look(clock.monotonic(), *tracks))
        summariser.tick()
    summariser.suspend("paused", "paused")
    assert told == [Presence(0), Presence(1), Presence(2), Presence(0), Presence(None, "paused")]


def test_with_min_people_presence_reveals_no_departure_before_the_window() -> None:
    """When somebody alone left would tell how long that person stayed."""
    told: list[tuple[float, int | None]] = []
    clock = ManualClock(monotonic=0.0)
    summariser = Summariser(
        clock,
        10.0,
        lambda _s: None,
        lambda *_e: None,
        min_people=2,
        on_presence=lambda p: told.append((clock.monotonic(), p.count)),
    )
    for _ in range(60):
        clock.advance(0.5)
        now = clock.monotonic()
        summariser.accept(look(now, *(("a",) if 3 <= now < 6 else ())))
        summariser.tick()
    assert told == [(0.5, 0), (3.0, 1), (20.0, 0)]
