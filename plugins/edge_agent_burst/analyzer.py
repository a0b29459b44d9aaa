"""The audio analyzer: sound in blocks of any length to ``burst`` events with refined beginnings and ends.

Sound, without a constant offset, is handed to the engine at once; what the engine reads goes through the event logic,
and the loudness envelope sharpens the result. An event is given when it is over, or when it has lasted as long as its
label may. Nothing of the sound outlives the engine's window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edge_agent.domain.errors import PluginError
from edge_agent.domain.event import BURST, Event
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.models import TfliteModel
from edge_agent.plugin import AnalyzerContext
from edge_agent.plugin.sound import HighPass
from edge_agent.plugin.spec import AudioAnalyzer
from edge_agent_burst import LABELS, BurstSettings, Label, own, yamnet
from edge_agent_burst.events import Arbiter, Envelope, LabelPolicy, Reading, Segment
from edge_agent_burst.own import Engine

_PAUSE_S: Mapping[str, float] = {"laughter": 0.8, "crying": 1.0, "gasp": 0.6, "cough": 0.6}
"""Longest pause inside one event of a label, seconds."""
_PAUSE_DEFAULT_S = 0.3


class BurstAnalyzer(AudioAnalyzer):
    """Reports ``labels`` as ``engine`` hears them; ``thresholds`` replace the engine's own ``on`` values."""

    def __init__(self, engine: Engine, labels: Sequence[Label], thresholds: Mapping[Label, float]) -> None:
        self._engine = engine
        policies: dict[str, LabelPolicy] = {
            label: _with_threshold(engine.policies[label], thresholds.get(label)) for label in LABELS if label in labels
        }
        self._high_pass = HighPass()
        self._envelope = Envelope()
        self._heard = 0
        self._origin = 0.0
        self._arbiter = Arbiter(policies, self._refine)

    def analyze(self, block: AudioBlock) -> Sequence[Event]:
        """Events that ended within this block."""
        events: list[Event] = []
        if block.gap > 0.0:
            events.extend(self.finish())
        # The microphone's clock is not ours: where sample 0 lies in our time is corrected with every block.
        self._origin = block.time - self._heard / AUDIO_RATE
        # An offset of 1 % hides a room's bursts from both, the model and the levels.
        samples = self._high_pass.feed(np.nan_to_num(block.samples, nan=0.0, posinf=1.0, neginf=-1.0))
        self._heard += len(samples)
        self._envelope.feed(samples)
        events.extend(self._judge(self._engine.feed(samples)))
        return events

    def finish(self) -> Sequence[Event]:
        """Judge what is left, end what is open, forget the sound."""
        events = self._judge(self._engine.drain())
        events.extend(self._event(segment) for segment in self._arbiter.flush())
        self._engine.reset()
        self._envelope.reset()
        self._high_pass.reset()
        self._heard = 0
        return events

    def self_check(self) -> None:
        """Two seconds of silence through the model must give readings and no burst.

        Raises:
            PluginError: the model hears bursts in silence or nothing at all.
        """
        silence = np.zeros(2 * AUDIO_RATE, np.float32)
        readings = list(self._engine.feed(silence))
        self._engine.reset()
        if not readings:
            raise PluginError("burst: the model gave no reading for two seconds of sound; reinstall it")
        loudest = max(max(reading.scores.values()) for reading in readings)
        if not loudest < 0.5:
            raise PluginError(f"burst: the model hears a burst in silence (score {loudest:.2f}); reinstall it")

    def close(self) -> None:
        """Nothing is held that the engine's disposal does not free."""

    def _judge(self, readings: Iterable[Reading]) -> list[Event]:
        return [self._event(segment) for reading in readings for segment in self._arbiter.push(reading)]

    def _refine(self, segment: Segment) -> Segment:
        pause = _PAUSE_S.get(segment.label, _PAUSE_DEFAULT_S)
        heard = self._heard / AUDIO_RATE
        start, end = self._envelope.edges(segment.start, segment.sure, min(segment.end, heard), pause)
        return replace(segment, start=start, end=max(start, end))

    def _event(self, segment: Segment) -> Event:
        seconds = round(segment.end - segment.start, 3)
        return Event(BURST, segment.label, round(segment.score, 3), self._origin + segment.start, seconds)


def _with_threshold(policy: LabelPolicy, on: float | None) -> LabelPolicy:
    """The policy with another ``on``; ``off`` keeps its ratio to it."""
    return policy if on is None else replace(policy, on=on, off=policy.off * on / policy.on)


# ---------------------------------------------------------------------- choosing an engine


def make_engine(settings: BurstSettings, context: AnalyzerContext) -> Engine:
    """The engine that the settings name.

    Raises:
        ModelError: its model is missing or damaged; the text says how to get it.
    """
    hop = round(settings.hop_s * AUDIO_RATE)
    module = yamnet if settings.engine == "yamnet" else own
    network = TfliteModel(context.models.locate(module.MODEL), context.threads)
    return yamnet.YamnetEngine(network, hop) if module is yamnet else own.OwnEngine(network, hop)
