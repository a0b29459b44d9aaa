"""Vocal bursts: laughter, crying, screams, coughs, sneezes and, on request, quieter ones. Entry point ``burst``."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.plugin import AnalyzerContext, AnalyzerSpec, AudioAnalyzer, Kind, hookimpl
from edge_agent_burst.settings import BurstSettings


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


def _models(settings: BurstSettings) -> Sequence[str]:
    return ("yamnet",) if settings.engine == "yamnet" else ("burst",)


def _make(settings: BurstSettings, context: AnalyzerContext) -> AudioAnalyzer:
    from edge_agent_burst.analyzer import BurstAnalyzer
    from edge_agent_burst.factory import make_engine

    return BurstAnalyzer(make_engine(settings, context), settings.labels, settings.thresholds)
