"""Offline analysis: the daemon's lanes and windows over a recording, as fast as the machine can.

Time is the recording's: wall time of summaries counts from 1970-01-01T00:00:00Z and is marked unsynchronised, since a
file does not say when it was made. No threads, no network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.analysis.pacing import Bounds
from edge_agent.analysis.tracking import Tracker, TrackingRules
from edge_agent.app.builder import PipelineBuilder
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.event import Event
from edge_agent.domain.face import Box
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.observation import (
    EMOTION,
    EMOTIONS,
    FLAG,
    LANGUAGE,
    LANGUAGE_EMOTIONS,
    LANGUAGE_UNKNOWN,
    AudioReport,
    Observation,
    Said,
    SpeechReport,
    VisionReport,
)
from edge_agent.domain.recognition import Naming
from edge_agent.domain.speech import Utterance, sentences
from edge_agent.domain.summary import NONE, ClockState, LanguageSums, Summary, estimate_emotion
from edge_agent.summary.summariser import Summariser, merge_summaries

if TYPE_CHECKING:
    from edge_agent.capture import MediaInfo

log = logging.getLogger(__name__)

DEFAULT_FPS = 5.0
"""Analysed frames per second of a recording."""

EVERY_FRAME = 1e6
"""A rate that no recording reaches: every frame is looked at."""

FINE_S, SHORT_S = 1.0, 240.0
"""Length of the finer windows of a recording that lasts no longer than the second."""

SLIVER_S = 1.0
"""A last window shorter than this is merged into the one before it."""


@dataclass(frozen=True, slots=True)
class FaceRow:
    """One face in one analysed frame; ``box`` in pixels, ``emotion`` None when it could not be judged.

    ``observations``: all others about this face in this frame, by name.
    """

    frame: int
    time: float
    face_id: str
    box: Box
    probability: float
    emotion: Mapping[str, float] | None
    observations: tuple[Observation, ...] = ()


@dataclass(frozen=True, slots=True)
class UtteranceRow:
    """An utterance of a recording, or a sentence of a text. ``start`` and ``end`` in seconds (0 for text).

    ``emotions``: an independent probability for each of :data:`LANGUAGE_EMOTIONS`; None when it could not be judged,
    with the reason in ``unknown``, or when no analyzer of text runs. ``observations``: all that was observed.
    """

    text: str = field(repr=False)
    start: float = 0.0
    end: float = 0.0
    confidence: float | None = None
    emotions: Mapping[str, float] | None = None
    unknown: str = ""
    observations: tuple[Observation, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, said: Said) -> UtteranceRow:
        """Make the row of an utterance."""
        heard, found = said.utterance, said.observations
        p = next((o.values for o in found if o.name == LANGUAGE), None)
        emotions = None if p is None else {name: p[name] for name in LANGUAGE_EMOTIONS}
        reasons = (why for o in found if o.name == LANGUAGE_UNKNOWN for why in o.values)
        unknown = "" if emotions is not None else next(reasons, "")
        return cls(heard.text, heard.start, heard.end, heard.confidence, emotions, unknown, found)


@dataclass(frozen=True, slots=True)
class TextAnalysis:
    """What a text expresses, sentence by sentence; ``emotions``: mean probabilities over the sentences that could be
    judged, most probable first, empty when none could."""

    source: str
    sentences: tuple[UtteranceRow, ...]
    emotions: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """Result over the whole recording. Emotion scores in per cent; ``average_confidence_score`` is the detector's mean,
    0 to 1; ``eye_contact_score`` the share of the time in which people looked at the camera, 0 to 1, and
    ``eye_contact_by_eyes`` the share of that time in which the eyes decided about it, not the head alone.
    """

    average_emotion_scores: Mapping[str, float] | None
    overall_dominant_emotion: str | None
    total_frames_analyzed: int
    average_confidence_score: float | None
    eye_contact_score: float | None = None
    eye_contact_by_eyes: float | None = None


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything found in one recording. ``fine``: its windows of :data:`FINE_S`; empty for a longer one.

    ``observations``: those about sounds (a turn of speech in ``voice``, for one) and about whole pictures.
    """

    source: str
    duration: float
    summaries: tuple[Summary, ...]
    events: tuple[Event, ...]
    faces: tuple[FaceRow, ...]
    report: Report
    utterances: tuple[UtteranceRow, ...] = ()
    fine: tuple[Summary, ...] = ()
    observations: tuple[Observation, ...] = ()


