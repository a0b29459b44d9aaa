"""What a plugin author needs: hook markers, the specs to register, imaging helpers and the contract suite."""

from edge_agent.plugin.hookspecs import hookimpl
from edge_agent.plugin.spec import (
    AnalyzerContext,
    AnalyzerSettings,
    AnalyzerSpec,
    AudioAnalyzer,
    FaceAnalyzer,
    FaceDetector,
    Kind,
    SceneAnalyzer,
    Sink,
    SinkSettings,
    SinkSpec,
    SourceSpec,
)

__all__ = [
    "AnalyzerContext",
    "AnalyzerSettings",
    "AnalyzerSpec",
    "AudioAnalyzer",
    "FaceAnalyzer",
    "FaceDetector",
    "Kind",
    "SceneAnalyzer",
    "Sink",
    "SinkSettings",
    "SinkSpec",
    "SourceSpec",
    "hookimpl",
]
