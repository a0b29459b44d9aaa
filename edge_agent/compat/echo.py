"""The real-time classes of the Echo backend's ``realtime_utils``: camera frames, emotion and face tracking.

A program that used them changes one import::

    from edge_agent.compat.echo import RealTimeEmotionTracker, RealTimeFaceTracker, RealTimeVideoProcessor

Frames come from the agent's own capture, which waits for a camera that is unplugged and opens it again. The trackers
take the results of any analysis by hand, or those of a :class:`~edge_agent.api.Session` with ``add_report``. Nothing is
written or sent. The trackers may be used from several threads at once.

What differs: the frame number counts frames; a trend compares how pleasant the emotions are, not how sure they are; the
dominant emotion counts all emotions alike unless ``weights`` says otherwise.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from edge_agent.capture import Reopening, ReplayGroup, make_video
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.face import Box
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import EMOTION, VisionReport
from edge_agent.domain.summary import VALENCE
from edge_agent.plugin.imaging import bgr
from edge_agent.settings.schema import CameraSettings

log = logging.getLogger(__name__)

FrameCallback = Callable[[npt.NDArray[np.uint8], dict[str, Any]], object]
"""Takes a frame, uint8 [height, width, 3] in OpenCV's order (BGR), and its metadata: ``timestamp`` (Unix seconds),
``frame_number`` (from 0; lost frames count) and ``size``, the frame's shape."""

FIRST_FRAME_S = 15.0
"""Seconds that a camera may take to open."""

PLEASANTNESS: Mapping[str, float] = {
    **VALENCE,
    "happy": 0.9,
    "joy": 0.9,
    "excited": 0.8,
    "content": 0.7,
    "calm": 0.5,
    "relaxed": 0.5,
    "surprised": 0.2,
    "sad": -0.8,
    "angry": -0.7,
    "scared": -0.7,
    "disgusted": -0.7,
    "anxious": -0.6,
    "frustrated": -0.6,
    "disoriented": -0.5,
    "exhausted": -0.4,
    "tired": -0.3,
    "confused": -0.2,
}
"""Valence from -1 to 1 by the names that this product and others give to emotions. Others say nothing about a trend."""

TREND_MIN = 10
"""Detections of known valence that a trend needs."""
TREND_STEP = 0.1
"""Change of valence, or more, that is a trend."""


