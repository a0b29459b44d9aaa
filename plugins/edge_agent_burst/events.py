"""Turn scores of overlapping windows into events: one state machine per label, a loudness envelope for the edges. Pure.

A label opens when enough of its latest windows are above its ``on`` threshold, stays open while windows are above
``off`` (hysteresis), and closes when none was for ``release`` seconds or when it has lasted ``longest``. Labels
compete: a segment mostly covered by another that is further above its threshold is dropped, because a sneeze always
scores as a cough, too. A segment is as coarse as its windows; :class:`Envelope` finds where within it the sound begins
and ends. The envelope keeps the level of every 10 ms frame of the last 90 s, from which no sound can be reconstructed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE

HOP_S = 0.24
"""Seconds between the windows for which policies are written down."""
_REMEMBERED_S = 60.0
"""Decided segments older than this can no longer compete: none lasts that long."""


@dataclass(frozen=True, slots=True)
class LabelPolicy:
    """Conditions under which a label becomes an event. Thresholds are scores, durations seconds.

    ``agree`` of the latest ``among`` windows must reach ``on``. Sounds of less than ``shortest`` are dropped, because
    only clicks and knocks are that short, whatever their scores. Segments that reach ``longest`` are cut.
    """

    on: float
    off: float
    agree: int = 2
    among: int = 3
    shortest: float = 0.05
    longest: float = 30.0
    release: float = 0.4

    def __post_init__(self) -> None:
        if not 0.0 < self.off <= self.on <= 1.0:
            raise ValueError(f"thresholds must satisfy 0 < off <= on <= 1, not off={self.off}, on={self.on}")
        if not 1 <= self.agree <= self.among:
            raise ValueError(f"agree must be 1 to among, not {self.agree} of {self.among}")

    def every(self, hop_s: float) -> LabelPolicy:
        """The policy for windows ``hop_s`` seconds apart: as many as cover the same stretch of sound."""
        agree = max(1, math.ceil(self.agree * HOP_S / hop_s - 1e-9))
        return replace(self, agree=agree, among=max(agree, round(self.among * HOP_S / hop_s)))


@dataclass(frozen=True, slots=True)
class Reading:
    """Scores of the sound between ``start`` and ``end`` (seconds), by label, 0 to 1."""

    start: float
    end: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Segment:
    """Time span in which a label was on.

    It lies somewhere within ``start`` to ``end``; its beginning within ``start`` to ``sure`` (the end of the first
    window above ``on``). ``score`` is the highest score, ``excess`` how far that is between ``on`` (0) and 1 (1).
    """

    label: str
    start: float
    sure: float
    end: float
    score: float
    excess: float

    def covers(self, other: Segment) -> bool:
        """Whether more than half of ``other`` lies within this segment."""
        shared = min(self.end, other.end) - max(self.start, other.start)
        return shared > 0.5 * (other.end - other.start)


class LabelMachine:
    """State machine of one label."""

    def __init__(self, label: str, policy: LabelPolicy) -> None:
        self._label = label
        self._policy = policy
        self._votes: deque[bool] = deque(maxlen=policy.among)
        self._segment: Segment | None = None
        self._opened = False
        self._reported = float("-inf")

    @property
    def candidate(self) -> Segment | None:
        """The open segment, accepted or not."""
        return self._segment

    @property
    def believed(self) -> bool:
        """Whether the open segment is accepted."""
        return self._opened

    def push(self, reading: Reading) -> Segment | None:
        """Add the score of one window; return the segment when one has just ended."""
        policy = self._policy
        score = reading.scores[self._label]
        self._votes.append(score >= policy.on)
        if score >= policy.off:
            self._extend(reading, score)
            self._opened = self._opened or sum(self._votes) >= policy.agree
            if self._segment is not None and self._segment.end - self._segment.start >= policy.longest:
                return self.flush()
            return None
        if self._segment is not None and reading.end - self._segment.end >= policy.release:
            return self.flush()
        return None

    def flush(self) -> Segment | None:
        """End the open segment; return it when it was accepted."""
        segment, opened = self._segment, self._opened
        self._segment, self._opened = None, False
        self._votes.clear()
        if segment is None or not opened:
            return None
        self._reported = segment.end
        return segment

    def _extend(self, reading: Reading, score: float) -> None:
        policy, now = self._policy, self._segment
        excess = (score - policy.on) / (1.0 - policy.on) if policy.on < 1.0 else 0.0
        if now is None:
            # Windows overlap: the segment after a cut must not contain the same sound again.
            start = max(reading.start, self._reported)
            self._segment = Segment(self._label, start, reading.end, reading.end, score, excess)
            return
        # Until a window reaches `on`, each one moves the moment by which the sound must have begun.
        sure = reading.end if now.excess < 0.0 else now.sure
        self._segment = replace(
            now, sure=sure, end=reading.end, score=max(now.score, score), excess=max(now.excess, excess)
        )


Refine = Callable[[Segment], Segment]


def _unrefined(segment: Segment) -> Segment:
    return segment


class Arbiter:
    """Run the state machines of all labels and decide between overlapping segments.

    A finished segment waits while a segment of another label that covers it is open, so the decision is final.
    ``refine`` sharpens the edges of a segment before it is compared: long windows blur them.
    """

    def __init__(self, policies: Mapping[str, LabelPolicy], refine: Refine = _unrefined) -> None:
        self._policies = dict(policies)
        self._refine = refine
        self._machines = self._fresh_machines()
        self._waiting: list[Segment] = []
        self._decided: list[Segment] = []

    def push(self, reading: Reading) -> Sequence[Segment]:
        """Return the segments that became final with this window, in order of their start."""
        for machine in self._machines:
            segment = machine.push(reading)
            if segment is not None:
                self._await(segment)
        return self._settle()

    def flush(self) -> Sequence[Segment]:
        """Return the segments that are open or undecided, and reset."""
        for machine in self._machines:
            segment = machine.flush()
            if segment is not None:
                self._await(segment)
        settled = self._settle()
        self._decided.clear()
        self._machines = self._fresh_machines()
        return settled

    def _await(self, segment: Segment) -> None:
        """Its edges are needed first: before, it is as long as the windows it came from."""
        refined = self._refine(segment)
        if refined.end - refined.start >= self._policies[segment.label].shortest:
            self._waiting.append(refined)

    def _fresh_machines(self) -> list[LabelMachine]:
        return [LabelMachine(label, policy) for label, policy in self._policies.items()]

    def _settle(self) -> Sequence[Segment]:
        if not self._waiting:
            return ()
        under_way = [
            (self._refine(candidate), machine.believed)
            for machine in self._machines
            if (candidate := machine.candidate) is not None
        ]
        settled: list[Segment] = []
        for segment in sorted(self._waiting, key=lambda s: s.excess, reverse=True):
            certain = [rival for rival, believed in under_way if believed]
            stronger = [rival for rival in (*certain, *self._decided) if rival.excess >= segment.excess]
            if any(rival.covers(segment) for rival in stronger):
                self._waiting.remove(segment)
            elif not any(rival.covers(segment) for rival, _ in under_way):
                self._waiting.remove(segment)
                settled.append(segment)
                self._decided.append(segment)
        if settled:
            oldest = max(segment.end for segment in settled) - _REMEMBERED_S
            self._decided = [segment for segment in self._decided if segment.end >= oldest]
        return sorted(settled, key=lambda s: s.start)


# ---------------------------------------------------------------------- loudness envelope


FRAME = AUDIO_RATE // 100
"""Samples per frame."""
STEP = FRAME / AUDIO_RATE
_KEPT = 9_000
_DEPTH_DB = 20.0
_ABOVE_FLOOR_DB = 6.0
_FLOOR_DB = -90.0
_LATE_S = 0.8
_ONSET_PAUSE_S = 0.3


class Envelope:
    """Level in dB (full scale = 0) per 10 ms frame, addressed by seconds since the last :meth:`reset`."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._levels = np.zeros(0, np.float32)
        self._dropped = 0

    def reset(self) -> None:
        """Discard all levels; time starts again at 0."""
        self.__init__()  # type: ignore[misc]

    def feed(self, samples: npt.NDArray[np.float32]) -> None:
        """Append float32 [n]."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // FRAME * FRAME
        self._rest = samples[whole:]
        power = np.square(samples[:whole]).reshape(-1, FRAME).mean(axis=1)
        level = 10.0 * np.log10(power + 10.0 ** (_FLOOR_DB / 10.0))
        self._levels = np.concatenate([self._levels, level.astype(np.float32)])
        surplus = len(self._levels) - _KEPT
        if surplus > 0:
            self._levels = self._levels[surplus:]
            self._dropped += surplus

    def edges(self, start: float, sure: float, end: float, pause: float) -> tuple[float, float]:
        """Find where the sound within ``start`` to ``end`` begins and ends, given that it has begun by ``sure``.

        Both are found from the loudest moment before ``sure``: backwards across short pauses (up to a little before
        ``start``, because windows may detect late) and forwards across pauses of up to ``pause`` seconds. Without any
        samples the bounds are returned; where nothing exceeds a steady noise, the end equals the beginning.
        """
        first, last = self._index(start), self._index(end)
        if first >= last:
            return start, end
        earliest = self._index(start - _LATE_S)
        levels = self._levels[earliest:last]
        head = slice(first - earliest, max(first + 1, self._index(sure)) - earliest)
        peak = head.start + int(levels[head].argmax())
        audible = self._floor(first, last) + _ABOVE_FLOOR_DB
        if levels[peak] < audible:
            return self._time(earliest + peak), self._time(earliest + peak)
        loud = levels >= max(float(levels[peak]) - _DEPTH_DB, audible)
        onset = _walk(loud, peak, -1, round(min(pause, _ONSET_PAUSE_S) / STEP))
        final = _walk(loud, peak, 1, round(pause / STEP))
        return self._time(earliest + onset), min(end, self._time(earliest + final + 1))

    def _floor(self, first: int, last: int) -> float:
        around = self._levels[max(0, first - 200) : last]
        return float(np.percentile(around, 10))

    def _index(self, seconds: float) -> int:
        return min(max(0, round(seconds / STEP) - self._dropped), len(self._levels))

    def _time(self, index: int) -> float:
        return (index + self._dropped) * STEP


def _walk(loud: npt.NDArray[np.bool_], index: int, direction: int, bridge: int) -> int:
    """Index of the furthest loud frame reached from ``index`` without crossing more than ``bridge`` quiet ones."""
    reached = index
    while 0 <= index < len(loud) and abs(index - reached) <= bridge:
        if loud[index]:
            reached = index
        index += direction
    return reached
