"""The tables ``[analyzers.camera_quality]`` and ``[analyzers.microphone_quality]``."""

from __future__ import annotations

from pydantic import Field

from edge_agent.plugin import AnalyzerSettings


class CameraQualitySettings(AnalyzerSettings):
    """Limits on a grey picture of 0..255, shrunk to 160 x 120."""

    dark: float = Field(default=16.0, ge=0, le=128, description="dark: 98 % of the picture is below this grey level.")
    covered: float = Field(
        default=4.0, ge=0, le=64, description="covered: grey levels (standard deviation) a picture of something has."
    )
    covered_s: float = Field(default=6.0, ge=0, le=600, description="covered: seconds that a picture of nothing lasts.")
    frozen_s: float = Field(
        default=8.0, ge=1, le=600, description="frozen: seconds without a single pixel changing; cameras are noisy."
    )
    blurred: float = Field(
        default=20.0, ge=0, le=100, description="blurred: the steepest edges are below this share (%) of the contrast."
    )
    overexposed: float = Field(default=0.4, gt=0, le=1, description="overexposed: share of the picture that is white.")


class MicrophoneQualitySettings(AnalyzerSettings):
    """Limits on sound in -1..1."""

    dead_s: float = Field(default=5.0, ge=1, le=600, description="dead: seconds without any signal.")
    dead_dbfs: float = Field(default=-85.0, ge=-120, le=-40, description="dead: a level below this is no signal.")
    clipping: float = Field(
        default=0.005, gt=0, le=1, description="clipping: share of samples at full scale in a second."
    )
    offset: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="offset: the sound's mean over a second is this share of full scale away from zero. It is taken "
        "out before sounds are judged; a large one is a fault of the microphone and leaves less room for loud sounds.",
    )
    gap_s: float = Field(default=0.1, gt=0, le=60, description="gap: lost sound shorter than this does not count.")
