"""First-party plugin ``quality``: whether camera and microphone deliver anything worth analysing.

Two analyzers. ``camera_quality`` raises ``dark``, ``covered``, ``frozen``, ``blurred`` and ``overexposed``; under the
first three nobody is looked for and nothing is reported about faces. ``microphone_quality`` raises ``dead``,
``clipping``, ``offset`` and ``gap``. They judge the signal, not the scene: a dark room is as dark as a capped lens.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent.plugin import AnalyzerContext, AnalyzerSpec, AudioAnalyzer, Kind, SceneAnalyzer, hookimpl
from edge_agent_quality.settings import CameraQualitySettings, MicrophoneQualitySettings


def _camera(settings: CameraQualitySettings, _context: AnalyzerContext) -> SceneAnalyzer:
    from edge_agent_quality.camera import CameraQuality

    return CameraQuality(settings)


def _microphone(settings: MicrophoneQualitySettings, _context: AnalyzerContext) -> AudioAnalyzer:
    from edge_agent_quality.microphone import MicrophoneQuality

    return MicrophoneQuality(settings)


@hookimpl
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Offer both analyzers."""
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
