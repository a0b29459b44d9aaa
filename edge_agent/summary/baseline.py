"""Baseline of a place: a slow average of its windows, so that a summary can say what is unusual now.

A camera that looks up at people, or a regular whose resting face the model takes for sad, shifts every distribution the
same way. The difference from the usual one (:func:`edge_agent.domain.summary.lift`) takes that out. The baseline is an
average over everybody and says nothing about a person. :class:`BaselineFile` keeps it over a restart.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_agent.domain.clock import Clock
from edge_agent.domain.files import replace_durably
from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.summary import EmotionSums, UsualSums, Window, estimate_emotion

log = logging.getLogger(__name__)

FILE = "baseline.json"
"""Name of the file in the state directory."""

EVERY_S = 600.0
"""The baseline is a matter of hours; writing it more often would only wear the SD card."""

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


class BaselineFile:
    """Keeps a baseline in ``path``; losing it costs only the time to learn it again."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._kept = Baseline()
        self._due = 0.0

    def read(self) -> Baseline:
        """What was learned before; a fresh one when there is none that can be used."""
        try:
            self._kept = Baseline.parse(json.loads(self._path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return Baseline()
        except (OSError, ValueError) as error:
            log.warning("%s: %s: learning anew what is usual here", self._path, error)
            return Baseline()
        self._due = self._clock.monotonic() + EVERY_S
        return self._kept

    def keep(self, baseline: Baseline, *, now: bool = False) -> None:
        """Write ``baseline`` when it is time to, or ``now``; not when it is what was kept last."""
        time = self._clock.monotonic()
        if baseline == self._kept or not (now or time >= self._due):
            return
        self._due = time + EVERY_S
        try:
            replace_durably(self._path, json.dumps(baseline.document()).encode())
        except OSError as error:
            log.warning("%s: cannot be written: %s", self._path, error.strerror)
        else:
            self._kept = baseline
