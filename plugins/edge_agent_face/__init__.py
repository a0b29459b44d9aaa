"""First-party plugin ``face``: face detection with six key points each, by BlazeFace in its short or full range.

Detects faces; does not identify people and stores nothing about them between pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, FaceDetector, Kind, hookimpl

Range = Literal["near", "far", "auto"]


class FaceSettings(AnalyzerSettings):
    """Range of the search for faces, and the limits for a face to count."""

    range: Range = Field(
        default="near",
        description="near: to about 2 m, fastest. far: to about 4 m, at about three times the cost. "
        "auto: to 5 m; as near where nothing suggests a person further away, else with extra looks. "
        "Recordings, uploads and still pictures are looked at with auto unless this is set.",
    )
    extra_looks: int = Field(
        default=2,
        ge=1,
        le=8,
        description="Range auto: most looks of the full range in a search, each as dear as far.",
    )
    min_score: float = Field(
        default=0.3,
        ge=0.05,
        le=0.99,
        description="Least probability of being a face; from there to 0.5 it only keeps a person who is known already.",
    )
    min_face: float = Field(
        default=0.0, ge=0, lt=1, description="Faces narrower than this fraction of the picture's width do not count."
    )
    max_faces: int = Field(
        default=10, ge=1, le=50, description="Most faces reported for a picture, most certain first."
    )


def _models(settings: FaceSettings) -> tuple[str, ...]:
    from edge_agent_face.blazeface import variants_for

    return tuple(variant.model for variant in variants_for(settings.range))


def _make(settings: FaceSettings, context: AnalyzerContext) -> FaceDetector:
    from edge_agent_face.detector import BlazeFaceDetector

    return BlazeFaceDetector(settings, context)


@hookimpl
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Register the analyzer."""
    return [
        AnalyzerSpec(
            name="face",
            kind=Kind.DETECTOR,
            summary="faces with key points, near (to 2 m), far (to 4 m) or both (to 5 m)",
            settings=FaceSettings,
            models=_models,
            factory=_make,
            recorded={"range": "auto"},
        )
    ]