Progress = Callable[[float, float], None]
"""Called with the position and the duration in seconds."""


def analyze(
    path: Path,
    builder: PipelineBuilder,
    fps: float = DEFAULT_FPS,
    progress: Progress | None = None,
    channel: int | None = None,
) -> Analysis:
    """Run the active analyzers of ``builder`` over the file ``path``. ``channel``: which one is heard; None: all.

    Raises:
        MediaError: missing, unreadable or empty file.
        ConfigError: the sound has no such channel.
    """
    from edge_agent.capture import read_media

    info = read_media(path, whole=True)
    for warning in info.warnings():
        log.warning("%s", warning)
    return Run(builder, fps, stills=info.still).file(info, progress, channel)


def analyze_text(text: str, builder: PipelineBuilder, source: str = "text") -> TextAnalysis:
    """Run the active text analyzers of ``builder`` on each sentence of ``text``."""
    lane = builder.speech_lane()
    parts = sentences(text) or [""]
    rows = tuple(UtteranceRow.of(lane.read(Utterance(part))) for part in parts)
    judged = [LanguageSums(judged=1, p=tuple(row.emotions.values())) for row in rows if row.emotions]
    return TextAnalysis(source, rows, reduce(add, judged, LanguageSums()).mean())


class Run:
    """One pass over a recording: takes frames and sound in the order of their time and collects what is found.

    ``stills``: unrelated pictures; a face counts at once, without a second look to confirm it.
    """

    def __init__(self, builder: PipelineBuilder, fps: float = DEFAULT_FPS, *, stills: bool = False) -> None:
        self._clock = ManualClock(wall=0.0, synced=False)
        self._people = builder.people
        tracker = Tracker(TrackingRules(confirm=1)) if stills else None
        self._vision, self._audio = builder.lanes(Bounds.at(fps), tracker=tracker)
        self.summaries: list[Summary] = []
        """Windows that have ended."""
        self.events: list[Event] = []
        """Events in the order in which they were detected."""
        self.faces: list[FaceRow] = []
        """Every face of every analysed frame."""
        self.utterances: list[UtteranceRow] = []
        """What was said, in the order in which it was understood."""
        self.observations: list[Observation] = []
        """What was observed in sounds and whole pictures, flags apart."""
        self._speech = builder.speech_lane(tell=True)
        self._frames = 0
        self._window_s = builder.settings.summary.window_s
        naming = Naming() if builder.people is not None else None  # people are counted, and no names told
        self._summariser = Summariser(self._clock, self._window_s, self.summaries.append, self._on_event, naming=naming)
        self._fine: list[Summary] = []
        self._finer: Summariser | None = None

    @property
    def open_since(self) -> float:
        """Seconds at which the open window begins: older input comes too late."""
        return self._summariser.due - self._window_s

    def file(self, info: MediaInfo, progress: Progress | None = None, channel: int | None = None) -> Analysis:
        """Feed a whole file and finish. Raises as :func:`analyze`."""
        from edge_agent.capture import iter_media

        if info.duration <= SHORT_S:
            self._finer = Summariser(self._clock, FINE_S, self._fine.append, lambda *_: None)
        for summariser in self._summarisers():
            summariser.suspend("" if info.video else NONE, "")
        for item in iter_media(info.path, channel):
            if isinstance(item, Frame):
                self.frame(item)
            else:
                self.sound(item)
            if progress is not None:
                progress(item.time, info.duration)
        return self.finish(str(info.path), info.duration)

    def frame(self, frame: Frame) -> VisionReport | None:
        """Analyse the next frame; None when the rate skips it."""
        if self._people is not None:  # a session may outlive an enrolment
            self._people.refresh()
        report = self._vision.offer(frame)
        if report is not None:
            self._frames += 1
            self.faces += _rows(report, frame)
            self._observe(o for o in report.observations if o.track is None)
            self._count(report, frame.time)
        return report

    def sound(self, block: AudioBlock) -> AudioReport:
        """Analyse the next block of sound."""
        report = self._audio.offer(block)
        self._observe(report.observations)
        self._count(report, block.end)
        if self._speech.wanted:
            self._say(self._speech.offer(block), block.end)
        return report

    def end_sound(self) -> AudioReport:
        """Complete the bursts that are still open; more sound may follow."""
        report = self._audio.finish()
        self._observe(report.observations)
        self._count(report, report.time)
        self._say(self._speech.finish(), report.time)
        return report

    def _observe(self, observations: Iterable[Observation]) -> None:
        self.observations += (o for o in observations if o.name != FLAG)

    def _say(self, report: SpeechReport, now: float) -> None:
        """Keep the words apart: windows and events hold none."""
        self.utterances += map(UtteranceRow.of, report.said)
        self._count(replace(report, said=()), now)

    def finish(self, source: str, duration: float = 0.0) -> Analysis:
        """Complete what is still open and return everything; at least ``duration`` seconds long."""
        sounds = self._audio.finish()
        self._observe(sounds.observations)
        self._count(sounds, duration)
        self._say(self._speech.finish(), duration)
        if held := self._vision.finish():
            self._count(VisionReport(self._clock.monotonic(), self._frames, (), events=held, captured=0), duration)
        for summariser in self._summarisers():
            summariser.flush()
        self._join_sliver()
        report = _report(self.summaries, self.faces, self._frames)
        events = tuple(sorted(self.events, key=lambda e: e.start))
        seconds = max(duration, self._clock.monotonic())
        found = (tuple(self.summaries), events, tuple(self.faces), report, tuple(self.utterances), tuple(self._fine))
        return Analysis(source, seconds, *found, tuple(sorted(self.observations, key=lambda o: o.time)))

    def _summarisers(self) -> list[Summariser]:
        return [self._summariser, *([self._finer] if self._finer else [])]

    def _join_sliver(self) -> None:
        """Merge a very short last window into the one before it."""
        if len(self.summaries) > 1 and self.summaries[-1].seconds < min(SLIVER_S, self._window_s / 2):
            sliver, before = self.summaries.pop(), self.summaries.pop()
            self.summaries.append(replace(merge_summaries(before, sliver), trend=before.trend))

    def _on_event(self, event: Event, _start: float, _clock: ClockState) -> None:
        self.events.append(event)

    def _count(self, report: VisionReport | AudioReport | SpeechReport, now: float) -> None:
        self._clock.advance(max(0.0, now - self._clock.monotonic()))
        for summariser in self._summarisers():
            summariser.accept(report)
            summariser.tick()


