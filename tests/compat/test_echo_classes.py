"""The Python classes of the Echo backend, used as its documentation does, with one import changed."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_agent.api import Session
from edge_agent.compat.echo import RealTimeEmotionTracker, RealTimeFaceTracker, RealTimeVideoProcessor
from edge_agent.models import ModelStore

VIDEO = """
from realtime_utils import RealTimeVideoProcessor

# Initialize processor
processor = RealTimeVideoProcessor(camera_index=0, max_fps=30)

# Add frame processing callback
def process_frame(frame, metadata):
    # Process each frame in real-time
    print(f"Processing frame {metadata['frame_number']}")

processor.add_frame_callback(process_frame)

# Start processing
processor.start()

# Stop when done
processor.stop()
"""
EMOTIONS = """
from realtime_utils import RealTimeEmotionTracker

# Initialize tracker
tracker = RealTimeEmotionTracker(window_size=30)

# Add emotions
tracker.add_emotion("anxious", 0.85)
tracker.add_emotion("calm", 0.92)

# Get analysis
dominant = tracker.get_dominant_emotion()
trend = tracker.get_emotion_trend()
summary = tracker.get_emotion_summary()
"""
FACES = """
from realtime_utils import RealTimeFaceTracker

# Initialize tracker
tracker = RealTimeFaceTracker(max_faces=10)

# Add face detections
tracker.add_face_detection("face_1", "John", 0.95, (100, 100, 200, 200))

# Get summary
summary = tracker.get_face_summary()
timeline = tracker.get_face_timeline("face_1", window_minutes=5)
"""


def run(text: str, **names: Any) -> dict[str, Any]:
    """Run documented code with the import changed, and what a test needs to know between two of its lines."""
    exec(text.replace("realtime_utils", "edge_agent.compat.echo"), names)
    return names


@pytest.mark.documented("Echo", "RealTimeVideoProcessor(camera_index=0, max_fps=30): add_frame_callback, start, stop")
def test_frames_of_a_camera(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo camera stands for camera 0; the documented code stops at once, so it waits for a few frames here."""
    came = threading.Semaphore(0)
    text = VIDEO.replace("camera_index=0", 'camera_index="demo"').replace(
        "    # Process each frame in real-time\n", "    came.release()\n"
    )
    text = text.replace("# Stop when done\n", "for _ in range(4): assert came.acquire(timeout=20)\n")
    told = run(text, came=came)
    numbers = [int(n) for n in re.findall(r"Processing frame (\d+)", capsys.readouterr().out)]
    assert len(numbers) >= 4
    assert numbers == sorted(set(numbers))
    assert not told["processor"].is_running
    assert not [t for t in threading.enumerate() if t.name == "frames"]


@pytest.mark.documented("Echo", "processor = RealTimeVideoProcessor(max_fps=15)  # Lower FPS for better performance")
def test_frames_come_no_faster_than_asked_for() -> None:
    seen: list[tuple[tuple[int, ...], dict[str, Any]]] = []
    enough = threading.Event()

    def fails(frame: np.ndarray[Any, Any], metadata: dict[str, Any]) -> None:
        frame[:] = 0
        raise ValueError("a caller's mistake")

    def look(frame: np.ndarray[Any, Any], metadata: dict[str, Any]) -> None:
        seen.append((frame.shape, metadata))
        if len(seen) == 6:
            enough.set()

    begun = time.time()
    with RealTimeVideoProcessor("demo", max_fps=15) as processor:
        processor.add_frame_callback(fails)
        processor.add_frame_callback(look)
        assert enough.wait(20)
        processor.start()
        assert processor.is_running
    assert all(shape == metadata["size"] and shape[2] == 3 for shape, metadata in seen)
    times = [metadata["timestamp"] for _, metadata in seen]
    assert begun <= times[0] <= times[-1] <= time.time()
    assert times[5] - times[0] > 0.25, "six frames at 15 a second take a third of a second"


def _cannot_open(camera: int | str) -> str:
    with pytest.raises(RuntimeError) as error:
        RealTimeVideoProcessor(camera_index=camera).start()
    return str(error.value)


@pytest.mark.documented("Echo", "RealTimeVideoProcessor.start() without a camera: RuntimeError")
def test_a_camera_that_is_not_there_says_so() -> None:
    assert "/dev/video63" in _cannot_open(63)
    assert "there is none" in _cannot_open("none")
    with pytest.raises(ValueError, match="max_fps"):
        RealTimeVideoProcessor(0, max_fps=0)


@pytest.mark.documented(
    "Echo",
    "RealTimeEmotionTracker(window_size=30): add_emotion, get_dominant_emotion, get_emotion_trend, get_emotion_summary",
    differs="a trend compares valence, not confidence; no hidden weights",
)
def test_emotions_of_a_window() -> None:
    told = run(EMOTIONS)
    assert told["dominant"] == "calm"
    assert told["trend"] == "insufficient_data"
    assert told["summary"].keys() == {"dominant_emotion", "trend", "total_detections", "recent_emotions", "window_size"}
    assert [e["emotion"] for e in told["summary"]["recent_emotions"]] == ["anxious", "calm"]
    tracker = told["tracker"]
    tracker.emotion_history.clear()
    assert tracker.get_emotion_summary() == {"status": "no_data"}
    assert tracker.get_dominant_emotion() is None


