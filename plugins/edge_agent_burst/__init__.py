"""Vocal bursts: laughter, crying, screams, coughs, sneezes and, on request, quieter ones. Entry point ``burst``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

from pydantic import Field

from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, AudioAnalyzer, Kind, hookimpl

Label = Literal["laughter", "crying", "scream", "sigh", "gasp", "groan", "cough", "throat_clearing", "sneeze"]

LABELS: tuple[Label, ...] = get_args(Label)
"""Everything that can be reported. Panting counts as ``gasp``."""

SPEECH = "speech"
BACKGROUND = "background"
REJECTIONS = (SPEECH, BACKGROUND)
"""Classes that models know and that are never reported."""

TRUSTED: tuple[Label, ...] = ("laughter", "crying", "cough", "sneeze")
"""Labels reported unless the operator says otherwise; the model card gives the reasons."""


class BurstSettings(AnalyzerSettings):
    """What is listened for and how sure it must be."""

    engine: Literal["auto", "own", "yamnet"] = Field(
        default="own",
        description="own: the bundled model; yamnet: YAMNet alone ('edge-agent models pull yamnet'); auto: the bundled "
        "model, with YAMNet's second opinion where it is installed, which on unknown real bursts is no better.",
    )
    labels: tuple[Label, ...] = Field(
        default=TRUSTED,
        description="Bursts to report. scream, sigh, gasp, groan and throat_clearing can be added but are often wrong.",
    )
    thresholds: Mapping[Label, Annotated[float, Field(gt=0.0, le=1.0)]] = Field(
        default_factory=dict,
        description="Score from which a label is believed, e.g. {cough = 0.5}. Default: the model's own, per label.",
    )
    hop_s: float = Field(
        default=0.24, ge=0.1, le=0.5, description="Seconds between two looks at the sound; longer saves power."
    )


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
    from edge_agent_burst.analyzer import BurstAnalyzer, make_engine

    return BurstAnalyzer(make_engine(settings, context), settings.labels, settings.thresholds)
