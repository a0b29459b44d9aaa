"""Quality flags of the microphone, from each second of sound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge_agent.domain.event import Event
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.observation import FLAG, Observation
from edge_agent.plugin import AudioAnalyzer
from edge_agent.plugin.sound import HighPass
from edge_agent_quality import MicrophoneQualitySettings

_FULL = 0.985
"""Samples at least this far from zero are at full scale, whatever the gain control does to the last bits."""


class MicrophoneQuality(AudioAnalyzer):
    """Analyzer ``microphone_quality``; see the package. Flags are of the last complete second; a gap is immediate."""

    def __init__(self, settings: MicrophoneQualitySettings) -> None:
        self._settings = settings
        self._count = 0
        self._high_pass = HighPass()
        self._power = 0.0
        self._sum = 0.0
        self._full = 0
        self._silent = 0.0
        self._gap = False

    def analyze(self, block: AudioBlock) -> Sequence[Observation | Event]:
        """An observation when a second is complete or sound was lost."""
        samples = block.samples.astype(np.float64)
        lost = block.gap >= self._settings.gap_s
        self._gap = self._gap or lost
        self._count += len(samples)
        moving = self._high_pass.feed(samples)
        self._power += float(np.dot(moving, moving))
        self._sum += float(samples.sum())
        self._full += int(np.count_nonzero(np.abs(samples) >= _FULL))
        if self._count < AUDIO_RATE and not lost:
            return ()
        return (self._judge(block.end),)

    def finish(self) -> Sequence[Observation | Event]:
        """Discard an incomplete second; the next block begins another stream."""
        self._count, self._power, self._sum, self._full, self._silent, self._gap = 0, 0.0, 0.0, 0, 0.0, False
        self._high_pass.reset()
        return ()

    def self_check(self) -> None:
        """Do nothing: there is no model."""

    def close(self) -> None:
        """Do nothing: no resource is held."""

    def _judge(self, now: float) -> Observation:
        count, seconds = max(1, self._count), self._count / AUDIO_RATE
        # A dead input may have a constant voltage, even at full scale: that is neither signal nor clipping.
        power = self._power / count
        still = power <= 0 or 10 * math.log10(power) < self._settings.dead_dbfs
        self._silent = self._silent + seconds if still else 0.0
        flags = {
            "dead": self._silent >= self._settings.dead_s,
            "clipping": not still and self._full / count > self._settings.clipping,
            "offset": abs(self._sum / count) > self._settings.offset,
            "gap": self._gap,
        }
        self._count, self._power, self._sum, self._full, self._gap = 0, 0.0, 0.0, 0, False
        return Observation(FLAG, {name: float(up) for name, up in flags.items()}, now)
