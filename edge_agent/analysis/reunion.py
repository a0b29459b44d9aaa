"""Hold back arrivals and departures until it is known whether somebody has come back. Pure; times are the frames' own.

An analyzer that recognises people may say that a new track is one that was lost (``reappeared``). Without such an
analyzer nothing is held back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edge_agent.analysis.tracking import Departure, Tracking
from edge_agent.domain.face import TrackedFace
from edge_agent.plugin.spec import JUDGED_WITHIN_S


class Reunion:
    """Hold departures back for ``patience`` seconds, in which the person may be seen again and keep the identity.

    While somebody is away, arrivals wait up to :data:`JUDGED_WITHIN_S` for the answer whether it is that person.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._away: dict[str, Departure] = {}
        self._new: dict[str, tuple[TrackedFace, float]] = {}

    def since(self, track: str) -> float | None:
        """Since when a track whose departure is held back was in view; None for others."""
        departure = self._away.get(track)
        return departure.since if departure else None

    def apply(self, tracking: Tracking, same: Mapping[str, str], now: float, missing: bool = False) -> Tracking:
        """Rename the new tracks in ``same``; release the arrivals and departures that have waited long enough.

        Who has returned neither departed nor arrived. ``missing``: somebody may come back who has not departed yet.
        """
        self._away |= {departure.track: departure for departure in tracking.departed}
        self._new |= {face.track: (face, now) for face in tracking.arrived}
        for new, old in same.items():
            self._away.pop(old, None)
            self._new.pop(new, None)
        arrived = [f for f, at in self._new.values() if not (self._away or missing) or now - at >= JUDGED_WITHIN_S]
        for face in arrived:
            del self._new[face.track]
        gone = [d for d in self._away.values() if now - d.until > self._patience]
        for departure in gone:
            del self._away[departure.track]
        return replace(
            tracking,
            faces=tuple(
                replace(f, track=same.get(f.track, f.track)) for f in tracking.faces if f.track not in same.values()
            ),
            seen=frozenset(same.get(track, track) for track in tracking.seen),
            arrived=tuple(arrived),
            departed=tuple(gone),
        )

    def finish(self) -> tuple[list[TrackedFace], list[Departure]]:
        """Release everything that was held back, arrivals and departures: nobody will be seen again."""
        arrived, gone = [face for face, _ in self._new.values()], list(self._away.values())
        self._new, self._away = {}, {}
        return arrived, gone
