"""How often something may fail, and how long it then waits."""

from __future__ import annotations

from edge_agent.domain.budget import Budget, Failures


def test_failures_long_ago_do_not_use_up_a_budget() -> None:
    failures = Failures(Budget(restarts=2, window=10.0, first=1.0, longest=8.0))
    assert [failures.note(now) for now in (0.0, 1.0, 20.0, 21.0, 22.0)] == [1.0, 2.0, 1.0, 2.0, None]
