"""The state machine that turns window scores into segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent_burst import own, yamnet
from edge_agent_burst.events import Arbiter, LabelMachine, LabelPolicy, Reading, Segment

HOP, LENGTH = 0.25, 1.0
POLICY = LabelPolicy(on=0.5, off=0.25, agree=2, among=3, release=0.5, longest=5.0)


def readings(**scores: list[float]) -> list[Reading]:
    count = len(next(iter(scores.values())))
    return [Reading(k * HOP, k * HOP + LENGTH, {name: s[k] for name, s in scores.items()}) for k in range(count)]


def run(policy: LabelPolicy, scores: list[float]) -> list[Segment]:
    machine = LabelMachine("cough", policy)
    found = [segment for reading in readings(cough=scores) if (segment := machine.push(reading))]
    last = machine.flush()
    return found + ([last] if last else [])


def arbitrate(policies: dict[str, LabelPolicy], **scores: list[float]) -> list[tuple[str, float]]:
    arbiter = Arbiter(policies)
    found = [s for reading in readings(**scores) for s in arbiter.push(reading)]
    return [(s.label, s.start) for s in [*found, *arbiter.flush()]]


def test_opens_on_agreement_and_closes_after_release() -> None:
    (segment,) = run(POLICY, [0, 0, 0.3, 0.6, 0.9, 0.3, 0, 0, 0, 0])
    assert (segment.start, segment.sure, segment.end) == (0.5, 1.75, 2.25)
    assert segment.score == 0.9
    assert segment.excess == pytest.approx(0.8)


@pytest.mark.parametrize("policies", [own.POLICIES, yamnet.POLICIES], ids=["own", "yamnet"])
@pytest.mark.parametrize("hop_s", [0.1, 0.24, 0.5])
def test_a_policy_asks_for_as_much_sound_however_often_it_is_looked_at(
    policies: Mapping[str, LabelPolicy], hop_s: float
) -> None:
    for policy in policies.values():
        asked = policy.every(hop_s)
        assert (asked.on, asked.off, asked.longest) == (policy.on, policy.off, policy.longest)
        assert asked.agree * hop_s == pytest.approx(policy.agree * 0.24, abs=hop_s)
        assert asked.agree <= asked.among


def test_a_policy_is_the_same_at_the_usual_hop() -> None:
    assert all(policy.every(0.24) == policy for policy in own.POLICIES.values())


def test_a_single_window_is_not_an_event() -> None:
    assert run(POLICY, [0, 0.99, 0, 0, 0]) == []


def test_votes_may_straddle_one_weak_window() -> None:
    assert len(run(POLICY, [0, 0.9, 0.3, 0.9, 0, 0, 0])) == 1


def test_weak_sound_never_opens() -> None:
    assert run(POLICY, [0.4] * 40) == []


def test_short_dip_does_not_split() -> None:
    assert len(run(POLICY, [0.9, 0.9, 0.1, 0.9, 0.9, 0, 0, 0])) == 1


def test_long_pause_splits() -> None:
    assert len(run(POLICY, [0.9, 0.9, 0, 0, 0, 0.9, 0.9, 0, 0, 0])) == 2


def test_longest_cuts_and_goes_on() -> None:
    segments = run(POLICY, [0.9] * 40)
    assert [(s.start, s.end) for s in segments] == [(0.0, 5.0), (5.0, 10.0), (10.0, 10.75)]


@pytest.mark.parametrize(("seconds", "events"), [(0.01, 0), (0.3, 1)])
def test_shortest_is_about_the_sound_and_not_the_windows(seconds: float, events: int) -> None:
    policy = LabelPolicy(on=0.5, off=0.25, agree=1, among=1, shortest=0.1)
    arbiter = Arbiter({"sneeze": policy}, lambda segment: replace(segment, end=segment.start + seconds))
    readings = [Reading(k / 4, k / 4 + 2, {"sneeze": score}) for k, score in enumerate([0.9, 0.9, 0, 0, 0])]
    assert sum(len(arbiter.push(reading)) for reading in readings) == events
    arbiter.push(Reading(3.0, 5.0, {"sneeze": 0.9}))
    assert len(arbiter.flush()) == events


def test_flush_reports_what_is_open() -> None:
    assert len(run(POLICY, [0, 0.9, 0.9])) == 1


@pytest.mark.parametrize(
    "bad",
    [{"on": 0.5, "off": 0.6}, {"on": 1.2, "off": 0.6}, {"on": 0.5, "off": 0.0}, {"on": 0.5, "off": 0.4, "agree": 4}],
)
def test_policy_refuses_nonsense(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"thresholds|agree"):
        LabelPolicy(**bad)  # type: ignore[arg-type]


def test_of_overlapping_labels_the_surer_wins() -> None:
    both = {"cough": POLICY, "sneeze": POLICY}
    found = arbitrate(both, cough=[0.7, 0.7, 0.7, 0, 0, 0, 0], sneeze=[0.6, 0.97, 0.6, 0.3, 0, 0, 0])
    assert [label for label, _ in found] == ["sneeze"]


def test_a_short_sure_sound_does_not_erase_a_long_one() -> None:
    both = {"cough": POLICY, "laughter": LabelPolicy(on=0.5, off=0.25, longest=30.0)}
    laughter = [0.8] * 40 + [0] * 8
    cough = [0.0] * 20 + [0.99] * 2 + [0.0] * 26
    assert sorted(arbitrate(both, cough=cough, laughter=laughter)) == [("cough", 5.0), ("laughter", 0.0)]


def test_a_weak_sound_within_a_strong_one_is_dropped_at_once() -> None:
    both = {"cough": POLICY, "laughter": LabelPolicy(on=0.5, off=0.25, longest=30.0)}
    cough = [0.0] * 20 + [0.6] * 2 + [0.0] * 26
    assert arbitrate(both, cough=cough, laughter=[0.9] * 48) == [("laughter", 0.0)]


def test_separate_sounds_are_both_kept() -> None:
    both = {"cough": POLICY, "sneeze": POLICY}
    quiet = [0.0] * 8
    found = arbitrate(both, cough=[0.9, 0.9, *quiet, 0, 0, *quiet], sneeze=[0, 0, *quiet, 0.9, 0.9, *quiet])
    assert [label for label, _ in found] == ["cough", "sneeze"]


@given(st.lists(st.floats(0, 1), max_size=80))
def test_segments_are_ordered_bounded_and_accepted(scores: list[float]) -> None:
    segments = run(POLICY, scores)
    for segment in segments:
        assert 0 <= segment.start < segment.end <= len(scores) * HOP + LENGTH
        assert segment.start < segment.sure <= segment.end
        assert segment.score >= POLICY.on
        assert segment.end - segment.start <= POLICY.longest + HOP
    assert all(a.end <= b.start for a, b in pairwise(segments))
