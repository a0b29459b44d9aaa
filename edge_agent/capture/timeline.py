"""One rule for time stamps that jump, for pictures and sound alike: joined recordings, cameras that began anew.

Where stamps go back, or further ahead than a pause explains, the recording goes on where it was. :class:`Timeline`
looks at the packets of all streams and shifts them by the same amount, so picture and sound stay in step; every pass
over the same packets gives the same times. :class:`Steps` looks at what was decoded: the last word where the packets'
order is not known. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

FAR_S = 3600.0
"""A pause longer than this is none, but a jump of the clock."""
FAR_RESTARTING_S = 10.0
"""The same, in formats of broadcasts, whose clock may begin anew at any time."""

BACK_S = 0.1
"""Times that go back by less are rounding."""
_SKEW_S = 2.0
"""Most by which picture and sound of one recording end apart."""


@dataclass(frozen=True, slots=True)
class Jump:
    """At ``time`` in the recording the stamps jumped ``by`` seconds."""

    time: float
    by: float


@dataclass(slots=True)
class _Stream:
    shift: float
    due: float
    ordered: bool = True


class Timeline:
    """The shifts of one pass over a container whose stamps begin at ``start``; seconds throughout."""

    def __init__(self, start: float, far: float) -> None:
        self._start = start
        self._far = far
        self._streams: dict[int, _Stream] = {}
        self._shifts = [0.0]
        self.jumps: list[Jump] = []

    @property
    def end(self) -> float:
        """Where the last packet so far ends, counted from the start."""
        return max((stream.due for stream in self._streams.values()), default=self._start) - self._start

    def shift(self, stream: int, stamp: float | None, seconds: float, *, ordered: bool = True) -> float:
        """What to add to the stamps of the next packet of ``stream``, which lasts ``seconds``.

        ``ordered``: ``stamp`` tells when it is decoded, which never goes back, not when it is shown.
        """
        known = self._streams.get(stream)
        if stamp is None:
            return known.shift if known else 0.0
        if known is None:
            known = self._streams[stream] = self._begin(stamp)
        # A picture may stand still for long while the sound goes on.
        ahead = max(other.due for other in self._streams.values()) + self._far
        judged, known.ordered = ordered and known.ordered, ordered
        if stamp + known.shift > ahead or (judged and stamp + known.shift < known.due - BACK_S):
            self._jump(known, stamp)
        # What a packet claims to last is believed as far as a pause is.
        due = stamp + known.shift + min(max(seconds, 0.0), self._far)
        known.due = due if ordered else max(known.due, due)
        return known.shift

    def _begin(self, stamp: float) -> _Stream:
        """A stream's first packet; streams may begin apart, but not further than a pause."""
        shift = self._shifts[-1]
        reached = max((stream.due for stream in self._streams.values()), default=self._start)
        near = self._start - _SKEW_S <= stamp + shift <= reached + self._far
        return _Stream(shift, stamp + shift if near else reached)

    def _jump(self, stream: _Stream, stamp: float) -> None:
        """The other stream may have jumped already, and a clock may jump back: known shifts come first."""
        others = [shift for shift in self._shifts if shift != stream.shift]
        fitting = [shift for shift in others if abs(stamp + shift - stream.due) <= _SKEW_S]
        if fitting:
            stream.shift = min(fitting, key=lambda shift: abs(stamp + shift - stream.due))
            return
        self.jumps.append(Jump(stream.due - self._start, stamp + stream.shift - stream.due))
        stream.shift = stream.due - stamp
        self._shifts = [*self._shifts[-7:], stream.shift]


class Steps:
    """The times of decoded pictures or sounds, made to go forward."""

    def __init__(self, far: float) -> None:
        self._far = far
        self._shift = 0.0

    def place(self, time: float, last: float, due: float) -> float:
        """When something stamped ``time`` comes: where the stamp jumps, when it was ``due`` after the ``last``."""
        placed = time + self._shift
        if not last - BACK_S <= placed <= due + self._far:
            self._shift += due - placed
            return due
        return placed
