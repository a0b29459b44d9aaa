"""``analyze``: the daemon's lanes and windows over a recording, as fast as the machine can.

Time is the recording's: the summaries' wall time counts from 1970-01-01T00:00:00Z and is marked unsynchronised, since a
file does not say when it was made. Nothing here runs threads or sends anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from edge_agent.analysis.pacing import Bounds
from edge_agent.app.assembly import Assembly
from edge_agent.capture import MediaInfo, iter_media, read_media
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.event import Event
from edge_agent.domain.face import Box
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import EMOTION, EMOTIONS, AudioReport, VisionReport
from edge_agent.domain.summary import ClockState, Summary, estimate_emotion
from edge_agent.summary.rollup import merge_summaries
from edge_agent.summary.summariser import Summariser

DEFAULT_FPS = 5.0
"""Analysed frames per second of a recording."""

EVERY_FRAME = 1e6
"""A rate that no recording reaches: every frame is looked at."""


@dataclass(frozen=True, slots=True)
class FaceRow:
    """One face in one analysed frame; ``box`` in pixels, ``emotion`` None when it could not be judged."""

    frame: int
    time: float
    face_id: str
    box: Box
    probability: float
    emotion: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class Report:
    """The whole recording. Scores in per cent; ``average_confidence_score`` is the detector's mean, 0 to 1."""

    average_emotion_scores: Mapping[str, float] | None
    overall_dominant_emotion: str | None
    total_frames_analyzed: int
    average_confidence_score: float | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything found in one recording."""

    source: str
    duration: float
    summaries: tuple[Summary, ...]
    events: tuple[Event, ...]
    faces: tuple[FaceRow, ...]
    report: Report


Progress = Callable[[float, float], None]
"""Called with the position and the duration in seconds."""


def analyze(path: Path, assembly: Assembly, fps: float = DEFAULT_FPS, progress: Progress | None = None) -> Analysis:
    """Run the active analyzers of ``assembly`` over the file ``path``.

    Raises:
        MediaError: missing, unreadable or empty file.
    """
    info = read_media(path)
    run = _Run(info, assembly, fps)
    for item in iter_media(path):
        if isinstance(item, Frame):
            run.frame(item)
        else:
            run.report(run.audio.offer(item), item.end)
        if progress is not None:
            progress(item.time, info.duration)
    return run.finish(str(path))


class _Run:
    """The state of one pass over a recording."""

    def __init__(self, info: MediaInfo, assembly: Assembly, fps: float) -> None:
        self._info = info
        self._clock = ManualClock(wall=0.0, synced=False)
        self.vision, self.audio = assembly.lanes(Bounds(fps, fps))
        self._summaries: list[Summary] = []
        self._events: list[Event] = []
        self._faces: list[FaceRow] = []
        self._frames = 0
        window_s = assembly.settings.summary.window_s
        self._summariser = Summariser(self._clock, window_s, self._summaries.append, self._on_event)

    def _on_event(self, event: Event, _start: float, _clock: ClockState) -> None:
        self._events.append(event)

    def frame(self, frame: Frame) -> None:
        report = self.vision.offer(frame)
        if report is not None:
            self._frames += 1
            self._faces += _rows(report, frame)
            self.report(report, frame.time)

    def report(self, report: VisionReport | AudioReport, now: float) -> None:
        self._clock.advance(max(0.0, now - self._clock.monotonic()))
        self._summariser.accept(report)
        self._summariser.tick()

    def finish(self, source: str) -> Analysis:
        self.report(self.audio.finish(), self._info.duration)
        self._summariser.flush()
        duration = max(self._info.duration, self._clock.monotonic())
        report = _report(self._summaries, self._faces, self._frames)
        events = tuple(sorted(self._events, key=lambda e: e.start))
        return Analysis(source, duration, tuple(self._summaries), events, tuple(self._faces), report)


def _rows(report: VisionReport, frame: Frame) -> list[FaceRow]:
    emotions = {o.track: o.values for o in report.observations if o.name == EMOTION}
    rows = []
    for tracked in report.faces:
        if tracked.coasting:  # expected there, not seen
            continue
        box = tracked.face.box
        pixels = Box(box.x * frame.width, box.y * frame.height, box.w * frame.width, box.h * frame.height)
        emotion = emotions.get(tracked.track)
        rows.append(FaceRow(report.index, report.time, tracked.track, pixels, tracked.face.score, emotion))
    return rows


def _report(summaries: list[Summary], faces: list[FaceRow], frames: int) -> Report:
    """Everything over the whole file, from the exactly merged windows."""
    whole = reduce(merge_summaries, summaries) if summaries else None
    estimate = estimate_emotion(whole.window.emotion, min_readings=1) if whole else None
    return Report(
        average_emotion_scores=(
            {name: 100 * p for name, p in zip(EMOTIONS, estimate.p, strict=True)} if estimate else None
        ),
        overall_dominant_emotion=estimate.dominant if estimate else None,
        total_frames_analyzed=frames,
        average_confidence_score=sum(f.probability for f in faces) / len(faces) if faces else None,
    )
