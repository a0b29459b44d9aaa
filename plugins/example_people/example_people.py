"""Count of the people who came near enough to be customers, once each, with no model of its own.

It shows an analyzer of kind ``face``: observations about each face, a count that the summaries add up, and an event.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from edge_agent.domain.event import Event
from edge_agent.domain.face import TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import Observation
from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, FaceAnalyzer, Kind, Measure, hookimpl


class PeopleSettings(AnalyzerSettings):
    """The table ``[analyzers.people]``."""

    min_height: float = Field(
        default=0.1, gt=0.0, le=1.0, description="Height of a face, of the picture's, from which somebody is near."
    )
    stay_s: float = Field(default=2.0, ge=0.0, le=600.0, description="Seconds near until somebody counts.")


class PeopleCounter(FaceAnalyzer):
    """Counts each track that was near for ``stay_s`` seconds. Who leaves and comes back is counted again."""

    def __init__(self, settings: PeopleSettings) -> None:
        self._settings = settings
        self._near_since: dict[str, float] = {}
        self._counted: set[str] = set()

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation | Event]:
        """Return ``people`` with ``came`` 1 once for each person, and an event ``customer`` at the same moment."""
        present = {tracked.track for tracked in faces}
        near = {tracked.track for tracked in faces if tracked.face.box.h >= self._settings.min_height}
        self._near_since = {track: self._near_since.get(track, frame.time) for track in sorted(near)}
        self._counted &= present
        found: list[Observation | Event] = []
        for track, since in self._near_since.items():
            stayed = frame.time - since
            if stayed >= self._settings.stay_s and track not in self._counted:
                self._counted.add(track)
                found.append(Observation("people", {"came": 1.0}, frame.time, track))
                found.append(Event(kind="customer", label="came", score=1.0, start=since, seconds=stayed))
        return found

    def forget(self) -> None:
        """Drop the tracks: privacy begins."""
        self._near_since.clear()
        self._counted.clear()


def _make(settings: PeopleSettings, _context: AnalyzerContext) -> PeopleCounter:
    return PeopleCounter(settings)


@hookimpl
def edge_agent_register_analyzers() -> Sequence[AnalyzerSpec]:
    """Register the analyzer ``people``."""
    return [
        AnalyzerSpec(
            name="people",
            kind=Kind.FACE,
            summary="Counts the people who came near.",
            factory=_make,
            settings=PeopleSettings,
            measures=[Measure("people.came", "People who came", icon="mdi:account-plus", statistic="sum")],
            events={"customer": ["came"]},
        )
    ]
