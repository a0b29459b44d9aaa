"""First-party plugin ``identity``: recognises people who were enrolled by their own will, and who came back just now.

Runs only with ``[identity] consent`` and a declared ``privacy.context``. A face becomes an embedding, which is compared
with the templates of the enrolled people; several looks must agree before a name is believed, and everybody else is
unknown. See MODEL_CARD.md for its errors and ``docs/privacy.md`` for the law.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, FaceRecognizer, Kind, hookimpl

Network = Literal["mobilefacenet", "sface"]
"""Networks that make embeddings, by their name in the model catalogue."""


class RecognitionSettings(AnalyzerSettings):
    """The table ``[analyzers.identity]``."""

    enabled: bool = Field(default=False, description="Whether people are recognised. Needs identity.consent.")
    network: Network = Field(
        default="mobilefacenet",
        description="mobilefacenet: 5 MB, fast, weights of doubtful origin; sface: 39 MB, slower, clean licence. "
        "People enrolled with one are unknown to the other. See 'edge-agent models list'.",
    )
    threshold: float | None = Field(
        default=None,
        ge=0.3,
        le=0.95,
        description="Cosine similarity from which a face is taken for an enrolled person. Default: the network's, "
        "which holds for every group that was measured. Lower values confuse people, some groups more than others.",
    )
    looks: int = Field(default=3, ge=2, le=20, description="Looks that must agree before a name is believed.")
    min_face_px: int = Field(
        default=40, ge=32, le=1024, description="Faces with a box narrower than this many pixels are not looked at."
    )
    reidentify: bool = Field(
        default=True,
        description="Take somebody who comes back within remember_s for the same visitor, enrolled or not. Departures "
        "are published so much later.",
    )
    remember_s: float = Field(
        default=60.0, gt=0, le=60, description="Seconds for which the embedding of a lost face is kept, in memory only."
    )


def _make(settings: RecognitionSettings, context: AnalyzerContext) -> FaceRecognizer:
    from edge_agent_identity.analyzer import IdentityAnalyzer

    return IdentityAnalyzer(settings, context)


@hookimpl
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Register the analyzer."""
    return [
        AnalyzerSpec(
            name="identity",
            kind=Kind.FACE,
            summary="who is in view, of the people who were enrolled",
            settings=RecognitionSettings,
            models=lambda settings: (settings.network,),
            factory=_make,
            identifies=True,
        )
    ]
