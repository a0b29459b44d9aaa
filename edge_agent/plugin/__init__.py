"""Plugin API: hook marker, specs to register and base classes; see also ``imaging``, ``sound`` and ``testing``."""

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
    SpeechAnalyzer,
    TextAnalyzer,
    hookimpl,
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
    "SpeechAnalyzer",
    "TextAnalyzer",
    "hookimpl",
]
