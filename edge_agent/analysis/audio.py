"""The audio lane's step: every block goes to every audio analyzer, in order. Synchronous and without threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edge_agent.analysis.flags import split_flags
from edge_agent.domain.event import Event
from edge_agent.domain.media import AudioBlock
from edge_agent.domain.observation import FLAG, AudioReport, Observation
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.plugin.spec import Kind


class AudioLane:
    """Owns the audio analyzers of one microphone."""

    def __init__(self, analyzers: Sequence[ActiveAnalyzer]) -> None:
        self._analyzers = [a for a in analyzers if a.spec.kind is Kind.AUDIO]
        self._flags: dict[str, frozenset[str]] = {}
        self._end: float | None = None
        self.on_step: Callable[[], None] = lambda: None
        """Called before each analyzer is asked: the lane makes progress."""

    @property
    def wanted(self) -> bool:
        """Whether any audio analyzer is active."""
        return bool(self._analyzers)

    def offer(self, block: AudioBlock, *, after_loss: bool = False) -> AudioReport:
        """Analyse the next block. ``after_loss``: blocks before it never got here, which is a gap."""
        if after_loss and self._end is not None:
            block = replace(block, gap=max(block.gap, block.time - self._end))
        found: list[Observation | Event] = []
        for active in self._analyzers:
            self.on_step()
            found += self._settle(active, active.call(lambda a: a.analyze(block), ()))
        self._end = block.end
        return self._report(block.time, block.seconds, block.gap, found)

    def finish(self) -> AudioReport:
        """The stream ended: what was still open becomes final."""
        found: list[Observation | Event] = []
        for active in self._analyzers:
            self.on_step()
            found += self._settle(active, active.call(lambda a: a.finish(), ()))
        return self._report(self._end or 0.0, 0.0, 0.0, found)

    def _settle(self, active: ActiveAnalyzer, found: Sequence[Observation | Event]) -> Sequence[Observation | Event]:
        """``found`` without flags; those stand until the analyzer's next answer about them, or until it is gone."""
        if not active.alive:
            self._flags.pop(active.spec.name, None)
        observations = [item for item in found if isinstance(item, Observation)]
        if any(item.name == FLAG for item in observations):
            observations, self._flags[active.spec.name] = split_flags(observations)
        return [*observations, *(item for item in found if isinstance(item, Event))]

    def _report(self, time: float, seconds: float, gap: float, found: Sequence[Observation | Event]) -> AudioReport:
        observations = tuple(item for item in found if isinstance(item, Observation))
        events = tuple(item for item in found if isinstance(item, Event))
        flags = frozenset().union(*self._flags.values())
        return AudioReport(time, seconds, gap, observations, events, flags)
