"""First-party plugin ``language``: which emotions readers would find in English words, 27 of them and neutral.

Runs our own int8 network on hashed words and pieces of words. Each probability stands for itself: several emotions, or
none, may be in a text. Another language, empty and too short text are told as such. See MODEL_CARD.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, Kind, TextAnalyzer, hookimpl

MODEL = "language"
"""Name in the model catalogue; the file comes with the package."""


class LanguageSettings(AnalyzerSettings):
    """``[analyzers.language]``"""

    min_words: int = Field(default=1, ge=1, le=50, description="Texts with fewer words are not judged.")


def _make(settings: LanguageSettings, context: AnalyzerContext) -> TextAnalyzer:
    from edge_agent_language.analyzer import LanguageAnalyzer

    return LanguageAnalyzer(settings, context)


@hookimpl
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Offer the analyzer."""
    return [
        AnalyzerSpec(
            name="language",
            kind=Kind.TEXT,
            summary="emotions that English words express: the 28 GoEmotions classes, each with its own probability",
            settings=LanguageSettings,
            models=lambda _settings: (MODEL,),
            factory=_make,
        )
    ]
