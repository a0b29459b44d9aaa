"""A vision lane over analyzers whose answers are scripted: what is tested is the lane, not a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_agent.domain.face import Face, TrackedFace
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.domain.observation import ATTENTION, EMOTION, EMOTIONS, FLAG, Observation
from edge_agent.plugin import AnalyzerSpec, FaceAnalyzer, FaceDetector, Kind, SceneAnalyzer
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.plugin.spec import Analyzer

FPS = 15
CALM = {name: float(name == "neutral") for name in EMOTIONS}
HAPPY = {name: float(name == "happiness") for name in EMOTIONS}


class Detector(FaceDetector):
    """Finds what ``script`` says is there at a time; remembers when it was asked."""

    def __init__(self, script: Callable[[float], Sequence[Face]]) -> None:
        self.script = script
        self.asked: list[float] = []

    def detect(self, frame: Frame) -> Sequence[Face]:
        self.asked.append(frame.time)
        return self.script(frame.time)


class Reader(FaceAnalyzer):
    """Reads every face as calm, a ``fickle`` one every other time as happy; remembers whom it was asked about."""

    def __init__(self, name: str = EMOTION, *, fickle: bool = False) -> None:
        self.name = name
        self.fickle = fickle
        self.asked: list[tuple[float, str]] = []

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        self.asked += [(frame.time, face.track) for face in faces]
        calm = HAPPY if self.fickle and len(self.asked) % 2 else CALM
        values = calm if self.name == EMOTION else {"score": 1.0, "looking": 1.0}
        return [Observation(self.name, values, frame.time, face.track) for face in faces]


class Watch(SceneAnalyzer):
    """Raises the flags that ``script`` names."""

    def __init__(self, script: Callable[[float], Sequence[str]]) -> None:
        self.script = script

    def analyze(self, frame: Frame) -> Sequence[Observation]:
        flags = dict.fromkeys(self.script(frame.time), 1.0) | {"never": 0.0}
        return [Observation(FLAG, flags, frame.time), Observation("scene", {"x": 1.0}, frame.time)]


def active(kind: Kind, analyzer: Analyzer, name: str, max_fps: float | None = None) -> ActiveAnalyzer:
    """As the plugin manager would hand it to a lane."""
    spec = AnalyzerSpec(name, kind, name, lambda _settings, _context: analyzer, max_fps=max_fps)
    return ActiveAnalyzer(spec, analyzer, lambda detail: None)


def attention() -> Reader:
    """A face analyzer that is no emotion model."""
    return Reader(ATTENTION)


def picture(time: float, faces: Sequence[Face], seed: int = 0) -> Frame:
    """A noisy room with a bright patch where each face is; the patches' pattern depends on ``seed``."""
    rng = np.random.default_rng(round(time * FPS) + 1)
    image = np.full((120, 160), 90.0)
    pattern = np.random.default_rng(seed).integers(120, 250, (8, 8))
    for face in faces:
        x, y, w, h = (round(v) for v in (face.box.x * 160, face.box.y * 120, face.box.w * 160, face.box.h * 120))
        image[y : y + h, x : x + w] = np.kron(pattern, np.ones((h // 8 + 1, w // 8 + 1)))[:h, :w]
    data = np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
    return Frame(data, PixelFormat.GRAY, 160, 120, time, round(time * FPS))
