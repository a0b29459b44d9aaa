"""The cheapest one-to-one assignment, for the handful of faces in a picture. Pure; cubic in the number of rows."""

from __future__ import annotations

from collections.abc import Sequence

FORBIDDEN = 1e6
"""Cost of a pair that must not be assigned; anything at or above it is left unassigned."""


def assign(costs: Sequence[Sequence[float]]) -> dict[int, int]:
    """Row index to column index such that as many allowed pairs as possible are made, at the least total cost.

    ``costs`` is a rectangle of finite numbers; pairs at :data:`FORBIDDEN` or above are never made. Allowed costs must
    be small against it. This is the Hungarian method in its shortest-augmenting-path form (Jonker and Volgenant,
    1987).
    """
    rows, columns = len(costs), len(costs[0]) if costs else 0
    if rows == 0 or columns == 0:
        return {}
    if rows > columns:
        flipped = assign([[costs[i][j] for i in range(rows)] for j in range(columns)])
        return {i: j for j, i in flipped.items()}
    owner = _augment_all(costs, rows, columns)
    return {i - 1: j - 1 for j, i in enumerate(owner) if j and i and costs[i - 1][j - 1] < FORBIDDEN}


def _augment_all(costs: Sequence[Sequence[float]], rows: int, columns: int) -> list[int]:
    """The row that owns each column, both counted from 1; 0 for none. Needs ``rows <= columns``."""
    of_row, of_column = [0.0] * (rows + 1), [0.0] * (columns + 1)
    owner = [0] * (columns + 1)
    for row in range(1, rows + 1):
        owner[0] = row
        at, way = 0, [0] * (columns + 1)
        slack, done = [float("inf")] * (columns + 1), [False] * (columns + 1)
        while owner[at]:
            done[at] = True
            i, step, nearest = owner[at], float("inf"), 0
            for j in range(1, columns + 1):
                if done[j]:
                    continue
                reduced = costs[i - 1][j - 1] - of_row[i] - of_column[j]
                if reduced < slack[j]:
                    slack[j], way[j] = reduced, at
                if slack[j] < step:
                    step, nearest = slack[j], j
            for j in range(columns + 1):
                if done[j]:
                    of_row[owner[j]] += step
                    of_column[j] -= step
                else:
                    slack[j] -= step
            at = nearest
        while at:
            owner[at], at = owner[way[at]], way[at]
    return owner
