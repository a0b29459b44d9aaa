"""Evaluate the schedules of the config: the pure times of :mod:`edge_agent.settings.schedule` on the real clock.

The time is known once the clock was synchronised since the start, or from the start when the config trusts it; a device
that loses its network afterwards keeps time. Without a known clock or time zone the devices stay released if there is a
privacy schedule (it would open the camera at the wrong hours), and the rates are those outside the pacing schedule.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edge_agent.domain.clock import Clock
from edge_agent.settings import PacingSettings, Settings
from edge_agent.settings.schedule import Times, in_force

_DAMAGED = (OSError, ValueError, IndexError, struct.error)
"""Errors of reading a zone file that is missing, damaged or cut short."""

LOCALTIME = Path("/etc/localtime")

_POSIX = re.compile(r"(<[A-Za-z0-9+-]{3,}>|[A-Za-z]{3,})[+-]?\d{1,3}(:\d\d){0,2}.*")
"""POSIX rules in place of a zone name, as ``CET-1CEST,M3.5.0,M10.5.0/3``; at least a name and an offset."""


class UnknownZoneError(ValueError):
    """The time zone of this machine cannot be determined; the message says why."""


def machine_zone(environ: Mapping[str, str] = os.environ, localtime: Path = LOCALTIME) -> tzinfo | None:
    """Time zone of the C library, as ``TZ`` or ``/etc/localtime`` names it; None: POSIX rules, which only it can read.

    Raises:
        UnknownZoneError: the name is unknown or the zone file is missing; the C library silently uses UTC then.
    """
    name = environ.get("TZ")
    if name is None:
        return _zone_in(localtime, f"{localtime} is missing or unreadable and TZ is not set")
    name = name.removeprefix(":")
    if name in ("", "UTC", "GMT"):
        return UTC
    unknown = f"TZ = {name!r} names no time zone of this machine (is the package tzdata installed?)"
    if name.startswith("/"):
        return _zone_in(Path(name), unknown)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, *_DAMAGED):
        if _POSIX.fullmatch(name):
            return None
        raise UnknownZoneError(unknown) from None


def _zone_in(path: Path, unknown: str) -> tzinfo:
    try:
        with path.open("rb") as file:
            return ZoneInfo.from_file(file)
    except _DAMAGED:
        raise UnknownZoneError(unknown) from None


class Schedule:
    """Schedules of privacy and rates. :attr:`why` gives the reason for the last result of :meth:`private`.

    :attr:`problem` says why they cannot be followed, and is empty otherwise.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        environ: Mapping[str, str] = os.environ,
        localtime: Path = LOCALTIME,
    ) -> None:
        self._private = _parsed(settings.privacy.schedule)
        self._pacing = settings.pacing
        self._paces = [(_parsed(pace.times), settings.pacing.during(pace)) for pace in settings.pacing.schedule]
        self._zone: tzinfo | None = None
        self.problem = ""
        if settings.device.timezone:
            self._zone = ZoneInfo(settings.device.timezone)
        elif self._private or self._paces:
            try:
                self._zone = machine_zone(environ, localtime)
            except UnknownZoneError as error:
                self.problem = f"the time zone of the schedules is unknown: {error}; set device.timezone"
        self.zone_name = settings.device.timezone or environ.get("TZ") or f"the zone of {localtime.resolve()}"
        self._clock = clock
        self._trusted = settings.privacy.without_clock == "trust"
        self.why = ""

    def private(self) -> bool:
        """Whether camera and microphone are to be released now; without a schedule never."""
        if not self._private:
            return False
        if self.problem:
            self.why = f"privacy is on: {self.problem}"
            return True
        if not self._known():
            self.why = "privacy is on until the clock is synchronised: there is a schedule (privacy.without_clock)"
            return True
        try:
            within = self._within(self._private)
        except (ValueError, OverflowError, OSError):  # the year 10000: the clock is broken, whoever trusts it
            self.why = "privacy is on: the clock says no time that exists"
            return True
        self.why = "privacy is on by schedule"
        return within

    def pacing(self) -> PacingSettings:
        """The configured rates that are in force now, before overrides."""
        if self._paces and not self.problem and self._known():
            for times, pacing in self._paces:
                if self._within(times):
                    return pacing
        return self._pacing

    def _known(self) -> bool:
        self._trusted = self._trusted or self._clock.synced()
        return self._trusted

    def _within(self, times: Sequence[Times]) -> bool:
        return in_force(times, self._clock.wall(), self._zone)


def _parsed(schedule: Sequence[str]) -> list[Times]:
    return [Times.parse(text) for text in schedule]
