"""How people speak, not what they say: arousal, pitch, loudness, rate and pauses of each turn. Entry point ``voice``.

Experimental and off unless enabled. Arousal is relative to the habit of whoever speaks, which is learnt from the turns
just heard, kept in memory only and forgotten when the sound pauses. Voices are not told apart: one person at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, AudioAnalyzer, Kind, hookimpl


class VoiceSettings(AnalyzerSettings):
    """Where turns end, and how much of a voice must be known before its arousal is told."""

    enabled: bool = Field(
        default=False, description="Whether the manner of speaking is measured; experimental, see the model card."
    )
    pause_s: float = Field(default=0.8, ge=0.3, le=3.0, description="Seconds without a voice that end a turn.")
    longest_s: float = Field(
        default=10.0, ge=3.0, le=30.0, description="Seconds after which a long turn is reported in parts."
    )
    shortest_s: float = Field(default=0.5, ge=0.2, le=3.0, description="Seconds of speech that are worth measuring.")
    habit_turns: int = Field(
        default=3, ge=1, le=20, description="Turns that must be known before arousal is told; the last one counts."
    )
    forget_s: float = Field(
        default=60.0, ge=5.0, le=3600.0, description="Seconds without speech after which someone else may be speaking."
    )


@hookimpl
def edge_agent_register_analyzers() -> Sequence[AnalyzerSpec]:
    """The analyzer ``voice``."""
    return (
        AnalyzerSpec(
            name="voice",
            kind=Kind.AUDIO,
            summary="Arousal, pitch, loudness, rate and pauses of speech (experimental).",
            factory=_make,
            settings=VoiceSettings,
        ),
    )


def _make(settings: VoiceSettings, _context: AnalyzerContext) -> AudioAnalyzer:
    from edge_agent_voice.analyzer import VoiceAnalyzer
    from edge_agent_voice.arousal import Arousal

    return VoiceAnalyzer(settings, Arousal.bundled())
