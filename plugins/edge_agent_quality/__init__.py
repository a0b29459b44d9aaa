"""First-party plugin ``quality``: quality flags of the signals of camera and microphone.

Two analyzers. ``camera_quality`` raises ``dark``, ``covered``, ``frozen``, ``blurred`` and ``overexposed``; under the
first three no faces are searched for or reported. ``microphone_quality`` raises ``dead``,
``clipping``, ``offset`` and ``gap``. They judge the signal, not the scene: a dark room is as dark as a capped lens.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from edge_agent.plugin import (
    AnalyzerContext,
    AnalyzerSettings,
    AnalyzerSpec,
    AudioAnalyzer,
    Kind,
    SceneAnalyzer,
    hookimpl,
)


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


def _camera(settings: CameraQualitySettings, _context: AnalyzerContext) -> SceneAnalyzer:
    from edge_agent_quality.camera import CameraQuality

    return CameraQuality(settings)


def _microphone(settings: MicrophoneQualitySettings, _context: AnalyzerContext) -> AudioAnalyzer:
    from edge_agent_quality.microphone import MicrophoneQuality

    return MicrophoneQuality(settings)


@hookimpl
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Register both analyzers."""
    return [
        AnalyzerSpec(
            name="camera_quality",
            kind=Kind.SCENE,
            summary="flags a dark, covered, frozen, blurred or overexposed picture",
            settings=CameraQualitySettings,
            factory=_camera,
            max_fps=0.5,
        ),
        AnalyzerSpec(
            name="microphone_quality",
            kind=Kind.AUDIO,
            summary="flags dead, clipping, off-centre or interrupted sound",
            settings=MicrophoneQualitySettings,
            factory=_microphone,
        ),
    ]