class RealTimeVideoProcessor:
    """Call functions with each frame of a camera, at most ``max_fps`` times a second, on a thread of its own.

    ``camera_index``: number of a V4L2 camera, or any ``camera.source`` of the config (``"demo"``, a file, a URL).
    """

    def __init__(self, camera_index: int | str = 0, max_fps: float = 30) -> None:
        try:
            self._settings = CameraSettings(source=str(camera_index), fps=max_fps)
        except ValidationError as error:
            raise ValueError(f"camera_index or max_fps: {error.errors()[0]['msg']}") from None
        self.camera_index = camera_index
        self.max_fps = max_fps
        self.frame_callbacks: list[FrameCallback] = []
        self._camera: Reopening[Frame] | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def is_running(self) -> bool:
        """Whether frames are awaited."""
        return self._thread is not None and self._thread.is_alive()

    def add_frame_callback(self, callback: FrameCallback) -> None:
        """Call ``callback(frame, metadata)`` with each frame; one that raises is logged, and called again."""
        self.frame_callbacks.append(callback)

    def start(self) -> None:
        """Open the camera and begin; does nothing while running.

        Raises:
            RuntimeError: the camera cannot be opened; says why.
        """
        if self.is_running:
            log.warning("the video processor is running already")
            return
        clock = SystemClock(lambda: True)
        camera = make_video(self._settings, clock, {}, ReplayGroup(clock))
        if camera is None:
            raise RuntimeError(f"camera {self.camera_index!r}: there is none to open")
        try:
            camera.open()
        except EdgeAgentError as error:
            camera.close()
            raise RuntimeError(str(error)) from error
        if not camera.status.available:
            camera.close()
            raise RuntimeError(camera.status.error)
        self._camera, self._ended = camera, threading.Event()
        self._thread = threading.Thread(target=self._run, args=(camera, self._ended), name="frames", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Release the camera and wait for the last callback; does nothing when stopped. A callback may call it."""
        self._ended.set()
        if self._camera is not None:
            self._camera.close()
            self._camera = None
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(FIRST_FRAME_S)

    def _run(self, camera: Reopening[Frame], ended: threading.Event) -> None:
        due, step = -math.inf, 1.0 / self.max_fps
        try:
            while (frame := camera.read()) is not None and not ended.is_set():
                if frame.time < due - 1e-3:
                    continue
                due = max(due + step, frame.time)
                self._hand_over(frame)
        except EdgeAgentError as error:
            log.error("frames end: %s", error)
        finally:
            camera.close()

    def _hand_over(self, frame: Frame) -> None:
        image = bgr(frame)
        metadata = {"timestamp": time.time(), "frame_number": frame.index, "size": image.shape}
        for callback in tuple(self.frame_callbacks):
            try:
                callback(image, dict(metadata))
            except Exception:  # a caller's mistake must not end the stream for the others
                log.exception("a frame callback failed")

    def __enter__(self) -> RealTimeVideoProcessor:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class RealTimeEmotionTracker:
    """Keep the last ``window_size`` emotions and tell which dominates and where they tend to.

    ``weights``: by name of emotion, how much a detection counts (1 unless given).
    """

    def __init__(self, window_size: int = 30, weights: Mapping[str, float] | None = None) -> None:
        if window_size < 1:
            raise ValueError(f"window_size = {window_size}: must be at least 1")
        self.window_size = window_size
        self.weights = dict(weights or {})
        self.emotion_history: deque[dict[str, Any]] = deque(maxlen=window_size)

    def add_emotion(self, emotion: str, confidence: float, timestamp: float | None = None) -> None:
        """Add a detection. ``timestamp`` in Unix seconds; default: now.

        Raises:
            ValueError: ``confidence`` is not from 0 to 1.
        """
        _check_confidence(confidence)
        moment = time.time() if timestamp is None else timestamp
        self.emotion_history.append({"emotion": emotion, "confidence": confidence, "timestamp": moment})

    def add_report(self, report: VisionReport | None, timestamp: float | None = None) -> None:
        """Add the likeliest emotion of each face judged in a report of :meth:`edge_agent.api.Session.frame`."""
        for seen in _readings(report).values():
            emotion = max(seen, key=seen.__getitem__)
            self.add_emotion(emotion, seen[emotion], timestamp)

    def get_dominant_emotion(self) -> str | None:
        """Return the emotion with the most confidence in sum; None without any."""
        scores: dict[str, float] = {}
        for entry in tuple(self.emotion_history):
            name = entry["emotion"]
            scores[name] = scores.get(name, 0.0) + entry["confidence"] * self.weights.get(name, 1.0)
        return max(scores, key=scores.__getitem__) if scores else None

    def get_emotion_trend(self) -> str:
        """Compare the later half of the window with the earlier one by how pleasant the emotions are.

        Returns ``improving``, ``worsening``, ``stable``, or ``insufficient_data`` below :data:`TREND_MIN` detections.
        """
        known = [e for e in tuple(self.emotion_history) if str(e["emotion"]).lower() in PLEASANTNESS]
        if len(known) < TREND_MIN:
            return "insufficient_data"
        half = len(known) // 2
        before, after = _valence(known[:half]), _valence(known[half:])
        if before is None or after is None:
            return "insufficient_data"
        change = round(after - before, 9)
        return "improving" if change >= TREND_STEP else "worsening" if change <= -TREND_STEP else "stable"

    def get_emotion_summary(self) -> dict[str, Any]:
        """Return ``dominant_emotion``, ``trend``, ``total_detections``, ``recent_emotions`` (five) and ``window_size``;
        ``{"status": "no_data"}`` without any."""
        history = tuple(self.emotion_history)
        if not history:
            return {"status": "no_data"}
        return {
            "dominant_emotion": self.get_dominant_emotion(),
            "trend": self.get_emotion_trend(),
            "total_detections": len(history),
            "recent_emotions": [dict(entry) for entry in history[-5:]],
            "window_size": self.window_size,
        }


class RealTimeFaceTracker:
    """Keep detections of the ``max_faces`` faces seen last and tell who is there and since when.

    A face that comes when there are as many takes the place of the one not seen for longest.
    """

    KEPT = 1000
    """Detections kept of each face."""
    RECENT = 20
    """Detections that the summary counts."""

    def __init__(self, max_faces: int = 10) -> None:
        if max_faces < 1:
            raise ValueError(f"max_faces = {max_faces}: must be at least 1")
        self.max_faces = max_faces
        self.known_faces: dict[str, str] = {}
        self._faces: dict[str, deque[dict[str, Any]]] = {}
        self._lock = threading.Lock()

    @property
    def face_history(self) -> list[dict[str, Any]]:
        """Every detection that is kept, by time."""
        with self._lock:
            return sorted((e for kept in self._faces.values() for e in kept), key=lambda e: float(e["timestamp"]))

    def add_face_detection(
        self, face_id: str, label: str | None, confidence: float, bbox: Sequence[float], timestamp: float | None = None
    ) -> None:
        """Add a detection: ``bbox`` as the caller measures it; ``timestamp`` in Unix seconds, default now.

        Raises:
            ValueError: ``confidence`` is not from 0 to 1, or ``bbox`` is not four numbers.
        """
        _check_confidence(confidence)
        if len(bbox) != 4:
            raise ValueError(f"bbox: four numbers are needed, not {len(bbox)}")
        moment = time.time() if timestamp is None else timestamp
        entry = {"face_id": face_id, "label": label, "confidence": confidence, "bbox": tuple(bbox), "timestamp": moment}
        with self._lock:
            kept = self._faces.pop(face_id, None) or deque(maxlen=self.KEPT)
            kept.append(entry)
            self._faces[face_id] = kept  # last in order, so that the first is the one not seen for longest
            if label:
                self.known_faces[face_id] = label
            while len(self._faces) > self.max_faces:
                gone = next(iter(self._faces))
                del self._faces[gone]
                self.known_faces.pop(gone, None)

    def add_report(self, report: VisionReport | None, size: tuple[int, int], timestamp: float | None = None) -> None:
        """Add the faces of a report of :meth:`edge_agent.api.Session.frame`, whose frame had ``size`` (width, height):
        boxes are corners in pixels, (left, top, right, bottom)."""
        for tracked in () if report is None else report.faces:
            if not tracked.coasting:
                self.add_face_detection(
                    tracked.track, None, tracked.face.score, _corners(tracked.face.box, size), timestamp
                )

    def get_face_summary(self) -> dict[str, Any]:
        """Count the faces of the last detections: ``total_faces_detected``, ``known_faces``, ``unknown_faces``,
        ``recent_detections`` (five) and ``face_labels``; ``{"status": "no_faces_detected"}`` without any."""
        recent = self.face_history[-self.RECENT :]
        if not recent:
            return {"status": "no_faces_detected"}
        present = {entry["face_id"] for entry in recent}
        labels = {face: label for face, label in self.known_faces.items() if face in present}
        return {
            "total_faces_detected": len(present),
            "known_faces": len(labels),
            "unknown_faces": len(present) - len(labels),
            "recent_detections": [dict(entry) for entry in recent[-5:]],
            "face_labels": labels,
        }

    def get_face_timeline(self, face_id: str | None = None, window_minutes: float = 5) -> list[dict[str, Any]]:
        """Return the detections of a face (None: of all) in the last ``window_minutes``, by time."""
        begin = time.time() - window_minutes * 60
        return [dict(e) for e in self.face_history if e["timestamp"] >= begin and face_id in (None, e["face_id"])]


def _check_confidence(value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"confidence = {value}: must be from 0 to 1")


def _valence(entries: Iterable[Mapping[str, Any]]) -> float | None:
    """Mean valence, weighted by confidence; None when nothing is sure at all."""
    pairs = [(PLEASANTNESS[str(e["emotion"]).lower()], float(e["confidence"])) for e in entries]
    total = sum(weight for _, weight in pairs)
    return sum(valence * weight for valence, weight in pairs) / total if total > 0 else None


def _readings(report: VisionReport | None) -> dict[str | None, Mapping[str, float]]:
    found = () if report is None else report.observations
    return {o.track: o.values for o in found if o.name == EMOTION}


def _corners(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = size
    left, top = round(box.x * width), round(box.y * height)
    return left, top, round((box.x + box.w) * width), round((box.y + box.h) * height)
