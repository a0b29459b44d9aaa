"""English speech to utterances: voice activity, then Moonshine, once an utterance is over. Entry point ``speech``.

Off unless enabled, and in need of the extra ``[speech]``. What was said goes from here to the analyzers of kind text.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, Kind, SpeechAnalyzer, hookimpl


class SpeechSettings(AnalyzerSettings):
    """Where utterances begin and end, and how far behind the recognizer may fall."""

    enabled: bool = Field(default=False, description="Whether speech is transcribed, in memory, for analyzers of text.")
    voice_threshold: float = Field(
        default=0.5, gt=0.0, le=0.8, description="Probability of a voice from which an utterance begins."
    )
    pause_s: float = Field(default=0.6, ge=0.2, le=3.0, description="Seconds without a voice that end an utterance.")
    shortest_s: float = Field(
        default=0.3, ge=0.1, le=2.0, description="Seconds of voice below which a sound is not transcribed."
    )
    longest_s: float = Field(
        default=15.0, ge=4.0, le=20.0, description="Seconds after which an utterance is split, at its quietest place."
    )
    max_delay_s: float | None = Field(
        default=10.0,
        gt=0.0,
        description="Seconds that the recognizer may be behind; then utterances are skipped, and reported without "
        "words, until it has caught up. Recordings: no limit.",
    )


@hookimpl
def edge_agent_register_analyzers() -> Sequence[AnalyzerSpec]:
    """The analyzer ``speech``."""
    return (
        AnalyzerSpec(
            name="speech",
            kind=Kind.SPEECH,
            summary="English speech, transcribed in memory for analyzers of text (extra [speech]).",
            factory=_make,
            settings=SpeechSettings,
            # 200 MB of native code and weights: when memory is short or the code fails, the agent lives on.
            isolation="process",
            recorded={"max_delay_s": None},
        ),
    )


def _make(settings: SpeechSettings, _context: AnalyzerContext) -> SpeechAnalyzer:
    from edge_agent_speech.analyzer import UtteranceAnalyzer
    from edge_agent_speech.engine import Moonshine, Silero

    return UtteranceAnalyzer(settings, Silero(), Moonshine())
