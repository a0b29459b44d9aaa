"""A complete third-party plugin: the level of the sound once a second, in dB relative to full scale.

It needs no model. The level is of the whole band and unweighted: it tells a quiet room from a loud one and is not a
sound-level meter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from edge_agent.domain.event import Event
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.observation import Observation
from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, AudioAnalyzer, Kind, Measure, hookimpl
from edge_agent.plugin.sound import HighPass


class LoudnessSettings(AnalyzerSettings):
    """The table ``[analyzers.loudness]``."""

    every_s: float = Field(default=1.0, gt=0.0, le=60.0, description="Seconds of sound behind one reading.")
    floor_dbfs: float = Field(default=-90.0, ge=-120.0, lt=0.0, description="Reported for silence.")


class Loudness(AudioAnalyzer):
    """Sums power over ``every_s`` seconds and reports its level."""

    def __init__(self, settings: LoudnessSettings) -> None:
        self._wanted = max(1, round(settings.every_s * AUDIO_RATE))
        self._floor = settings.floor_dbfs
        self._high_pass = HighPass()  # many microphones sit at a constant voltage, which is no sound
        self._power = 0.0
        self._count = 0

    def analyze(self, block: AudioBlock) -> Sequence[Observation | Event]:
        """One observation ``loudness`` with the term ``dbfs`` for every ``every_s`` seconds that are complete."""
        if block.gap > 0.0:
            self._forget()
        samples = self._high_pass.feed(block.samples).astype(np.float64)
        found: list[Observation] = []
        position = 0
        while position < len(samples):
            part = samples[position : position + self._wanted - self._count]
            self._power += float(np.dot(part, part))
            self._count += len(part)
            position += len(part)
            if self._count == self._wanted:
                found.append(self._observe(block.time + position / AUDIO_RATE))
        return found

    def finish(self) -> Sequence[Observation | Event]:
        """The part of a reading that is not complete tells nothing."""
        self._forget()
        return ()

    def self_check(self) -> None:
        """Nothing can be missing."""

    def close(self) -> None:
        """Nothing is held."""

    def _forget(self) -> None:
        self._power, self._count = 0.0, 0
        self._high_pass.reset()

    def _observe(self, time: float) -> Observation:
        mean = self._power / self._count
        self._power, self._count = 0.0, 0
        dbfs = max(self._floor, 10.0 * math.log10(mean)) if mean > 0.0 else self._floor
        return Observation("loudness", {"dbfs": dbfs}, time)


def _make(settings: LoudnessSettings, _context: AnalyzerContext) -> Loudness:
    return Loudness(settings)


@hookimpl
def edge_agent_register_analyzers() -> Sequence[AnalyzerSpec]:
    """The analyzer ``loudness``."""
    return (
        AnalyzerSpec(
            name="loudness",
            kind=Kind.AUDIO,
            summary="Level of the sound in dB relative to full scale.",
            factory=_make,
            settings=LoudnessSettings,
            measures=(Measure("loudness.dbfs", "Loudness", "dB", "mdi:volume-high"),),
        ),
    )
