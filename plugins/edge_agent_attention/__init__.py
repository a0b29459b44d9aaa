"""First-party plugin ``attention``: whether each tracked face attends to the camera, by its eyes or its head.

Where analyzer ``gaze`` is enabled and sure, the direction of the eyes decides; else that of the head, from the six key
points of the detector, with an error of about ten degrees. Needs no model of its own. See
:mod:`edge_agent_attention.analyzer` for the geometry and its limits.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, FaceAnalyzer, Kind, hookimpl


class AttentionSettings(AnalyzerSettings):
    """The table ``[analyzers.attention]``."""

    cone_deg: float = Field(
        default=25.0,
        ge=5,
        le=60,
        description="A head within this many degrees of the direction to attend to is looking.",
    )
    eyes_cone_deg: float = Field(
        default=12.0, ge=5, le=60, description="The same for eyes, where their direction is known (analyzer gaze)."
    )
    yaw_deg: float = Field(
        default=0.0, ge=-60, le=60, description="Where to attend to, from the camera: degrees to the viewer's right."
    )
    pitch_deg: float = Field(default=0.0, ge=-45, le=45, description="Where to attend to, from the camera: degrees up.")


def _make(settings: AttentionSettings, _context: AnalyzerContext) -> FaceAnalyzer:
    from edge_agent_attention.analyzer import AttentionAnalyzer

    return AttentionAnalyzer(settings)


@hookimpl
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Register the analyzer."""
    return [
        AnalyzerSpec(
            name="attention",
            kind=Kind.FACE,
            summary="whether each face attends to the camera",
            settings=AttentionSettings,
            factory=_make,
            uses=("gaze",),
        )
    ]
