"""What is heard and seen together: a laugh and a smile within about a second speak for each other.

A burst of sound and a reading of the matching expression become one event whose label names both (its provenance) and
whose score is at least the burst's: the odds of the burst times how much likelier the expression is than usual. Nobody
knows who made the sound, so any face in view may match. What does not match lowers nothing: many laugh unseen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edge_agent.domain.event import BURST, FUSION, Event
from edge_agent.domain.observation import EMOTION, AudioReport, VisionReport

PAIRS: Mapping[str, str] = {
    "laughter": "happiness",
    "crying": "sadness",
    "scream": "fear",
    "gasp": "surprise",
}
"""Bursts and the expressions that go with them."""

SLACK = 1.0
"""Seconds that the expression may be read before the burst begins or after it ends."""

USUAL = 0.2
"""A class is as likely as this in an average reading of a face."""

_LEAST = 0.4
"""Probability from which an expression counts as shown."""

_KEEP = 8.0


@dataclass(frozen=True, slots=True)
class _Shown:
    time: float
    values: Mapping[str, float]


class Fusion:
    """Feed it every report; it returns what matched. Remembers some seconds of readings and open bursts."""

    def __init__(self) -> None:
        self._shown: deque[_Shown] = deque()
        self._open: list[Event] = []

    def accept(self, report: VisionReport | AudioReport) -> list[Event]:
        """Events of kind ``fusion`` that ``report`` completes. A burst is matched once."""
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
    """The burst's probability once the expression is known to be ``shown`` likely; never lower than ``score``."""
    ratio = max(1.0, shown / usual)
    return score * ratio / (1 - score + score * ratio)