@pytest.mark.documented(
    "Echo", "tracker = RealTimeEmotionTracker(window_size=60)  # Larger window for more stable analysis"
)
def test_a_trend_follows_what_is_pleasant() -> None:
    def trend(*emotions: str, window: int = 60, sure: Callable[[int], float] = lambda k: 0.8) -> str:
        tracker = RealTimeEmotionTracker(window_size=window)
        for k, emotion in enumerate(emotions):
            tracker.add_emotion(emotion, sure(k))
        return tracker.get_emotion_trend()

    assert trend(*["sadness"] * 8, *["happy"] * 8) == "improving"
    assert trend(*["Calm"] * 8, *["anxious"] * 8) == "worsening"
    assert trend(*["neutral"] * 16) == "stable"
    assert trend(*["neutral"] * 16, sure=lambda k: 0.3 + k / 40) == "stable"
    assert trend(*["sadness"] * 8, *["happy"] * 16, window=16) == "stable", "what left the window is forgotten"
    assert trend(*["bemused"] * 16) == "insufficient_data"
    assert trend(*["happy"] * 16, sure=lambda k: 0.0) == "insufficient_data"
    weighted = RealTimeEmotionTracker(weights={"anxious": 1.2})
    weighted.add_emotion("calm", 0.9)
    weighted.add_emotion("anxious", 0.85)
    assert weighted.get_dominant_emotion() == "anxious"
    for value in (-0.1, 1.01, float("nan")):
        with pytest.raises(ValueError, match="confidence"):
            weighted.add_emotion("calm", value)
    with pytest.raises(ValueError, match="window_size"):
        RealTimeEmotionTracker(window_size=0)


@pytest.mark.documented(
    "Echo", "RealTimeFaceTracker(max_faces=10): add_face_detection, get_face_summary, get_face_timeline(window_minutes)"
)
def test_faces_and_when_they_were_seen() -> None:
    told = run(FACES)
    assert told["summary"]["total_faces_detected"] == told["summary"]["known_faces"] == 1
    assert told["summary"]["unknown_faces"] == 0
    assert told["summary"]["face_labels"] == {"face_1": "John"}
    (seen,) = told["timeline"]
    assert (seen["label"], seen["confidence"], seen["bbox"]) == ("John", 0.95, (100, 100, 200, 200))
    tracker: RealTimeFaceTracker = told["tracker"]
    now = time.time()
    tracker.add_face_detection("face_2", None, 0.9, (0, 0, 9, 9), now - 400)
    tracker.add_face_detection("face_2", None, 0.8, (0, 0, 9, 9), now - 200)
    assert [e["timestamp"] for e in tracker.get_face_timeline("face_2")] == [now - 200]
    assert [e["confidence"] for e in tracker.get_face_timeline("face_2", window_minutes=10)] == [0.9, 0.8]
    assert len(tracker.get_face_timeline(window_minutes=10)) == 3
    assert tracker.get_face_summary()["unknown_faces"] == 1
    assert RealTimeFaceTracker().get_face_summary() == {"status": "no_faces_detected"}
    with pytest.raises(ValueError, match="bbox"):
        tracker.add_face_detection("face_3", None, 0.5, (1, 2, 3))


@pytest.mark.documented("Echo", "RealTimeFaceTracker(max_faces=…): faces beyond it")
def test_the_face_not_seen_for_longest_makes_room() -> None:
    tracker = RealTimeFaceTracker(max_faces=2)
    for name in ("a", "b", "a", "c"):
        tracker.add_face_detection(name, name.upper(), 0.9, (0, 0, 1, 1))
    assert tracker.get_face_summary()["face_labels"] == {"a": "A", "c": "C"}
    assert tracker.get_face_timeline("b") == []


@pytest.mark.documented(
    "Echo", "emotion_summary = tracker.get_emotion_summary(); face_summary = face_tracker.get_face_summary()"
)
def test_trackers_take_what_a_session_finds(model_store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from skimage.data import astronaut

    monkeypatch.setenv("EDGE_AGENT__MODELS__DIR", str(model_store.directory))
    monkeypatch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")
    emotions, faces = RealTimeEmotionTracker(), RealTimeFaceTracker()
    with Session(["face", "emotion"], stills=True) as session:
        for k in range(2):
            report = session.frame(astronaut(), float(k), rgb=True)
            emotions.add_report(report)
            faces.add_report(report, (512, 512))
    assert emotions.get_emotion_summary()["dominant_emotion"] == "happiness"
    (face,) = {entry["face_id"] for entry in faces.face_history}
    left, top, right, bottom = faces.get_face_timeline(face)[-1]["bbox"]
    assert left < 224 < right
    assert top < 113 < bottom
