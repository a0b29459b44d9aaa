"""The audio lane's step: every block goes to every audio analyzer, in order. Synchronous and without threads."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.domain.event import Event
from edge_agent.domain.media import AudioBlock
from edge_agent.domain.observation import AudioReport, Observation
from edge_agent.plugin.manager import ActiveAnalyzer
from edge_agent.plugin.spec import Kind


class AudioLane:
    """Owns the audio analyzers of one microphone."""

    def __init__(self, analyzers: Sequence[ActiveAnalyzer]) -> None:
        self._analyzers = [a for a in analyzers if a.spec.kind is Kind.AUDIO]
        self._end = 0.0

    @property
    def wanted(self) -> bool:
        """Whether any audio analyzer is active."""
        return bool(self._analyzers)

    def offer(self, block: AudioBlock) -> AudioReport:
        """Analyse the next block."""
        found: list[Observation | Event] = []
        for active in self._analyzers:
            found += active.call(lambda a: a.analyze(block), ())
        self._end = block.end
        return _report(block.time, block.seconds, block.gap, found)

    def finish(self) -> AudioReport:
        """The stream ended: what was still open becomes final."""
        found: list[Observation | Event] = []
        for active in self._analyzers:
            found += active.call(lambda a: a.finish(), ())
        return _report(self._end, 0.0, 0.0, found)


def _report(time: float, seconds: float, gap: float, found: Sequence[Observation | Event]) -> AudioReport:
    observations = tuple(item for item in found if isinstance(item, Observation))
    events = tuple(item for item in found if isinstance(item, Event))
    return AudioReport(time, seconds, gap, observations, events)
