"""What the config's schedules want now: the pure times of :mod:`edge_agent.settings.schedule` on the real clock.

A clock is known once it was synchronised since the start, or from the start when the config trusts it; a device that
loses its network afterwards keeps time. Without a known clock the devices stay released if there is a privacy schedule
(on a wrong clock it would open the camera at night), and the rates are those outside the pacing schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from edge_agent.domain.clock import Clock
from edge_agent.settings import PacingSettings, Settings
from edge_agent.settings.schedule import Times, in_force


class Schedule:
    """The schedules of ``settings``. :attr:`why` says what :meth:`private` answered last."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._private = _parsed(settings.privacy.schedule)
        self._pacing = settings.pacing
        self._paces = [(_parsed(pace.times), settings.pacing.during(pace)) for pace in settings.pacing.schedule]
        self._zone = ZoneInfo(settings.device.timezone) if settings.device.timezone else None
        self._clock = clock
        self._trusted = settings.privacy.without_clock == "trust"
        self.why = ""

    def private(self) -> bool:
        """Whether camera and microphone are to be released now; without a schedule never."""
        if not self._private:
            return False
        if not self._known():
            self.why = "privacy is on until the clock is synchronised: there is a schedule (privacy.without_clock)"
            return True
        self.why = "privacy is on by schedule"
        return self._within(self._private)

    def pacing(self) -> PacingSettings:
        """The rates that hold now, whatever is chosen."""
        if self._paces and self._known():
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
