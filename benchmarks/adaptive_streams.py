"""Recordings searched and read once per frame, and long streams composed of them.

A trace holds, for every frame of a clip, a small grey picture, what the detector finds and what the emotion model says
about each face; a sweep over pacing strategies then costs no inference. Streams are sequences of trace frames at a fixed
rate with camera noise and slowly changing light on top. Visits run a clip forwards and backwards, so that a stay may be
longer than its clip without anybody jumping.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.capture import iter_media
from edge_agent.domain.face import Face, TrackedFace
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.domain.observation import EMOTION, Observation
from edge_agent.plugin import imaging
from edge_agent.plugin.spec import FaceAnalyzer, FaceDetector

FPS = 15.0
WIDTH = 320
Gray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sight:
    """One frame of a clip: the picture and, for each face, its detection and its emotion."""

    picture: Gray
    faces: tuple[tuple[Face, Mapping[str, float]], ...] = ()


@dataclass(frozen=True, slots=True)
class Clip:
    """A traced recording; ``sights`` at :data:`FPS`."""

    name: str
    sights: tuple[Sight, ...]


def trace(path: Path, detector: FaceDetector, reader: FaceAnalyzer) -> Clip:
    """Search and read every frame of ``path``, then take the nearest to each tick of :data:`FPS`."""
    times, sights = [], []
    for frame in iter_media(path):
        if not isinstance(frame, Frame):
            continue
        faces = detector.detect(frame)
        tracked = [TrackedFace(str(i), face, 0.0) for i, face in enumerate(faces)]
        readings = {o.track: o.values for o in reader.analyze(frame, tracked) if o.name == EMOTION}
        small = imaging.luma(frame, WIDTH, round(WIDTH * frame.height / frame.width))
        pairs = ((f.face, readings[f.track]) for f in tracked if f.track in readings)
        sights.append(Sight(small, tuple(pairs)))
        times.append(frame.time)
    ticks = np.arange(0.0, times[-1] + 1e-6, 1 / FPS)
    nearest = np.abs(np.asarray(times)[None, :] - ticks[:, None]).argmin(axis=1)
    return Clip(path.stem, tuple(sights[i] for i in nearest))


@dataclass(frozen=True, slots=True)
class Stream:
    """A sequence of sights at :data:`FPS`, one frame after the other."""

    name: str
    sights: tuple[Sight, ...]

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.sights) / FPS

    def frames(self, seed: int = 1) -> Iterator[Frame]:
        """The stream as a camera would give it: noise of two grey levels, light that swells by 10 % in ten minutes."""
        rng = np.random.default_rng(seed)
        shape = (1080, WIDTH)
        noise = [np.rint(rng.normal(0, 2, shape)).astype(np.int16) for _ in range(7)]
        for index, sight in enumerate(self.sights):
            light = 1 + 0.1 * math.sin(2 * math.pi * index / FPS / 600)
            height = len(sight.picture)
            offset = int(rng.integers(0, shape[0] - height))
            picture = sight.picture * np.float32(light) + noise[index % 7][offset : offset + height]
            data = np.clip(picture, 0, 255).astype(np.uint8)
            yield Frame(data, PixelFormat.GRAY, WIDTH, height, index / FPS, index)


class TracedAnalyzers(FaceDetector, FaceAnalyzer):
    """Stands for detector and emotion model over a stream, and counts how often each is asked."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.searches = 0
        self.readings = 0

    def detect(self, frame: Frame) -> Sequence[Face]:
        """What the detector found in this frame."""
        self.searches += 1
        return [face for face, _ in self._stream.sights[frame.index].faces]

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        """The reading of the detection that is where each face is thought to be."""
        found = []
        for tracked in faces:
            self.readings += 1
            known = self._stream.sights[frame.index].faces
            best = max(known, key=lambda pair: pair[0].box.iou(tracked.face.box), default=None)
            if best is not None and best[0].box.iou(tracked.face.box) > 0.3:
                found.append(Observation(EMOTION, best[1], frame.time, tracked.track))
        return found


def pingpong(clip: Clip, seconds: float, start: int = 0) -> list[Sight]:
    """``seconds`` of a clip, forwards and backwards."""
    n, period = len(clip.sights), max(1, 2 * (len(clip.sights) - 1))
    order = ((start + i) % period for i in range(round(seconds * FPS)))
    return [clip.sights[i if i < n else period - i] for i in order]


def visits(clips: Sequence[Clip], empty: Sight, minutes: float, mean_stay: float, mean_gap: float, seed: int) -> Stream:
    """Visitors come and go: exponential stays of at least 1.5 s and gaps of at least 3 s."""
    rng = np.random.default_rng(seed)
    sights: list[Sight] = []
    while len(sights) < minutes * 60 * FPS:
        clip = clips[int(rng.integers(len(clips)))]
        backdrop = Sight(_backdrop(empty, clip.sights[0].picture.shape))
        sights += [backdrop] * round(max(3.0, rng.exponential(mean_gap)) * FPS)
        sights += pingpong(clip, max(1.5, rng.exponential(mean_stay)), int(rng.integers(len(clip.sights))))
    return Stream(f"visits, {mean_stay:.0f} s stays", tuple(sights))


def nobody(empty: Sight, minutes: float) -> Stream:
    """An empty scene."""
    return Stream("empty", (Sight(empty.picture),) * round(minutes * 60 * FPS))


def _backdrop(empty: Sight, shape: tuple[int, ...]) -> Gray:
    rows = min(shape[0], len(empty.picture))
    picture = np.repeat(empty.picture[:1], shape[0], axis=0)
    picture[:rows] = empty.picture[:rows]
    return picture
