"""A laugh and a smile within about a second make one event; nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.domain.clock import ManualClock
from edge_agent.domain.event import BURST, FUSION, Event
from edge_agent.domain.observation import AudioReport
from edge_agent.domain.summary import Summary, estimate_emotion, estimate_window
from edge_agent.summary.context import PAIRS, Fusion, fuse
from edge_agent.summary.summariser import Summariser
from tests.unit.summary.streams import look, reading


def heard(label: str, start: float, score: float = 0.6, seconds: float = 0.8) -> AudioReport:
    """Sound that told of a burst when it ended."""
    return AudioReport(start + seconds, 0.1, 0.0, events=(Event(BURST, label, score, start, seconds),))


@pytest.mark.parametrize("seen", [9.2, 10.3, 11.7])
def test_a_laugh_and_a_smile_about_the_same_time_are_one(seen: float) -> None:
    fusion, found = Fusion(), []
    smile = look(seen, "a", observations=(reading("a", seen, happiness=0.8),))
    for report in sorted([smile, heard("laughter", 10.0)], key=lambda r: r.time):
        found += fusion.accept(report)
    (event,) = found
    assert (event.kind, event.label, event.start, event.seconds) == (FUSION, "laughter+happiness", 10.0, 0.8)
    assert event.score > 0.6


@pytest.mark.parametrize(
    ("label", "seen", "p"),
    [
        ("laughter", 8.5, {"happiness": 0.9}),
        ("laughter", 12.5, {"happiness": 0.9}),
        ("laughter", 10.0, {"sadness": 0.9}),
        ("laughter", 10.0, {"happiness": 0.2}),
        ("cough", 10.0, {"happiness": 0.9}),
    ],
)
def test_what_does_not_match_stays_apart(label: str, seen: float, p: dict[str, float]) -> None:
    fusion, found = Fusion(), []
    for report in sorted(
        [look(seen, "a", observations=(reading("a", seen, **p),)), heard(label, 10.0)], key=lambda r: r.time
    ):
        found += fusion.accept(report)
    assert found == []


def test_a_burst_is_matched_once_and_any_face_may_match() -> None:
    fusion = Fusion()
    fusion.accept(look(10.0, "a", "b", observations=(reading("a", 10.0), reading("b", 10.0, happiness=0.9))))
    assert len(fusion.accept(heard("laughter", 10.0))) == 1
    assert fusion.accept(look(11.0, "b", observations=(reading("b", 11.0, happiness=0.9),))) == []


@given(st.floats(0.01, 0.99), st.floats(0, 1))
def test_agreement_never_lowers_and_never_proves(score: float, shown: float) -> None:
    assert score - 1e-9 <= fuse(score, shown) < 1


def test_a_window_with_laughter_is_surer_of_its_smiles() -> None:
    clock, summaries, events = ManualClock(), list[Summary](), list[Event]()
    summariser = Summariser(clock, 10.0, summaries.append, lambda event, _start, _state: events.append(event))
    for step in range(20):
        clock.advance(0.5)
        now = clock.monotonic()
        summariser.accept(look(now, "a", observations=(reading("a", now, happiness=0.55),)))
        if step == 10:
            summariser.accept(heard("laughter", now - 0.8, 0.7))
    summariser.tick()
    window = summaries[0].window
    assert [e.kind for e in events] == [BURST, FUSION]
    assert window.fused["laughter+happiness"].count == 1
    alone, together = estimate_emotion(window.emotion), estimate_window(window)
    assert alone is not None
    assert together is not None
    assert (together.dominant, together.p) == (alone.dominant, alone.p)
    assert alone.confidence < together.confidence < 1


def test_every_pair_names_an_emotion() -> None:
    assert set(PAIRS.values()) <= {"happiness", "sadness", "fear", "surprise"}
