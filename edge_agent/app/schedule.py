"""When the config's schedule wants privacy: the pure times of :mod:`edge_agent.settings.schedule` on the real clock.

A schedule on a wrong clock would open the camera at night. So until the clock was synchronised once since the start the
devices stay released, unless the config trusts the clock. Once is enough: a device that loses its network keeps time.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from edge_agent.domain.clock import Clock
from edge_agent.settings import PrivacySettings
from edge_agent.settings.schedule import Times, in_force


class Schedule:
    """The schedule of ``settings``. :attr:`why` says what :meth:`private` answered last."""

    def __init__(self, settings: PrivacySettings, clock: Clock) -> None:
        self._times = [Times.parse(text) for text in settings.schedule]
        self._zone = ZoneInfo(settings.timezone) if settings.timezone else None
        self._clock = clock
        self._known = settings.without_clock == "trust"
        self.why = ""

    def private(self) -> bool:
        """Whether camera and microphone are to be released now; without a schedule never."""
        if not self._times:
            return False
        self._known = self._known or self._clock.synced()
        if not self._known:
            self.why = "privacy is on until the clock is synchronised: there is a schedule (privacy.without_clock)"
            return True
        self.why = "privacy is on by schedule"
        return in_force(self._times, self._clock.wall(), self._zone)
