"""Options of the table ``[analyzers.burst]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from edge_agent.plugin.spec import AnalyzerSettings
from edge_agent_burst.labels import Label

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
