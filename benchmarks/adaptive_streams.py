"""Long streams composed of recordings, and what detector and emotion model find in every one of their frames.

A stream is a script: which frame of which recording is shown at each tick of :data:`FPS`. Visits run a recording
forwards and backwards, so that a stay may be longer than its recording without anybody jumping; meanwhile the picture
slowly pans, zooms and rolls, the light swells and the camera is noisy, so that no frame is ever shown twice. Each
frame of a stream is rendered, searched and read once (:func:`trace`); a sweep over pacing strategies then costs no
inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.capture import iter_media
from edge_agent.domain.face import Face, TrackedFace
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.domain.observation import EMOTION, Observation
from edge_agent.plugin.spec import FaceAnalyzer, FaceDetector

FPS = 15.0
EMPTY = "empty"
"""Name of the clip that shows nobody."""
SMALL = 320
"""Width of the grey pictures the strategies see."""
Image = npt.NDArray[np.uint8]
Finding = tuple[Face, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording at :data:`FPS`: uint8 [h, w, 3] pictures."""

    name: str
    pictures: tuple[Image, ...]


def load(path: Path) -> Clip:
    """The frames of ``path`` nearest to each tick, at most 640 pixels wide."""
    times, pictures = [], []
    for frame in iter_media(path):
        if isinstance(frame, Frame):
            scale = min(1.0, 640 / frame.width)
            pictures.append(frame.data if scale == 1 else cv2.resize(frame.data, None, fx=scale, fy=scale))
            times.append(frame.time)
    ticks = np.arange(0.0, times[-1] + 1e-6, 1 / FPS)
    nearest = np.abs(np.asarray(times)[None, :] - ticks[:, None]).argmin(axis=1)
    return Clip(path.stem, tuple(np.asarray(pictures[i], np.uint8) for i in nearest))


class LateFrame:
    """A frame that is rendered when somebody looks at it; passes for a :class:`Frame`."""

    format = PixelFormat.GRAY

    def __init__(self, render: Callable[[], Image], width: int, height: int, index: int) -> None:
        self._render, self.width, self.height = render, width, height
        self.time, self.index = index / FPS, index

    @cached_property
    def data(self) -> Image:
        """uint8 [height, width]."""
        return self._render()


@dataclass(slots=True)
class Stream:
    """``script`` names a clip and a frame of it for each tick; ``small`` holds the clips in grey, :data:`SMALL` wide.

    ``sway``: whether the picture moves, except where the clip :data:`EMPTY` is shown. ``found`` is what :func:`trace`
    fills in: for each tick the faces and their readings.
    """

    name: str
    script: list[tuple[str, int]]
    small: Mapping[str, Sequence[Image]]
    sway: bool = True
    found: list[tuple[Finding, ...]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.script) / FPS

    def frames(self) -> Iterator[Frame]:
        """The stream in small grey pictures."""
        noise = _noise(1.5, 4 * SMALL)
        for tick, (clip, index) in enumerate(self.script):
            picture = self.small[clip][index]
            late = LateFrame(partial(self._render, picture, tick, noise), picture.shape[1], picture.shape[0], tick)
            yield cast(Frame, late)

    def full_frames(self, clips: Mapping[str, Clip]) -> Iterator[Frame]:
        """The stream in colour and full size."""
        noise = _noise(3.0, 2048)[:, :, None]
        for tick, (clip, index) in enumerate(self.script):
            yield Frame.from_bgr(self._render(clips[clip].pictures[index], tick, noise), tick / FPS, tick)

    def _render(self, picture: Image, tick: int, noise: npt.NDArray[np.int16]) -> Image:
        t = tick / FPS
        height, width = picture.shape[:2]
        if self.sway and self.script[tick][0] != EMPTY:
            picture = np.asarray(
                cv2.warpAffine(picture, sway(t, width, height), (width, height), borderMode=cv2.BORDER_REFLECT),
                np.uint8,
            )
        light = np.float32(1 + 0.1 * math.sin(2 * math.pi * t / 600))
        y, x = tick * 37 % (noise.shape[0] - height), tick * 61 % (noise.shape[1] - width)
        return np.clip(picture * light + noise[y : y + height, x : x + width], 0, 255).astype(np.uint8)


def _noise(sigma: float, side: int) -> npt.NDArray[np.int16]:
    return np.rint(np.random.default_rng(1).normal(0, sigma, (side, side))).astype(np.int16)


def shrink(clip: Clip) -> list[Image]:
    """The clip in grey, :data:`SMALL` wide."""
    height, width = clip.pictures[0].shape[:2]
    size = (SMALL, round(SMALL * height / width))
    return [np.asarray(cv2.resize(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), size), np.uint8) for p in clip.pictures]


def sway(t: float, width: int, height: int) -> npt.NDArray[np.float64]:
    """A slow pan (2 %), zoom (6 %) and roll (4 degrees) with periods that never come together again."""
    zoom = 1.06 + 0.06 * math.sin(t / 3.7)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 4 * math.sin(t / 2.9), zoom)
    matrix[:, 2] += (0.02 * width * math.sin(t / 4.3), 0.02 * height * math.sin(t / 2.3))
    return np.asarray(matrix, np.float64)


def trace(stream: Stream, clips: Mapping[str, Clip], detector: FaceDetector, reader: FaceAnalyzer) -> None:
    """Search and read every frame; the empty scene is taken to hold nobody."""
    stream.found = []
    for frame in stream.full_frames(clips):
        faces = () if stream.script[frame.index][0] == EMPTY else detector.detect(frame)
        tracked = [TrackedFace(str(i), face, 0.0) for i, face in enumerate(faces)]
        readings = {o.track: o.values for o in reader.analyze(frame, tracked) if o.name == EMOTION}
        stream.found.append(tuple((f.face, readings[f.track]) for f in tracked if f.track in readings))


class TracedAnalyzers(FaceDetector, FaceAnalyzer):
    """Stands for detector and emotion model over a traced stream, and counts how often each is asked."""

    def __init__(self, stream: Stream) -> None:
        self._found = stream.found
        self.searches = 0
        self.readings = 0

    def detect(self, frame: Frame) -> Sequence[Face]:
        """What the detector found in this frame."""
        self.searches += 1
        return [face for face, _ in self._found[frame.index]]

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        """The reading of the detection that is where each face is thought to be."""
        found = []
        for tracked in faces:
            self.readings += 1
            known = self._found[frame.index]
            best = max(known, key=lambda pair: pair[0].box.iou(tracked.face.box), default=None)
            if best is not None and best[0].box.iou(tracked.face.box) > 0.3:
                found.append(Observation(EMOTION, best[1], frame.time, tracked.track))
        return found


def visits(
    lengths: Mapping[str, int], minutes: float, mean_stay: float, mean_gap: float, seed: int
) -> list[tuple[str, int]]:
    """A script in which visitors come and go: exponential stays of at least 1.5 s and gaps of at least 3 s.

    ``lengths`` is how many frames each clip has.
    """
    rng = np.random.default_rng(seed)
    names = sorted(lengths)
    script: list[tuple[str, int]] = []
    while len(script) < minutes * 60 * FPS:
        name = names[int(rng.integers(len(names)))]
        script += [(EMPTY, 0)] * round(max(3.0, rng.exponential(mean_gap)) * FPS)
        start, period = int(rng.integers(lengths[name])), 2 * (lengths[name] - 1)
        order = ((start + i) % period for i in range(round(max(1.5, rng.exponential(mean_stay)) * FPS)))
        script += [(name, i if i < lengths[name] else period - i) for i in order]
    return script
