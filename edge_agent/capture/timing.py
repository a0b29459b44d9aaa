"""Repair time stamps that jump, wait for a moment of the injected clock, and thin a stream to a frame rate.

One rule for discontinuities of pictures and sound alike (joined recordings, cameras that restart): where stamps go
back, or further ahead than a pause explains, the recording continues without a step. :class:`Timeline` shifts the
packets of all streams by the same amount, so picture and sound stay in step, and every pass over the same packets gives
the same times. :class:`Steps` works on decoded items, where the packets' order is not known.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from edge_agent.domain.clock import Clock

# ---------------------------------------------------------------------- pacing a source


_SLICE = 0.25
"""Longest sleep at a time, so that a manual clock that was moved is noticed."""


class Pacer:
    """Sleeps on behalf of one source; made by ``open`` and stopped by ``close``, from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stop = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End all waiting, now and later."""
        self._stop.set()

    def wait_until(self, moment: float) -> bool:
        """Sleep until the clock's monotonic time is ``moment``; False when stopped meanwhile."""
        while not self._stop.is_set():
            remaining = moment - self._clock.monotonic()
            if remaining <= 0:
                return True
            self._stop.wait(min(remaining, _SLICE))
        return False

    def wait(self, seconds: float) -> bool:
        """Sleep for ``seconds``; False when stopped meanwhile."""
        return self.wait_until(self._clock.monotonic() + seconds)


class Thinner:
    """Chooses, of pictures that come faster than ``fps``, as many as were asked for, evenly. Pure."""

    def __init__(self, fps: float) -> None:
        self._period = 1.0 / fps
        self._due = float("-inf")

    def wants(self, now: float) -> bool:
        """Whether the picture that came at ``now`` is one of them."""
        # A quarter of a period early is early enough: else jitter would decide between two neighbours.
        if now < self._due - self._period / 4:
            return False
        # From where it was due, not from when it came, so that lateness does not add up; but no burst after a pause.
        late = now - self._due
        self._due = (self._due if late < self._period else now) + self._period
        return True


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
