"""The assignment is the cheapest there is, and forbidden pairs are never made."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.analysis.tracking import FORBIDDEN, assign


@st.composite
def tables(draw: st.DrawFn) -> list[list[float]]:
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    cell = st.one_of(st.floats(0, 3).map(lambda x: round(x, 3)), st.just(FORBIDDEN))
    return [[draw(cell) for _ in range(columns)] for _ in range(rows)]


def cheapest(costs: list[list[float]]) -> tuple[int, float]:
    """Most allowed pairs, then least cost, by trying everything; pairs negated so that smaller is better."""
    rows, columns = len(costs), len(costs[0])
    if rows > columns:
        costs = [list(row) for row in zip(*costs, strict=True)]
        rows, columns = columns, rows
    best = (0, 0.0)
    for choice in permutations(range(columns), rows):
        made = [costs[i][j] for i, j in enumerate(choice) if costs[i][j] < FORBIDDEN]
        best = min(best, (-len(made), sum(made)))
    return best


@given(tables())
def test_it_is_as_good_as_trying_everything(costs: list[list[float]]) -> None:
    pairs = assign(costs)
    assert len(set(pairs.values())) == len(pairs)
    assert all(costs[i][j] < FORBIDDEN for i, j in pairs.items())
    count, total = cheapest(costs)
    assert len(pairs) == -count
    assert abs(sum(costs[i][j] for i, j in pairs.items()) - total) < 1e-6


def test_nothing_to_assign() -> None:
    assert assign([]) == {}
    assert assign([[], []]) == {}
