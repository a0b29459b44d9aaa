"""Back-off and restart budgets."""

from __future__ import annotations

import random

from edge_agent.domain.retry import BackOff, Budget, Failures, JitteredBackOff


def test_failures_long_ago_do_not_use_up_a_budget() -> None:
    failures = Failures(Budget(restarts=2, window=10.0, first=1.0, longest=8.0))
    assert [failures.note(now) for now in (0.0, 1.0, 20.0, 21.0, 22.0)] == [1.0, 2.0, 1.0, 2.0, None]


def test_back_off_doubles_up_to_its_longest_delay() -> None:
    assert [BackOff(1.0, 10.0).delay(n) for n in (0, 1, 2, 3, 4, 5, 6, 1000)] == [1, 1, 2, 4, 8, 10, 10, 10]


def test_jittered_back_off_grows_up_to_its_longest_delay_and_starts_over_after_a_reset() -> None:
    back_off = JitteredBackOff(1.0, 60.0, random.Random(7))
    delays = [JitteredBackOff(1.0, 60.0, random.Random(seed)).next() for seed in range(300)]
    assert min(delays) < 0.1, "full jitter: anything from nothing"
    assert 0.9 < max(delays) <= 1.0, "to the ceiling"
    many = [back_off.next() for _ in range(200)]
    assert max(many[:3]) <= 4.0
    assert 50.0 < max(many) <= 60.0
    assert back_off.next(floor=30.0) >= 30.0
    back_off.reset()
    assert back_off.next() <= 1.0