def _rows(report: VisionReport, frame: Frame) -> list[FaceRow]:
    emotions = {o.track: o.values for o in report.observations if o.name == EMOTION}
    others: dict[str | None, list[Observation]] = {}
    for observation in report.observations:
        if observation.name not in (EMOTION, FLAG):
            others.setdefault(observation.track, []).append(observation)
    rows = []
    for tracked in report.faces:
        if tracked.coasting:  # expected there, not seen
            continue
        box = tracked.face.box
        pixels = Box(box.x * frame.width, box.y * frame.height, box.w * frame.width, box.h * frame.height)
        emotion = emotions.get(tracked.track)
        more = tuple(others.get(tracked.track, ()))
        rows.append(FaceRow(report.index, report.time, tracked.track, pixels, tracked.face.score, emotion, more))
    return rows


def _report(summaries: list[Summary], faces: list[FaceRow], frames: int) -> Report:
    """The report over the whole file, from the merged windows."""
    whole = reduce(merge_summaries, summaries) if summaries else None
    estimate = estimate_emotion(whole.window.emotion, min_readings=1) if whole else None
    p = estimate.p if estimate else _mean(faces)
    return Report(
        average_emotion_scores={name: 100 * v for name, v in zip(EMOTIONS, p, strict=True)} if p else None,
        overall_dominant_emotion=max(zip(p, EMOTIONS, strict=True))[1] if p else None,
        total_frames_analyzed=frames,
        average_confidence_score=sum(f.probability for f in faces) / len(faces) if faces else None,
        eye_contact_score=whole.window.attention.ratio if whole else None,
        eye_contact_by_eyes=whole.window.attention.share_by_eyes if whole else None,
    )


def _mean(faces: list[FaceRow]) -> tuple[float, ...] | None:
    """Mean over the faces of a still picture, which has no duration to weigh by."""
    read = [f.emotion for f in faces if f.emotion is not None]
    return tuple(sum(e[name] for e in read) / len(read) for name in EMOTIONS) if read else None
