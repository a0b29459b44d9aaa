"""Count recognised people, and announce each once a visit. Names appear only where they may be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_agent.domain.event import PERSON, RECOGNISED, Event
from edge_agent.domain.observation import IDENTITY, UNKNOWN_PERSON, VisionReport
from edge_agent.domain.recognition import IdentitySums, Naming, PersonSums


class Identities:
    """Who the tracks in view are: the key of an enrolled person, or somebody unknown."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._keys: dict[str, str] = {}

    def learn(self, track: str, key: str) -> None:
        """Note who ``track`` is."""
        self._keys[track] = key

    def keep(self, tracks: Sequence[str]) -> None:
        """Forget all tracks but these."""
        self._keys = {track: key for track, key in self._keys.items() if track in tracks}

    def names(self, tracks: Sequence[str]) -> tuple[str, ...] | None:
        """The names of the enrolled people among ``tracks``; None where names may not be told."""
        return self._naming.names(self._known(tracks))

    def count(self, tracks: Sequence[str], dt: float, expressed: Callable[[str], PersonSums]) -> IdentitySums:
        """The sums of ``dt`` seconds with ``tracks`` in view; ``expressed`` returns those of one track."""
        judged = [track for track in tracks if track in self._keys]
        if not judged:
            return IdentitySums()
        known = self._known(tracks)
        sums = IdentitySums(len(known) * dt, (len(judged) - len(known)) * dt, len(known))
        for track in judged if self._naming.joined else ():
            name = self._naming.name(self._keys[track])
            if name is not None:
                sums += IdentitySums(people={name: expressed(track)})
        return sums

    def _known(self, tracks: Sequence[str]) -> list[str]:
        keys = (self._keys.get(track, UNKNOWN_PERSON) for track in tracks)
        return [key for key in keys if key != UNKNOWN_PERSON]


ABSENT_S = 60.0
"""Seconds without a sight after which an enrolled person is announced again."""


class Recognitions:
    """Turn identities into events: one for each visit of an enrolled person."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._seen: dict[str, float] = {}

    def accept(self, report: VisionReport) -> list[Event]:
        """Return the events of the enrolled people who were not in view for a while."""
        self._seen = {key: at for key, at in self._seen.items() if report.time - at <= ABSENT_S}
        found = []
        for observation in report.observations:
            if observation.name != IDENTITY:
                continue
            ((key, score),) = observation.values.items()
            if key != UNKNOWN_PERSON and key not in self._seen:
                name = self._naming.name(key) if self._naming.published else None
                found.append(Event(RECOGNISED, PERSON, score, observation.time, 0.0, name=name or ""))
            if key != UNKNOWN_PERSON:
                self._seen[key] = report.time
        return found
