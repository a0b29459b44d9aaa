"""Vocal bursts, and other sounds on request: a doorbell, a dog, an alarm. Entry point ``burst``.

The analyzer ``burst`` reports laughter, crying, coughs and others with the bundled model; ``sound``, off unless
enabled, reports sound events with YAMNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

from pydantic import Field

from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, AudioAnalyzer, Kind, hookimpl

Label = Literal["laughter", "crying", "scream", "sigh", "gasp", "groan", "cough", "throat_clearing", "sneeze"]

LABELS: tuple[Label, ...] = get_args(Label)
"""Everything that can be reported. Panting counts as ``gasp``."""

SPEECH = "speech"
BACKGROUND = "background"
REJECTIONS = (SPEECH, BACKGROUND)
"""Classes that models know and that are never reported."""

TRUSTED: tuple[Label, ...] = ("laughter", "crying", "cough", "sneeze")
"""Labels reported unless the operator says otherwise; the model card gives the reasons."""


class BurstSettings(AnalyzerSettings):
    """What is listened for and how sure it must be."""

    engine: Literal["own", "yamnet"] = Field(
        default="own",
        description="own: the bundled model; yamnet: YAMNet ('edge-agent models pull yamnet'), which finds fewer.",
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


SOUND = "sound"
"""Event kind of what the analyzer ``sound`` hears."""

Sound = Literal[
    "alarm", "applause", "baby_cry", "bark", "bird", "car", "car_alarm", "car_horn", "cat", "cheering", "chicken",
    "dishes", "dog", "door", "doorbell", "explosion", "fire_alarm", "fireworks", "footsteps", "glass_breaking",
    "gunshot", "helicopter", "knock", "music", "power_tool", "rain", "scream", "siren", "smoke_alarm", "snoring",
    "speech", "telephone", "thunder", "toilet_flush", "train", "vacuum_cleaner", "water_tap", "whistling", "yell",
]  # fmt: skip


class SoundSettings(AnalyzerSettings):
    """Sound events, heard by YAMNet: 'edge-agent models pull yamnet'."""

    enabled: bool = Field(default=False, description="Whether sounds other than vocal bursts are reported.")
    sounds: tuple[Sound, ...] = Field(
        default=("doorbell", "dog", "glass_breaking", "smoke_alarm"),
        min_length=1,
        description="Sounds to report, groups of AudioSet's classes. As event/sound on MQTT.",
    )
    threshold: float = Field(default=0.5, gt=0.0, le=1.0, description="Score from which a sound is believed.")
    thresholds: Mapping[Sound, Annotated[float, Field(gt=0.0, le=1.0)]] = Field(
        default_factory=dict, description="The same for single sounds, e.g. {doorbell = 0.3}."
    )


@hookimpl
def edge_agent_register_analyzers() -> Sequence[AnalyzerSpec]:
    """The analyzers ``burst`` and ``sound``."""
    return (
        AnalyzerSpec(
            name="burst",
            kind=Kind.AUDIO,
            summary="Laughter, crying, screams, coughs and sneezes in the sound.",
            factory=_make,
            settings=BurstSettings,
            models=_models,
        ),
        AnalyzerSpec(
            name="sound",
            kind=Kind.AUDIO,
            summary="Doorbell, dog, breaking glass, alarms and other sound events, by YAMNet.",
            factory=_make_sound,
            settings=SoundSettings,
            models=lambda _settings: ("yamnet",),
            events={SOUND: get_args(Sound)},
        ),
    )


def _models(settings: BurstSettings) -> Sequence[str]:
    return ("yamnet",) if settings.engine == "yamnet" else ("burst",)


def _make(settings: BurstSettings, context: AnalyzerContext) -> AudioAnalyzer:
    from edge_agent_burst.analyzer import BurstAnalyzer, make_engine

    return BurstAnalyzer(make_engine(settings, context), settings.labels, settings.thresholds)


def _make_sound(settings: SoundSettings, context: AnalyzerContext) -> AudioAnalyzer:
    from edge_agent.models import TfliteModel
    from edge_agent_burst.sounds import SoundAnalyzer
    from edge_agent_burst.yamnet import MODEL

    network = TfliteModel(context.models.locate(MODEL), context.threads)
    return SoundAnalyzer(network, settings.sounds, lambda sound: settings.thresholds.get(sound, settings.threshold))
