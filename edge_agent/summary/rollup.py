"""Merging stamped summaries: 10 s windows into a minute, minutes into ten, tens into hours. The sums stay exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.domain.summary import ClockState, Summary
from edge_agent.summary.window import merge

LEVELS = (60.0, 600.0, 3600.0)
"""Seconds of the summaries that windows roll up to."""


def merge_summaries(a: Summary, b: Summary) -> Summary:
    """The summary that covers ``a`` and then ``b`` of the same boot.

    It starts when ``a`` did; its clock is trusted only if both were. Raises ValueError when the windows overlap.
    """
    clock: ClockState = "synced" if a.clock == b.clock == "synced" else "unsynced"
    return Summary(a.start, clock, merge(a.window, b.window))


@dataclass(frozen=True, slots=True)
class Rolled:
    """``summary`` covers at least ``level`` seconds and is the ``number``-th of them since the start, from 1."""

    level: float
    number: int
    summary: Summary


class RollUp:
    """Feed it consecutive summaries; it gives back those of a minute, ten minutes and an hour as they are complete.

    Each of ``levels`` (seconds) is a multiple of the one before. What is incomplete when the agent stops is nowhere
    else than in the summaries themselves.
    """

    def __init__(self, levels: Sequence[float] = LEVELS) -> None:
        self._levels = levels
        self._open: list[Summary | None] = [None] * len(levels)
        self._done = [0] * len(levels)

    def add(self, summary: Summary) -> list[Rolled]:
        """Longer summaries that ``summary`` completes, shortest first. One that is longer than a level passes it by."""
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
