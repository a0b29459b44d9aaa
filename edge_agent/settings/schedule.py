"""Weekly schedules in local time, as ``mon-fri 18:00-08:00``, and whether a time is within them.

They follow local time through daylight saving: the hour that is skipped in spring is skipped, the hour that repeats in
autumn counts twice. Times that end at or before their beginning run past midnight and belong to the day they begin on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MINUTES = 24 * 60

_SHAPE = re.compile(r"(?P<days>[a-z,-]+)\s+(?P<h1>\d\d?):(?P<m1>\d\d)\s*-\s*(?P<h2>\d\d?):(?P<m2>\d\d)")


@dataclass(frozen=True, slots=True)
class Times:
    """Times on ``days`` (Monday is 0) from minute ``begin`` to minute ``end``, which may be on the next day."""

    days: frozenset[int]
    begin: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Times:
        """Parse ``DAYS HH:MM-HH:MM``; DAYS is ``daily``, or names of days and ranges of them, separated by commas.

        Raises:
            ValueError: it has another form; says what is wrong.
        """
        found = _SHAPE.fullmatch(text.strip().lower())
        if found is None:
            raise ValueError(
                f'{text!r} is not a time of the week: write it as "mon-fri 18:00-08:00" or "daily 12:00-13:00"'
            )
        begin, end = (_minute(text, found[h], found[m]) for h, m in (("h1", "m1"), ("h2", "m2")))
        if begin == MINUTES:
            raise ValueError(f"{text!r} begins at 24:00: write 00:00 of the day after")
        return cls(_days(text, found["days"]), begin, end if end > begin else end + MINUTES)

    def hold(self, weekday: int, minute: int) -> bool:
        """Whether ``minute`` of ``weekday`` is within, the end excluded."""
        today = weekday in self.days and self.begin <= minute < self.end
        yesterday = (weekday - 1) % 7 in self.days and minute + MINUTES < self.end
        return today or yesterday


def in_force(schedule: Sequence[Times], wall: float, zone: tzinfo | None) -> bool:
    """Whether ``wall`` (Unix seconds) is within ``schedule`` in ``zone`` (None: the machine's)."""
    local = datetime.fromtimestamp(wall, UTC).astimezone(zone)
    return any(times.hold(local.weekday(), local.hour * 60 + local.minute) for times in schedule)


def minutes_of_week(schedule: Sequence[str]) -> set[tuple[int, int]]:
    """Return every (weekday, minute) within ``schedule``. Raises ValueError as :meth:`Times.parse`."""
    times = [Times.parse(text) for text in schedule]
    return {(day, minute) for day in range(7) for minute in range(MINUTES) if any(t.hold(day, minute) for t in times)}


def parsable(schedule: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``schedule`` unchanged if it is valid.

    Raises:
        ValueError: an entry is not a time of the week.
    """
    for text in schedule:
        Times.parse(text)
    return schedule


def _minute(text: str, hour: str, minute: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > MINUTES:
        raise ValueError(f"{text!r}: {hour}:{minute} is not a time of day")
    return value


def _days(text: str, names: str) -> frozenset[int]:
    days: set[int] = set()
    for part in names.split(","):
        if part == "daily":
            days |= set(range(7))
            continue
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS or part.endswith("-"):
            raise ValueError(f"{text!r}: {part!r} is not a day: use {', '.join(DAYS)}, ranges of them, or daily")
        a, b = DAYS.index(first), DAYS.index(last or first)
        days |= {(a + n) % 7 for n in range((b - a) % 7 + 1)}
    return frozenset(days)
