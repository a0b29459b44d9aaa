"""Run the audio lane and the speech lane: one step per block of sound, from analyzers to a report.

Synchronous and without threads, like the vision lane. Time is the media's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edge_agent.domain.event import Event
from edge_agent.domain.media import AudioBlock
from edge_agent.domain.observation import FLAG, AudioReport, Observation, Said, SpeechReport, split_flags
from edge_agent.domain.speech import Utterance
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.plugin.spec import Kind


class AudioLane:
    """Run one microphone's audio analyzers on every block, in order."""

    def __init__(self, analyzers: Sequence[ActiveAnalyzer]) -> None:
        self._analyzers = [a for a in analyzers if a.spec.kind is Kind.AUDIO]
        self._flags: dict[str, frozenset[str]] = {}
        self._end: float | None = None
        self.on_step: Callable[[], None] = lambda: None
        """Progress callback, called before each analyzer runs."""

    @property
    def wanted(self) -> bool:
        """Whether any audio analyzer is active, so that sound is of use."""
        return bool(self._analyzers)

    def offer(self, block: AudioBlock, *, after_loss: bool = False) -> AudioReport:
        """Analyse the next block. ``after_loss``: blocks before it were dropped, which makes a gap."""
        block = _with_gap(block, self._end) if after_loss else block
        found: list[Observation | Event] = []
        for active in self._analyzers:
            self.on_step()
            found += self._settle(active, active.call(lambda a: a.analyze(block), ()))
        self._end = block.end
        return self._report(block.time, block.seconds, block.gap, found)

    def finish(self) -> AudioReport:
        """End the stream: analyzers report what was still open."""
        found: list[Observation | Event] = []
        for active in self._analyzers:
            self.on_step()
            found += self._settle(active, active.call(lambda a: a.finish(), ()))
        return self._report(self._end or 0.0, 0.0, 0.0, found)

    def forget(self) -> None:
        """Drop what is open and what the analyzers have learned about voices: nobody may listen any more."""
        for active in self._analyzers:
            active.call(lambda a: a.finish(), ())
            active.forget()

    def _settle(self, active: ActiveAnalyzer, found: Sequence[Observation | Event]) -> Sequence[Observation | Event]:
        """Take the flags out of ``found``; they stay raised until the analyzer reports flags again or stops."""
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


def _with_gap(block: AudioBlock, end: float | None) -> AudioBlock:
    """Mark as a gap what is missing between ``end`` and ``block``."""
    return block if end is None else replace(block, gap=max(block.gap, block.time - end))


class SpeechLane:
    """Run one microphone's speech analyzers on every block, and the text analyzers on every utterance they complete.

    ``tell``: reports hold the words themselves; otherwise only their number and what they express.
    """

    def __init__(self, analyzers: Sequence[ActiveAnalyzer], *, tell: bool = False) -> None:
        self._listeners = [a for a in analyzers if a.spec.kind is Kind.SPEECH]
        self._readers = [a for a in analyzers if a.spec.kind is Kind.TEXT]
        self._tell = tell
        self._end: float | None = None
        self.on_step: Callable[[], None] = lambda: None
        """Progress callback, called before each analyzer runs."""

    @property
    def wanted(self) -> bool:
        """Whether any speech analyzer is active, so that sound is of use."""
        return bool(self._listeners)

    def offer(self, block: AudioBlock, *, after_loss: bool = False) -> SpeechReport:
        """Listen to the next block. ``after_loss``: blocks before it were dropped, which makes a gap."""
        lost = 0.0
        if after_loss and self._end is not None:
            lost = max(0.0, block.time - self._end)
            block = _with_gap(block, self._end)
        self._end = block.end
        return self._report(block.time, block.seconds, self._hear(lambda a: a.analyze(block)), lost)

    def finish(self) -> SpeechReport:
        """End the stream, or what was said before a pause: analyzers return what was still open."""
        return self._report(self._end or 0.0, 0.0, self._hear(lambda a: a.finish()))

    def forget(self) -> None:
        """Drop what is open and what the analyzers have learned: nobody may listen any more."""
        self._hear(lambda a: a.finish())
        self._end = None
        for active in (*self._listeners, *self._readers):
            active.forget()

    def read(self, utterance: Utterance) -> Said:
        """Run the text analyzers on ``utterance``."""
        found: list[Observation] = []
        for active in self._readers:
            self.on_step()
            found += active.call(lambda a: a.analyze(utterance), ())
        return Said(utterance, tuple(found))

    def _hear(self, use: Callable[[Any], Sequence[Utterance]]) -> list[Utterance]:
        heard: list[Utterance] = []
        for active in self._listeners:
            self.on_step()
            heard += active.call(use, ())
        return heard

    def _report(self, time: float, seconds: float, heard: Sequence[Utterance], lost: float = 0.0) -> SpeechReport:
        wordless = [utterance for utterance in heard if not utterance.count]
        # Without words: nothing was understood, or the recognizer had no time.
        rejected = sum(utterance.confidence == 0.0 for utterance in wordless)
        lost += sum(utterance.seconds for utterance in wordless if utterance.confidence != 0.0)
        said = [self.read(utterance) for utterance in heard if utterance.count]
        return SpeechReport(
            time,
            seconds,
            len(said),
            sum(one.utterance.count for one in said),
            tuple(observation for one in said for observation in one.observations),
            lost,
            tuple(said) if self._tell else (),
            rejected,
        )
