"""Put a window in context: the place's emotion baseline, its trend, and fusion of bursts with matching expressions.

The baseline is a slow average of the place's windows. A camera that looks up at people, or a regular whose resting face
the model takes for sad, shifts every distribution the same way; the difference from the baseline
(:func:`edge_agent.domain.summary.lift`) removes that. It averages over everybody and says nothing about a person.
:class:`BaselineFile` keeps it over a restart.

Fusion joins a burst and a reading of the matching expression within about a second into one event, whose label names
both and whose score is at least the burst's: the odds of the burst times how much likelier the expression is than
usual. Nobody knows who made the sound, so any face in view may match. A mismatch lowers nothing: many people laugh
unseen.
"""

from __future__ import annotations

import json
import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from edge_agent.domain.clock import Clock
from edge_agent.domain.event import BURST, FUSION, Event
from edge_agent.domain.files import replace_durably
from edge_agent.domain.observation import EMOTION, EMOTIONS, AudioReport, VisionReport
from edge_agent.domain.summary import EmotionSums, Trend, UsualSums, Window, estimate_emotion
from edge_agent.summary.merging import merge

log = logging.getLogger(__name__)

BASELINE_FILE = "baseline.json"
"""Name of the file in the state directory."""

EVERY_S = 600.0
"""Seconds between two writes: the baseline changes within hours, and more writes would wear the SD card."""

READY = 600.0
"""Person-seconds of readings from which a baseline is used."""

MEMORY = 4 * 3600.0
"""Person-seconds in which older readings decay to 1/e."""

_MOST = 20.0
"""Most person-seconds that one window contributes, so that a crowd does not dominate the baseline."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Emotion baseline of a place: mean distribution ``p`` over ``weight`` person-seconds (at most about MEMORY)."""

    weight: float = 0.0
    p: tuple[float, ...] = (1 / len(EMOTIONS),) * len(EMOTIONS)

    @property
    def ready(self) -> bool:
        """Whether it rests on enough readings to be used."""
        return self.weight >= READY

    def learn(self, sums: EmotionSums) -> Baseline:
        """Add a window; one without enough evidence changes nothing."""
        estimate = estimate_emotion(sums)
        if estimate is None:
            return self
        new = min(sums.weight, _MOST)
        old = self.weight * math.exp(-new / MEMORY)
        total = old + new
        return Baseline(total, tuple((old * q + new * p) / total for q, p in zip(self.p, estimate.p, strict=True)))

    def apply(self, window: Window) -> Window:
        """Add the baseline to ``window``, once it is ready."""
        weight = window.emotion.weight
        if not self.ready or weight <= 0:
            return window
        return replace(window, usual=UsualSums(weight, tuple(weight * q for q in self.p)))

    def document(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"weight": self.weight, "p": dict(zip(EMOTIONS, self.p, strict=True))}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Baseline:
        """Parse the result of :meth:`document`.

        Raises:
            ValueError: not a baseline.
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
    """File that keeps a baseline over restarts; losing it costs only the time to learn again."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._kept = Baseline()
        self._due = 0.0

    def read(self) -> Baseline:
        """Read the baseline; a new one when the file is missing or unusable."""
        try:
            self._kept = Baseline.parse(json.loads(self._path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return Baseline()
        except (OSError, ValueError) as error:
            log.warning("%s: %s: the baseline starts over", self._path, error)
            return Baseline()
        self._due = self._clock.monotonic() + EVERY_S
        return self._kept

    def keep(self, baseline: Baseline, *, now: bool = False) -> None:
        """Write ``baseline`` when a write is due, or ``now``; unchanged ones are not written."""
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


# ---------------------------------------------------------------------- fusion of sound and picture


PAIRS: Mapping[str, str] = {
    "laughter": "happiness",
    "crying": "sadness",
    "scream": "fear",
    "gasp": "surprise",
}
"""Matching expression of each burst."""

SLACK = 1.0
"""Seconds before the start and after the end of a burst in which a matching expression counts."""

USUAL = 0.2
"""Probability of a class in an average reading."""

_LEAST = 0.4
"""Least probability of a matching expression."""

_KEEP = 8.0


@dataclass(frozen=True, slots=True)
class _Shown:
    time: float
    values: Mapping[str, float]


class Fusion:
    """Fusion of bursts and expressions over the last seconds of reports."""

    def __init__(self) -> None:
        self._shown: deque[_Shown] = deque()
        self._open: list[Event] = []

    def accept(self, report: VisionReport | AudioReport) -> list[Event]:
        """Take a report; return the events of kind ``fusion`` that it completes. A burst is matched once."""
        for observation in report.observations:
            if observation.name == EMOTION and not observation.recalled:
                self._shown.append(_Shown(observation.time, observation.values))
        self._open += [e for e in report.events if e.kind == BURST and e.label in PAIRS]
        now = report.time
        while self._shown and self._shown[0].time < now - _KEEP:
            self._shown.popleft()
        matched = [(burst, fused) for burst in self._open if (fused := self._match(burst)) is not None]
        done = {id(burst) for burst, _ in matched}
        self._open = [b for b in self._open if id(b) not in done and b.start + b.seconds + SLACK >= now - _KEEP]
        return [fused for _, fused in matched]

    def _match(self, burst: Event) -> Event | None:
        emotion = PAIRS[burst.label]
        begin, end = burst.start - SLACK, burst.start + burst.seconds + SLACK
        most = max((s.values.get(emotion, 0.0) for s in self._shown if begin <= s.time <= end), default=0.0)
        if most < _LEAST:
            return None
        return replace(burst, kind=FUSION, label=f"{burst.label}+{emotion}", score=fuse(burst.score, most))


def fuse(score: float, shown: float, usual: float = USUAL) -> float:
    """Return the burst's probability given the expression's probability ``shown``; never lower than ``score``."""
    ratio = max(1.0, shown / usual)
    return score * ratio / (1 - score + score * ratio)


# ---------------------------------------------------------------------- trend


class TrendKeeper:
    """Trend of each window against the mean of those in the ``span`` seconds before it."""

    def __init__(self, span: float = 60.0) -> None:
        self._span = span
        self._before: deque[Window] = deque()

    def next(self, window: Window) -> Trend | None:
        """Return the trend of ``window``; None when no window precedes it."""
        while self._before and self._before[0].end <= window.begin - self._span + 1e-6:
            self._before.popleft()
        trend = compare(reduce(merge, self._before), window) if self._before else None
        self._before.append(window)
        return trend


def compare(before: Window, now: Window) -> Trend:
    """Return the differences from ``before`` to ``now``."""
    return Trend(
        seconds=before.seconds,
        valence=_difference(_valence(before), _valence(now)),
        people=_difference(before.faces.mean, now.faces.mean),
        attention=_difference(before.attention.ratio, now.attention.ratio),
    )


def _valence(window: Window) -> float | None:
    estimate = estimate_emotion(window.emotion)
    return None if estimate is None else estimate.valence


def _difference(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else now - before
