"""Merging stamped summaries: 10 s windows into a minute, minutes into hours. The sums stay exact."""

from __future__ import annotations

from edge_agent.domain.summary import ClockState, Summary
from edge_agent.summary.window import merge


def merge_summaries(a: Summary, b: Summary) -> Summary:
    """The summary that covers ``a`` and then ``b`` of the same boot.

    It starts when ``a`` did; its clock is trusted only if both were. Raises ValueError when the windows overlap.
    """
    clock: ClockState = "synced" if a.clock == b.clock == "synced" else "unsynced"
    return Summary(a.start, clock, merge(a.window, b.window))
