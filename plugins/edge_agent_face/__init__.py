"""First-party plugin ``face``: where the faces are, with six key points each. BlazeFace in its short or full range.

It finds faces; it does not tell people apart and keeps nothing between pictures.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent.plugin import AnalyzerContext, AnalyzerSpec, FaceDetector, Kind, hookimpl
from edge_agent_face.settings import FaceSettings


def _models(settings: FaceSettings) -> tuple[str, ...]:
    from edge_agent_face.blazeface import variants_for

    return tuple(variant.model for variant in variants_for(settings.range))


def _make(settings: FaceSettings, context: AnalyzerContext) -> FaceDetector:
    from edge_agent_face.detector import BlazeFaceDetector

    return BlazeFaceDetector(settings, context)


@hookimpl
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Offer the analyzer."""
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
