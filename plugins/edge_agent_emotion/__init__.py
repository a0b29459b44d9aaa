"""First-party plugin ``emotion``: how an average observer would label each tracked face's expression.

Runs the bundled int8 network on a 48x48 grey crop that is levelled by the eyes and framed as the training data is.
Returns a distribution over the eight FER+ classes, calibrated on FER+: expressions, not feelings. See MODEL_CARD.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, FaceAnalyzer, Kind, hookimpl

MODEL = "emotion"
"""Name in the model catalogue; the file comes with the package."""


Prior = Literal["trained", "between", "balanced"]
"""How often each class is expected before a face is looked at; see MODEL_CARD.md."""


class EmotionSettings(AnalyzerSettings):
    """``[analyzers.emotion]``"""

    min_face_px: int = Field(
        default=28, ge=12, le=1024, description="Faces with a box narrower than this many pixels are not judged."
    )
    min_score: float = Field(default=0.5, ge=0, le=1, description="Least detector score of a face to be judged.")
    prior: Prior = Field(
        default="between",
        description="How often each expression is expected. trained: as in the training photographs, most often right "
        "on such; balanced: all alike, so that rare ones are found and neutral faces are called something oftener; "
        "between: rare ones are found oftener at almost no cost.",
    )


def _make(settings: EmotionSettings, context: AnalyzerContext) -> FaceAnalyzer:
    from edge_agent_emotion.analyzer import EmotionAnalyzer

    return EmotionAnalyzer(settings, context)


@hookimpl
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Register the analyzer."""
    return [
        AnalyzerSpec(
            name="emotion",
            kind=Kind.FACE,
            summary="facial expression as a distribution over the eight FER+ classes",
            settings=EmotionSettings,
            models=lambda _settings: (MODEL,),
            factory=_make,
        )
    ]
