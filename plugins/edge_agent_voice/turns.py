"""Cut a stream of frames into turns: stretches of voice that end with a pause. Pure; knows nothing of what is said.

A voice is periodic and stands out of the room: such a frame is an anchor. A turn lasts from its first anchor to its
last, and a little longer because consonants at the edges are not periodic. Whether a turn is speech, or music, a cry or
a machine, is judged of the whole turn, by its figures (:mod:`edge_agent_voice.prosody`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent_voice.frontend import HOP_S, Frames

EDGE = round(0.2 / HOP_S)
"""Frames that belong to a turn before its first and after its last anchor."""
VOICED = 0.5
"""Voicing from which a frame is periodic."""
_ABOVE_DB = 6.0
"""A voice is this much louder than the quietest moment of the last seconds."""
_QUIETEST_DB = -70.0
_SECOND = round(1.0 / HOP_S)
_REMEMBERED = 8
"""Seconds over which the quietest moment is remembered."""
_SMOOTH = 3


@dataclass(frozen=True, slots=True, eq=False)
class SpokenTurn:
    """``frames`` of a turn, the first of which is number ``begin`` of the stream. ``cut``: it goes on, but was long."""

    frames: Frames
    begin: int
    cut: bool = False

    @property
    def seconds(self) -> float:
        """Length, pauses included."""
        return len(self.frames) * HOP_S


class TurnCutter:
    """Finds turns that end with ``pause`` seconds without a voice, or after ``longest`` seconds."""

    def __init__(self, pause: float, longest: float) -> None:
        self._pause = max(EDGE + 1, round(pause / HOP_S))
        self._longest = round(longest / HOP_S)
        self.reset()

    def reset(self) -> None:
        """Forget the sound."""
        self._kept: list[Frames] = []
        self._at = 0
        """Number of the first frame in ``_kept``."""
        self._seen = 0
        self._first: int | None = None
        self._last = 0
        self._levels: deque[float] = deque(maxlen=_SMOOTH)
        self._minima: deque[float] = deque(maxlen=_REMEMBERED)
        self._minimum = np.inf

    def push(self, frames: Frames) -> list[SpokenTurn]:
        """Turns that end within the next frames."""
        if not len(frames):
            return []
        self._kept.append(frames)
        turns = []
        periodic = (frames.voicing >= VOICED) & (frames.level > _QUIETEST_DB)
        for level, voiced in zip(frames.level.tolist(), periodic.tolist(), strict=True):
            turn = self._step(level, voiced)
            if turn is not None:
                turns.append(turn)
        if self._first is None:
            self._forget(self._seen - EDGE)
        return turns

    def flush(self) -> list[SpokenTurn]:
        """The turn that is still open, if any; then everything is forgotten."""
        turns = [] if self._first is None else [self._close(min(self._seen, self._last + 1 + EDGE))]
        self.reset()
        return turns

    def _step(self, level: float, voiced: bool) -> SpokenTurn | None:
        here, self._seen = self._seen, self._seen + 1
        self._note(level)
        if voiced and level > self._floor + _ABOVE_DB:
            self._first = max(self._at, here - EDGE) if self._first is None else self._first
            self._last = here
        if self._first is None:
            return None
        if here - self._last >= self._pause:
            return self._close(self._last + 1 + EDGE)
        if here + 1 - self._first >= self._longest:
            return self._close(here + 1, cut=True)
        return None

    @property
    def _floor(self) -> float:
        """The quietest level of the last seconds; minus infinity before there was a second."""
        return min(self._minima) if self._minima else -np.inf

    def _note(self, level: float) -> None:
        self._levels.append(level)
        self._minimum = min(self._minimum, sum(self._levels) / len(self._levels))
        if self._seen % _SECOND == 0:
            self._minima.append(self._minimum)
            self._minimum = np.inf

    def _close(self, end: int, *, cut: bool = False) -> SpokenTurn:
        assert self._first is not None
        whole = Frames.join(self._kept)
        turn = SpokenTurn(whole.part(self._first - self._at, end - self._at), self._first, cut)
        self._kept = [whole]
        self._first = None
        self._forget(end)
        return turn

    def _forget(self, before: int) -> None:
        """Let go of frames before number ``before``."""
        drop = before - self._at
        if drop > 0:
            whole = Frames.join(self._kept)
            self._kept = [whole.part(drop, len(whole))]
            self._at = before


def stretches(flags: npt.NDArray[np.bool_], bridge: int = 0) -> list[tuple[int, int]]:
    """Begin and end of each run of true ``flags`` [n]; runs at most ``bridge`` apart are one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    found: list[tuple[int, int]] = []
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if found and begin - found[-1][1] <= bridge:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found
