"""Flags travel from analyzers as observations named ``flag``; the lanes turn them into the flags of a report."""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent.domain.observation import FLAG, Observation


def split_flags(observations: Iterable[Observation]) -> tuple[list[Observation], frozenset[str]]:
    """The observations that are none, and the names of the flags that are up (value above one half)."""
    others: list[Observation] = []
    flags: set[str] = set()
    for observation in observations:
        if observation.name == FLAG:
            flags.update(name for name, value in observation.values.items() if value > 0.5)
        else:
            others.append(observation)
    return others, frozenset(flags)
