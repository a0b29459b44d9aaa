"""History of the device: roll-ups of summaries in three lengths, the finer ones kept for a shorter time.

Windows are placed by the wall clock, so that several runs of the agent form one history; summaries of an unsynchronised
clock are left out. Bounded in memory and in its one file, which is written once an hour and at the end: after a power
cut up to an hour is missing here, but not from what was delivered. It is made from summaries only, so it holds nothing
that was withheld for privacy.
"""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from edge_agent.domain.clock import Clock
from edge_agent.domain.files import replace_durably
from edge_agent.domain.observation import EMOTIONS, LANGUAGE_EMOTIONS
from edge_agent.domain.summary import Summary, Window
from edge_agent.summary.merging import merge
from edge_agent.summary.summariser import RollUp, strip

log = logging.getLogger(__name__)

FILE = "history.json"
"""Name of its file in the state directory."""

EVERY_S = 3600.0

EDGE_S = 1.0
"""Seconds by which a window may reach beyond the period asked for: wall clocks are slewed and times rounded."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier of the history: the latest ``keep`` windows of ``seconds``."""

    seconds: int
    keep: int


TIERS = (Tier(60, 180), Tier(600, 288), Tier(3600, 1440))
"""Minutes for three hours, ten minutes for two days, hours for sixty."""

_WINDOWS: TypeAdapter[list[Window]] = TypeAdapter(list[Window])


class History:
    """Collect the summaries of this run. One thread adds; others may read, and get complete roll-ups only."""

    def __init__(self, tiers: Sequence[Tier] = TIERS, min_people: int = 0) -> None:
        self._tiers = tiers
        self._min_people = min_people
        self._roll = RollUp([float(tier.seconds) for tier in tiers])
        self._kept: dict[int, tuple[Window, ...]] = {tier.seconds: () for tier in tiers}

    def add(self, summary: Summary) -> None:
        """Remember ``summary`` as a part of the longer ones it completes, and as it is where it is long enough."""
        for tier in self._tiers:
            if summary.seconds >= tier.seconds - 1e-3:
                self._add(tier.seconds, summary)
        for rolled in self._roll.add(summary):
            self._add(int(rolled.level), rolled.summary)

    def between(self, since: float, until: float) -> Window | None:
        """Everything from ``since`` to ``until`` (Unix seconds) as one window, in whole roll-ups; None: nothing.

        Long ones are taken where they fit in and shorter ones at the edges and where no longer one was completed.
        """
        chosen: list[Window] = []
        for tier in reversed(self._tiers):
            for window in self._kept[tier.seconds]:
                if window.begin >= since - EDGE_S and window.end <= until + EDGE_S:
                    _place(window, chosen)
        return reduce(_join, chosen) if chosen else None

    def series(self, since: float, until: float, seconds: int) -> tuple[Window, ...]:
        """The kept windows of ``seconds`` (a tier's) that begin within the period, oldest first. Raises KeyError."""
        found = (window for window in self._kept[seconds] if since <= window.begin < until)
        return tuple(sorted(found, key=lambda window: window.begin))

    def document(self) -> dict[str, Any]:
        """Everything that is kept, as JSON values."""
        return {
            "v": 1,
            "min_people": self._min_people,
            "windows": {
                str(seconds): _WINDOWS.dump_python(list(windows), mode="json", exclude_defaults=True)
                for seconds, windows in self._kept.items()
            },
        }

    def restore(self, document: Any) -> None:
        """Restore what :meth:`document` returned. Raises ValueError when ``document`` is not such a document.

        What was recorded under a lower ``min_people`` is stripped: long windows mix parts that are too small now.
        """
        try:
            found = {int(seconds): _WINDOWS.validate_python(rows) for seconds, rows in document["windows"].items()}
            usable = all(_usable(window) for windows in found.values() for window in windows)
            looser = int(document.get("min_people", 0)) < self._min_people
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # pydantic's is a ValueError
            raise ValueError("not a history") from error
        if not usable:
            raise ValueError("not a history of this version")
        for seconds, windows in found.items():
            if seconds in self._kept:
                known: list[Window] = []
                told = [strip(window) for window in windows] if looser and self._min_people > 1 else windows
                self._keep(seconds, [window for window in told if _place(window, known)])

    def _add(self, seconds: int, whole: Summary) -> None:
        if whole.clock != "synced":
            return
        window = replace(whole.window, begin=whole.start, end=whole.start + whole.seconds)
        others = self._kept[seconds]
        if not any(_overlap(window, other) for other in others):  # else the clock was set back: it is told already
            self._keep(seconds, [*others, window])

    def _keep(self, seconds: int, windows: Sequence[Window]) -> None:
        """Keep the latest windows by arrival, not by date: a clock that was ahead must not displace later ones."""
        keep = next(tier.keep for tier in self._tiers if tier.seconds == seconds)
        self._kept[seconds] = tuple(windows[-keep:])


class HistoryFile:
    """File of a history; ``min_people`` as in ``[privacy]``."""

    def __init__(self, path: Path, clock: Clock, min_people: int = 0) -> None:
        self._path = path
        self._clock = clock
        self._min_people = min_people
        self._due = clock.monotonic() + EVERY_S

    def read(self) -> History:
        """Read the history; an empty one when the file is missing or damaged."""
        history = History(min_people=self._min_people)
        try:
            history.restore(json.loads(self._path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return history
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s: %s: the history begins anew", self._path, error)
            return History(min_people=self._min_people)
        return history

    def keep(self, history: History, *, now: bool = False) -> None:
        """Write ``history`` when an hour has passed, or ``now``."""
        time = self._clock.monotonic()
        if not now and time < self._due:
            return
        self._due = time + EVERY_S
        try:
            replace_durably(self._path, json.dumps(history.document(), separators=(",", ":")).encode())
        except OSError as error:
            log.warning("%s: cannot be written: %s", self._path, error.strerror)


def _usable(window: Window) -> bool:
    """Whether ``window`` has a length and can be merged with windows of this version."""
    shares = (window.emotion.p, window.emotion.square, window.usual.p)
    complete = all(len(values) == len(EMOTIONS) for values in shares)
    return window.begin < window.end and complete and len(window.language.p) == len(LANGUAGE_EMOTIONS)


def _place(window: Window, among: list[Window]) -> bool:
    """Insert ``window`` in order ``among`` others, unless one of them covers its time."""
    at = bisect_left(among, window.begin, key=lambda other: other.begin)
    if any(_overlap(window, other) for other in among[max(0, at - 1) : at + 1]):
        return False
    among.insert(at, window)
    return True


def _overlap(a: Window, b: Window) -> bool:
    """Whether both cover the same time: they share more than half of the shorter one.

    Neighbours share a little. Their lengths come from the monotonic clock and their beginnings from the wall clock,
    which is read with jitter, slewed by a time server, and now and then set back by some seconds.
    """
    return min(a.end, b.end) - max(a.begin, b.begin) > min(a.seconds, b.seconds) / 2


def _join(a: Window, b: Window) -> Window:
    """Both as one. What they share of the wall clock (see :func:`_overlap`) is not counted twice in its length."""
    begin = max(a.end, b.begin)
    return merge(a, replace(b, begin=begin, end=max(begin, b.end)))
