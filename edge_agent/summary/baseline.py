"""What a place usually shows: a slow average of its windows, so that a summary can say what is unusual now.

A camera that looks up at people, or a regular whose resting face the model takes for sad, shifts every distribution the
same way. The difference from the usual one (:func:`edge_agent.domain.summary.lift`) takes that out. The baseline is an
average over everybody and says nothing about a person. Pure values; keeping them over a restart is the owner's task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.summary import EmotionSums, UsualSums, Window, estimate_emotion

READY = 600.0
"""Person-seconds of readings before a baseline is used."""

MEMORY = 4 * 3600.0
"""Person-seconds after which what was learned counts 1/e."""

_MOST = 20.0
"""Person-seconds one window can teach: a crowd must not become the usual at once."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """``p`` is the usual distribution, ``weight`` the person-seconds it rests on (at most about :data:`MEMORY`)."""

    weight: float = 0.0
    p: tuple[float, ...] = (1 / len(EMOTIONS),) * len(EMOTIONS)

    @property
    def ready(self) -> bool:
        """Whether enough was learned to compare with."""
        return self.weight >= READY

    def learn(self, sums: EmotionSums) -> Baseline:
        """With one more window; one without enough evidence teaches nothing."""
        estimate = estimate_emotion(sums)
        if estimate is None:
            return self
        new = min(sums.weight, _MOST)
        old = self.weight * math.exp(-new / MEMORY)
        total = old + new
        return Baseline(total, tuple((old * q + new * p) / total for q, p in zip(self.p, estimate.p, strict=True)))

    def apply(self, window: Window) -> Window:
        """``window`` with the baseline in force, once it is ready."""
        weight = window.emotion.weight
        if not self.ready or weight <= 0:
            return window
        return replace(window, usual=UsualSums(weight, tuple(weight * q for q in self.p)))

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {"weight": self.weight, "p": dict(zip(EMOTIONS, self.p, strict=True))}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Baseline:
        """From :meth:`document`.

        Raises:
            ValueError: it is none: learn anew.
        """
        try:
            weight, p = float(document["weight"]), tuple(float(document["p"][name]) for name in EMOTIONS)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a baseline: {error}") from error
        sane = math.isfinite(weight) and weight >= 0 and all(0 <= q <= 1 for q in p) and abs(sum(p) - 1) < 1e-3
        if not sane:
            raise ValueError("not a baseline: its numbers are no distribution")
        return cls(weight, p)
