"""The real detector and the vision lane on real recordings: who is who, and how seldom is often enough."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from edge_agent.analysis.lanes import VisionLane
from edge_agent.analysis.pacing import Bounds
from edge_agent.analysis.tracking import Tracker
from edge_agent.capture import iter_media
from edge_agent.domain.face import Face
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import EMOTION, VisionReport
from edge_agent.models import ModelStore
from edge_agent.plugin import AnalyzerContext, AnalyzerSpec, Kind
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.plugin.spec import Analyzer
from edge_agent_emotion import EmotionSettings
from edge_agent_emotion.analyzer import EmotionAnalyzer
from edge_agent_face import FaceSettings
from edge_agent_face.detector import BlazeFaceDetector

Truth = Callable[[float], str]


def frames(path: Path) -> list[Frame]:
    return [item for item in iter_media(path) if isinstance(item, Frame)]


def detector(store: ModelStore, face_range: str, min_score: float = 0.3) -> BlazeFaceDetector:
    settings = FaceSettings.model_validate({"range": face_range, "min_score": min_score})
    return BlazeFaceDetector(settings, AnalyzerContext(store))


def thirds(x: float) -> str:
    return "left" if x < 0.34 else "middle" if x < 0.6 else "right"


def halves(x: float) -> str:
    return "left" if x < 0.5 else "right"


def alone(_x: float) -> str:
    return "one"


# Nobody crosses in these recordings, so the place tells who it is.
PEOPLE: dict[str, tuple[str, Truth, int]] = {
    "classroom.gif": ("far", alone, 1),
    "face-demographics-walking-and-pause.gif": ("far", thirds, 3),
    "face-demographics-walking.gif": ("far", lambda x: "right" if x > 0.55 else "left", 2),
    "head-pose-face-detection-female-and-male.gif": ("near", halves, 2),
    "head-pose-face-detection-female.gif": ("near", alone, 1),
    "hungry.mkv": ("near", alone, 1),
    "sorry.mkv": ("near", alone, 1),
}


MADE = {"hungry.mkv", "sorry.mkv"}
"""Recordings whose stand-ins show as much: one person."""


def every(found: Iterable[tuple[float, list[Face]]], fps: float) -> Iterable[tuple[float, list[Face]]]:
    due = 0.0
    for time, faces in found:
        if time >= due - 1e-6:
            due = max(due, time - 1 / fps) + 1 / fps
            yield time, faces


@pytest.mark.parametrize("name", PEOPLE)
def test_every_person_keeps_one_track_at_any_rate(
    name: str, request: pytest.FixtureRequest, media: Path, model_store: ModelStore
) -> None:
    folder = media if name in MADE else request.getfixturevalue("shared") / "media"
    face_range, truth, people = PEOPLE[name]
    look = detector(model_store, face_range)
    found = [(frame.time, list(look.detect(frame))) for frame in frames(folder / name)]
    for fps in (100.0, 5.0, 3.0, 2.0):
        numbers = itertools.count()
        tracker = Tracker(new_id=lambda numbers=numbers: str(next(numbers)))  # type: ignore[misc]
        identities: dict[str, set[str]] = {}
        for time, faces in every(found, fps):
            tracking = tracker.update(faces, time)
            for face in tracking.faces:
                if face.track in tracking.seen:
                    identities.setdefault(truth(face.face.box.centre.x), set()).add(face.track)
        assert {who: len(tracks) for who, tracks in identities.items()} == dict.fromkeys(identities, 1), fps
        assert len(identities) == people, fps


class Counting(EmotionAnalyzer):
    """The real model, counted."""

    readings = 0

    def analyze(self, frame, faces):  # type: ignore[no-untyped-def]
        self.readings += len(faces)
        return super().analyze(frame, faces)


def play(recording: list[Frame], store: ModelStore, bounds: Bounds) -> tuple[list[VisionReport], int]:
    """The recording through a lane; the reports and the number of emotion readings."""
    reader = Counting(EmotionSettings(), AnalyzerContext(store))

    def active(kind: Kind, analyzer: Analyzer, name: str) -> ActiveAnalyzer:
        return ActiveAnalyzer(AnalyzerSpec(name, kind, name, lambda _s, _c: analyzer), analyzer, pytest.fail)

    lane = VisionLane(
        [active(Kind.DETECTOR, detector(store, "near"), "face"), active(Kind.FACE, reader, "emotion")], bounds
    )
    reports = [report for frame in recording if (report := lane.offer(frame)) is not None]
    return reports, reader.readings


def mean_emotion(reports: list[VisionReport]) -> np.ndarray:
    return np.mean([list(o.values.values()) for r in reports for o in r.observations if o.name == EMOTION], axis=0)


def test_the_kiosk_gives_the_same_windows_with_a_fifteenth_of_the_readings(
    media: Path, model_store: ModelStore
) -> None:
    recording = frames(media / "kiosk.mp4")
    every_frame, all_readings = play(recording, model_store, Bounds.at(100))
    adaptive, some_readings = play(recording, model_store, Bounds.of("monitor"))
    assert all_readings > 500
    assert some_readings * 15 < all_readings
    assert np.abs(mean_emotion(adaptive) - mean_emotion(every_frame)).max() < 0.1
    arrived = next(r.time for r in adaptive if r.faces)
    assert 5.0 <= arrived <= 6.5
    for report in adaptive:
        assert report.time > 5.0 or not report.faces
