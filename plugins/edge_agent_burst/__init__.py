"""Vocal bursts: laughter, crying, screams, coughs, sneezes and, on request, quieter ones. Entry point ``burst``."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.plugin import AnalyzerContext, AnalyzerSpec, AudioAnalyzer, Kind, hookimpl
from edge_agent_burst.settings import BurstSettings

_YAMNET = "yamnet"


@hookimpl
def edge_agent_register_analyzers() -> Sequence[AnalyzerSpec]:
    """The analyzer ``burst``."""
    return (
        AnalyzerSpec(
            name="burst",
            kind=Kind.AUDIO,
            summary="Laughter, crying, screams, coughs and sneezes in the sound.",
            factory=_make,
            settings=BurstSettings,
            models=_models,
        ),
    )


def _models(_settings: BurstSettings) -> Sequence[str]:
    return (_YAMNET,)


def _make(settings: BurstSettings, context: AnalyzerContext) -> AudioAnalyzer:
    from edge_agent.domain.media import AUDIO_RATE
    from edge_agent.models.tflite import TfliteModel
    from edge_agent_burst.analyzer import BurstAnalyzer
    from edge_agent_burst.yamnet import YamnetEngine

    network = TfliteModel(context.models.locate(_YAMNET), context.threads)
    engine = YamnetEngine(network, round(settings.hop_s * AUDIO_RATE))
    return BurstAnalyzer(engine, settings.labels, settings.thresholds)
