"""Loudness over time, to find where within a coarse segment a sound begins and ends.

Keeps the level of every 10 ms frame for the last minute and a half: about 9,000 numbers, nothing from which sound
could be heard again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE

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
        """Forget everything; time starts again at 0."""
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
        """Where the sound within ``start`` to ``end`` begins and ends, given that it has begun by ``sure``.

        Both are found from the loudest moment before ``sure``: backwards across short pauses (up to a little before
        ``start``, for windows may notice late) and forwards across pauses of up to ``pause`` seconds. Without any
        samples the bounds come back; where nothing stands out of a steady noise, its end is its beginning.
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
    """Furthest loud frame reached from ``index`` without crossing more than ``bridge`` quiet ones."""
    reached = index
    while 0 <= index < len(loud) and abs(index - reached) <= bridge:
        if loud[index]:
            reached = index
        index += direction
    return reached
