"""First-party plugin ``gaze``: where the eyes and the head of each near face point, and how open eyes and mouth are.

Two networks place 478 points on a face of 80 pixels or more, a few times a second for each person. In a running agent
it is off unless enabled; recordings and stills get it beside ``attention`` where its models are installed. Analyzer
``attention`` uses the direction of the eyes where it is sure, else that of the head. See MODEL_CARD.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, FaceAnalyzer, Kind, hookimpl

MODELS = ("face-mesh", "face-iris")
"""Names in the model catalogue."""


class GazeSettings(AnalyzerSettings):
    """``[analyzers.gaze]``"""

    enabled: bool = Field(default=False, description="Whether the direction of people's eyes is measured.")
    min_face_px: int = Field(
        default=80, ge=40, le=1024, description="Faces with a box narrower than this many pixels are not judged."
    )
    per_second: float = Field(
        default=3.0, gt=0, le=30, description="Most readings a second of each person; between them the last one holds."
    )
    mesh: bool = Field(
        default=False,
        description="Whether local readers also get the 478 points of each face (experimental); no summary holds them.",
    )


def _make(settings: GazeSettings, context: AnalyzerContext) -> FaceAnalyzer:
    from edge_agent_gaze.analyzer import GazeAnalyzer

    return GazeAnalyzer(settings, context)


@hookimpl
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Register the analyzer."""
    return [
        AnalyzerSpec(
            name="gaze",
            kind=Kind.FACE,
            summary="direction of eyes and head of near faces, eyes and mouth open",
            settings=GazeSettings,
            models=lambda _settings: MODELS,
            factory=_make,
        )
    ]
