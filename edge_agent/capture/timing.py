"""Repair time stamps that jump, wait for a moment of the injected clock, thin a stream to a frame rate, and measure how
it arrives.

One rule for discontinuities of pictures and sound alike (joined recordings, cameras that restart): where stamps go
back, or further ahead than a pause explains, the recording continues without a step. :class:`Timeline` shifts the
packets of all streams by the same amount, so picture and sound stay in step, and every pass over the same packets gives
the same times. :class:`Steps` works on decoded items, where the packets' order is not known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edge_agent.domain.clock import Clock
from edge_agent.domain.media import StreamTransfer

# ---------------------------------------------------------------------- pacing a source


_SLICE = 0.25
"""Longest sleep in seconds, so that a change of a manual clock is noticed."""


class Pacer:
    """Interruptible sleep on the injected clock, for one source; made by ``open`` and stopped by ``close``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stop = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End all waiting, now and in the future; from any thread."""
        self._stop.set()

    def wait_until(self, moment: float) -> bool:
        """Sleep until the monotonic time ``moment``; False when stopped meanwhile."""
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
    """Thin a stream of pictures evenly to at most ``fps``. Pure."""

    def __init__(self, fps: float) -> None:
        self._period = 1.0 / fps
        self._due = float("-inf")

    def wants(self, now: float) -> bool:
        """Return whether to keep the picture that arrived at ``now``."""
        # A quarter of a period of tolerance, so that jitter does not choose between two neighbours.
        if now < self._due - self._period / 4:
            return False
        # Counted from the due time, so that lateness does not add up; after a pause from now, to avoid a burst.
        late = now - self._due
        self._due = (self._due if late < self._period else now) + self._period
        return True


class Demand:
    """When the next picture of a camera is of use: told by the stage that looks, asked by the camera's thread.

    A picture that nobody wants is neither converted nor handed on. Thread-safe: it holds one number.
    """

    def __init__(self) -> None:
        self._from = float("-inf")

    def at_once(self) -> None:
        """Want the next picture."""
        self._from = float("-inf")

    def not_before(self, moment: float) -> None:
        """Want the first picture that is captured at the monotonic time ``moment`` or later."""
        self._from = moment

    def wants(self, moment: float) -> bool:
        """Return whether a picture captured at ``moment`` is of use."""
        return moment >= self._from - 1e-6


FAR_S = 3600.0
"""Longest plausible pause in seconds; anything longer is a jump of the clock."""
FAR_RESTARTING_S = 10.0
"""The same for broadcast formats, whose clock may restart at any time."""

BACK_S = 0.1
"""Backward steps below this are rounding."""
_SKEW_S = 2.0
"""Largest plausible difference between the ends of picture and sound."""


LATE_S = 0.25
"""Seconds by which the next part of a stream may be late before it counts as a stall: jitter of a network is less."""
PLAUSIBLE_S = 10.0
"""Longest plausible distance of two pictures of a live stream, in seconds."""
LEARNT = 8
"""Parts after which the usual distance is known."""


class Meter:
    """Measure a network stream where it arrives: bytes, and how long it was waited for beyond the usual.

    Only waiting counts, so that a slow reader is no slow network. Usual is what time stamps tell, or the mean distance
    of arrivals when that is longer: MJPEG has no stamps of its own.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._stamp: float | None = None
        self._arrived: float | None = None
        self._usual, self._count = 0.0, 0
        self.transfer = StreamTransfer()

    def watch(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Yield the ``packets``, with a ``size`` in bytes and a ``dts`` in units of ``time_base``, as they come."""
        while True:
            asked = self._now()
            packet = next(packets, None)
            if packet is None:
                return
            arrived = self._now()
            self.note(packet.size, _stamp_of(packet), arrived, arrived - asked)
            yield packet

    def note(self, size: int, stamp: float | None, arrived: float, waited: float) -> None:
        """Count a part of ``size`` bytes that arrived at ``arrived`` after ``waited`` seconds."""
        told = 0.0 if stamp is None or self._stamp is None else stamp - self._stamp
        late = waited - max(self._usual, told if 0 <= told <= PLAUSIBLE_S else 0.0)
        stalled = self._count >= LEARNT and late > LATE_S
        if self._arrived is not None:
            self._learn(arrived - self._arrived)
        self._stamp, self._arrived = stamp, arrived
        so_far = self.transfer
        self.transfer = StreamTransfer(
            so_far.received + size, so_far.stalls + stalled, so_far.stalled + (late if stalled else 0.0)
        )

    def _learn(self, distance: float) -> None:
        """Follow the mean distance, slowly once it is known: a stall changes it little, another rate in time."""
        self._count += 1
        if self._count <= LEARNT:
            self._usual += (distance - self._usual) / self._count
        else:
            self._usual += 0.1 * (min(distance, 2 * self._usual) - self._usual)


def _stamp_of(packet: Any) -> float | None:
    return None if packet.dts is None or packet.time_base is None else float(packet.dts * packet.time_base)


@dataclass(frozen=True, slots=True)
class Jump:
    """Jump of the time stamps ``by`` seconds, at ``time`` in the recording."""

    time: float
    by: float


@dataclass(slots=True)
class _Stream:
    shift: float
    due: float
    ordered: bool = True


class Timeline:
    """Corrections of the packet times in one pass over a container whose stamps begin at ``start``, in seconds."""

    def __init__(self, start: float, far: float) -> None:
        self._start = start
        self._far = far
        self._streams: dict[int, _Stream] = {}
        self._shifts = [0.0]
        self.jumps: list[Jump] = []

    @property
    def end(self) -> float:
        """End of the last packet so far, relative to the start."""
        return max((stream.due for stream in self._streams.values()), default=self._start) - self._start

    def shift(self, stream: int, stamp: float | None, seconds: float, *, ordered: bool = True) -> float:
        """Return the correction for the next packet of ``stream``, which lasts ``seconds``.

        ``ordered``: ``stamp`` is the decoding time, which never goes back, rather than the presentation time.
        """
        known = self._streams.get(stream)
        if stamp is None:
            return known.shift if known else 0.0
        if known is None:
            known = self._streams[stream] = self._begin(stamp)
        # A picture may last for long while the sound continues.
        ahead = max(other.due for other in self._streams.values()) + self._far
        judged, known.ordered = ordered and known.ordered, ordered
        if stamp + known.shift > ahead or (judged and stamp + known.shift < known.due - BACK_S):
            self._jump(known, stamp)
        # Implausible packet durations are limited to the longest pause.
        due = stamp + known.shift + min(max(seconds, 0.0), self._far)
        known.due = due if ordered else max(known.due, due)
        return known.shift

    def _begin(self, stamp: float) -> _Stream:
        """Place a stream's first packet; streams may begin apart, but not further than a pause."""
        shift = self._shifts[-1]
        reached = max((stream.due for stream in self._streams.values()), default=self._start)
        near = self._start - _SKEW_S <= stamp + shift <= reached + self._far
        return _Stream(shift, stamp + shift if near else reached)

    def _jump(self, stream: _Stream, stamp: float) -> None:
        """Correct a jump; known corrections come first: the other stream may have jumped already, or this one back."""
        others = [shift for shift in self._shifts if shift != stream.shift]
        fitting = [shift for shift in others if abs(stamp + shift - stream.due) <= _SKEW_S]
        if fitting:
            stream.shift = min(fitting, key=lambda shift: abs(stamp + shift - stream.due))
            return
        self.jumps.append(Jump(stream.due - self._start, stamp + stream.shift - stream.due))
        stream.shift = stream.due - stamp
        self._shifts = [*self._shifts[-7:], stream.shift]


class Steps:
    """Make the times of decoded pictures or sound monotonic."""

    def __init__(self, far: float) -> None:
        self._far = far
        self._shift = 0.0

    def place(self, time: float, last: float, due: float) -> float:
        """Return the corrected ``time`` of an item: where its stamp jumps, the time at which it was ``due``."""
        placed = time + self._shift
        if not last - BACK_S <= placed <= due + self._far:
            self._shift += due - placed
            return due
        return placed
