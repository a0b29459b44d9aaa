"""Merge summaries into longer ones: windows into a minute, ten minutes and an hour. The sums stay exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.domain.summary import ClockState, Summary
from edge_agent.summary.window import merge

LEVELS = (60.0, 600.0, 3600.0)
"""Lengths of the roll-ups in seconds."""


def merge_summaries(a: Summary, b: Summary) -> Summary:
    """Merge a summary ``a`` and its successor ``b`` of the same boot.

    The result starts with ``a``; its clock is synchronised only if both were. Raises ValueError when the windows
    overlap.
    """
    clock: ClockState = "synced" if a.clock == b.clock == "synced" else "unsynced"
    return Summary(a.start, clock, merge(a.window, b.window))


@dataclass(frozen=True, slots=True)
class Rolled:
    """Completed longer summary of at least ``level`` seconds, the ``number``-th since the start, from 1."""

    level: float
    number: int
    summary: Summary


class RollUp:
    """Roll-up of consecutive summaries into those of a minute, ten minutes and an hour.

    Each of ``levels`` (seconds) is a multiple of the one before. Incomplete ones are dropped when the agent stops.
    """

    def __init__(self, levels: Sequence[float] = LEVELS) -> None:
        self._levels = levels
        self._open: list[Summary | None] = [None] * len(levels)
        self._done = [0] * len(levels)

    def add(self, summary: Summary) -> list[Rolled]:
        """Add a summary; return the longer ones it completes, shortest first. One longer than a level skips it."""
        found: list[Rolled] = []
        part: Summary | None = summary
        for k, length in enumerate(self._levels):
            if part is None:
                break
            before = self._open[k]
            whole = part if before is None else merge_summaries(before, part)
            full = whole.seconds >= length - 1e-3
            self._open[k] = None if full else whole
            part = whole if full else None
            if full and whole is not summary:
                self._done[k] += 1
                found.append(Rolled(length, self._done[k], whole))
        return found
