"""Integrate reports into the sums of windows.

Between two looks the last known state holds (zero-order hold), but never longer than ``max_hold``: what was not watched
is not counted as seen. The builder is a plain state machine in the reports' own time, so recordings and live streams
give the same sums.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from edge_agent.domain.event import BURST, DEPARTURE, FUSION, Event
from edge_agent.domain.observation import (
    ATTENTION,
    BLINDING,
    EMOTION,
    EMOTIONS,
    FACEMESH,
    IDENTITY,
    LANGUAGE,
    LANGUAGE_EMOTIONS,
    LANGUAGE_UNKNOWN,
    VOICE,
    AudioReport,
    NetworkSums,
    Observation,
    SpeechReport,
    VisionReport,
)
from edge_agent.domain.recognition import IdentitySums, Naming, PersonSums
from edge_agent.domain.summary import (
    ENDED,
    NO_LOOK,
    STARTING,
    AttentionSums,
    BurstSums,
    EmotionSums,
    FaceSums,
    LanguageSums,
    MeasureSums,
    Presence,
    StaySums,
    StreamSums,
    VoiceSums,
    Window,
    add_network,
)
from edge_agent.summary.merging import merge_bursts, merge_measures
from edge_agent.summary.recognition import Identities

MAX_HOLD = 2.0
"""Seconds that one look at the camera stands for at most."""

MAX_EMOTION_HOLD = 5.0
"""Seconds that one emotion reading stands for at most while its face stays in view."""

_HOLDS = ("", ENDED)
"""Reasons with which the last look still holds: none, and the end of a recording."""

STALE = 15.0
"""Seconds after the last look from which it is unknown who is in view now."""


@dataclass(slots=True)
class _Reading:
    p: tuple[float, ...]
    time: float


@dataclass(slots=True)
class _Attention:
    score: float
    looking: float
    time: float
    eyes: float


@dataclass(slots=True)
class _Open:
    """The window being filled; ``seen`` are its distinct tracks."""

    faces: FaceSums = field(default_factory=FaceSums)
    seen: set[str] = field(default_factory=set)
    weight: float = 0.0
    p: list[float] = field(default_factory=lambda: [0.0] * len(EMOTIONS))
    square: list[float] = field(default_factory=lambda: [0.0] * len(EMOTIONS))
    readings: int = 0
    carried: int = 0
    bursts: dict[str, BurstSums] = field(default_factory=dict)
    measures: dict[str, MeasureSums] = field(default_factory=dict)
    stream: StreamSums = field(default_factory=StreamSums)
    attention: AttentionSums = field(default_factory=AttentionSums)
    stays: StaySums = field(default_factory=StaySums)
    fused: dict[str, BurstSums] = field(default_factory=dict)
    unseen: dict[str, float] = field(default_factory=dict)
    unheard: dict[str, float] = field(default_factory=dict)
    language: LanguageSums = field(default_factory=LanguageSums)
    voice: VoiceSums = field(default_factory=VoiceSums)
    identity: IdentitySums = field(default_factory=IdentitySums)
    network: NetworkSums = field(default_factory=NetworkSums)


class WindowBuilder:
    """Fill consecutive windows of ``length`` seconds, the first beginning at ``begin``.

    Reports come in about the order of their time; :meth:`advance` returns the windows that are complete. A report that
    comes after its window was closed counts in the open one. A report of sound counts where it began: the sum of
    ``audio_seconds`` over windows is exact, a single window may hold a little more of it than its length.
    """

    def __init__(self, begin: float, length: float, naming: Naming | None = None) -> None:
        self._identities = Identities(naming) if naming is not None else None
        self._begin = begin
        self._length = length
        self._open = _Open()
        self._now = begin
        self._looked: float | None = None
        self._unlooked = begin
        """Since when nothing but missing looks was counted in the open window."""
        self._unclear = STARTING
        self.suspended = ("", "")
        """Why there is nothing to see and to hear, as set by :meth:`suspend`."""
        self._in_view: tuple[str, ...] = ()
        self._seen_before: set[str] = set()
        self._readings: dict[str, _Reading] = {}
        self._attention: dict[str, _Attention] = {}

    @property
    def end(self) -> float:
        """When the open window is due to close."""
        return self._begin + self._length

    @property
    def together(self) -> int:
        """Most faces found in one picture since the open window began."""
        return self._open.faces.together

    def presence(self, now: float) -> Presence:
        """How many people are in view at ``now``."""
        if self._looked is None or now - self._looked > STALE:
            return Presence(None, self._why_unseen())
        names = self._identities.names(self._in_view) if self._identities is not None else None
        return Presence(len(self._in_view), names=names)

    @property
    def most(self) -> int:
        """Most people in view at once since the open window began."""
        return self._open.faces.most

    def suspend(self, now: float, camera: str, microphone: str) -> None:
        """Set why there is nothing to see or to hear from ``now`` on, one of the reasons of
        :mod:`edge_agent.domain.summary`; empty: there is. The last look does not hold any longer."""
        self._integrate(now)
        if camera not in _HOLDS:
            self._looked, self._unclear, self._in_view = None, STARTING, ()
        self.suspended = (camera, microphone)

    def vision(self, report: VisionReport) -> None:
        """Count one look at the camera."""
        self._integrate(report.time)
        tracks = tuple(face.track for face in report.faces)
        stream = self._open.stream
        self._open.stream = replace(
            stream,
            captured=stream.captured + report.captured,
            analysed=stream.analysed + 1,
            dropped=stream.dropped + report.dropped,
            flags=stream.flags | report.flags,
            latency=stream.latency + report.latency,
            slowest=max(stream.slowest, report.latency),
            resized=stream.resized + report.resized,
        )
        self._open.network = add_network(self._open.network, report.network)
        self._see(tracks)
        found = sum(not face.coasting for face in report.faces)
        self._open.faces = replace(self._open.faces, together=max(self._open.faces.together, found))
        # What a covered camera shows does not hold: until the next clear look nothing is watched.
        blind = sorted(BLINDING & report.flags)
        self._looked = None if blind or self.suspended[0] not in _HOLDS else report.time
        self._unclear = blind[0] if blind else STARTING
        self._in_view = tracks
        self._readings = {t: r for t, r in self._readings.items() if t in tracks}
        self._attention = {t: a for t, a in self._attention.items() if t in tracks}
        if self._identities is not None:
            self._identities.keep(tracks)
        for observation in report.observations:
            self._observe(observation)
        self._events(report.events)
        self._fill(report.time)

    def audio(self, report: AudioReport) -> None:
        """Count one report of sound."""
        stream = self._open.stream
        self._open.stream = replace(
            stream, audio_seconds=stream.audio_seconds + report.seconds, flags=stream.flags | report.flags
        )
        for observation in report.observations:
            self._observe(observation)
        self._events(report.events)

    def speech(self, report: SpeechReport) -> None:
        """Count what was said; it counts when it is understood, which may be a window after it was said."""
        self._open.language += LanguageSums(report.utterances, report.words, lost=report.lost)
        for observation in report.observations:
            self._observe(observation)

    def advance(self, now: float) -> list[Window]:
        """Close every window that ended by ``now``."""
        closed = []
        while now >= self.end:
            closed.append(self._close(self.end))
        return closed

    def flush(self, now: float) -> Window | None:
        """Close the open window early; None when it has no length yet."""
        return self._close(now) if now > self._begin + 1e-6 else None

    def _why_unseen(self) -> str:
        """Why the last look does not tell, or no longer tells, who is in view."""
        return self.suspended[0] or (self._unclear if self._looked is None else NO_LOOK)

    def _integrate(self, time: float) -> None:
        """Count the last known state until ``time`` (zero-order hold), and the reason for the rest as unknown."""
        if time <= self._now:
            return
        held = self._now
        if self._looked is not None:
            held = min(time, max(held, self._looked + MAX_HOLD))
            if held > self._now:
                self._hold(self._now, held)
        if held > self._now:
            self._unlooked = held
        if time > held:
            why = self._why_unseen()
            self._open.unseen[why] = self._open.unseen.get(why, 0.0) + time - held
            if why != NO_LOOK:
                self._unlooked = time
        if silent := self.suspended[1]:
            self._open.unheard[silent] = self._open.unheard.get(silent, 0.0) + time - self._now
        self._now = time

    def _fill(self, picture: float) -> None:
        """Count what a look that took long shows for the time after its ``picture``, which passed without a look."""
        since, until = max(picture, self._unlooked), min(self._now, picture + MAX_HOLD)
        if self._looked is None or until <= since:
            return
        self._open.unseen[NO_LOOK] = max(0.0, self._open.unseen[NO_LOOK] - (until - since))
        self._hold(since, until)
        self._unlooked = until

    def _see(self, tracks: tuple[str, ...]) -> None:
        """Count who is in view. Someone already seen in the window before this one is carried over, not new."""
        fresh = set(tracks) - self._open.seen
        self._open.seen |= fresh
        carried = len(fresh & self._seen_before)
        faces = self._open.faces
        self._open.faces = replace(
            faces,
            most=max(faces.most, len(tracks)),
            carried=faces.carried + carried,
            arrived=faces.arrived + len(fresh) - carried,
        )

    def _hold(self, since: float, until: float) -> None:
        dt = until - since
        self._see(self._in_view)
        faces, stream = self._open.faces, self._open.stream
        self._open.faces = replace(
            faces, person_seconds=faces.person_seconds + dt * len(self._in_view), seconds=faces.seconds + dt
        )
        self._open.stream = replace(stream, video_seconds=stream.video_seconds + dt)
        if self._identities is not None:
            expressed = partial(self._expressed, since=since, dt=dt)
            self._open.identity += self._identities.count(self._in_view, dt, expressed)
        for track in self._in_view:
            reading = self._readings.get(track)
            if reading is not None:
                self._weigh(reading.p, max(0.0, min(dt, reading.time + MAX_EMOTION_HOLD - since)))
            turned = self._attention.get(track)
            if turned is not None:
                self._attend(turned, max(0.0, min(dt, turned.time + MAX_HOLD - since)))

    def _expressed(self, track: str, since: float, dt: float) -> PersonSums:
        reading = self._readings.get(track)
        weight = 0.0 if reading is None else max(0.0, min(dt, reading.time + MAX_EMOTION_HOLD - since))
        if reading is None or weight == 0:
            return PersonSums(dt)
        return PersonSums(dt, weight, tuple(weight * value for value in reading.p))

    def _weigh(self, p: tuple[float, ...], weight: float) -> None:
        self._open.weight += weight
        for k, value in enumerate(p):
            self._open.p[k] += weight * value
            self._open.square[k] += weight * value * value

    def _attend(self, turned: _Attention, weight: float) -> None:
        self._open.attention += AttentionSums(
            weight, weight * turned.score, weight * turned.looking, weight * turned.eyes
        )

    def _observe(self, observation: Observation) -> None:
        if observation.name == ATTENTION:
            if observation.track is not None:
                values = observation.values
                self._attention[observation.track] = _Attention(
                    values["score"], values["looking"], observation.time, values.get("eyes", 0.0)
                )
            return
        if observation.name == EMOTION:
            if observation.track is not None:
                p = tuple(observation.values[name] for name in EMOTIONS)
                self._readings[observation.track] = _Reading(p, observation.time)
                self._open.readings += not observation.recalled
            return
        if observation.name == LANGUAGE:
            p = tuple(observation.values[name] for name in LANGUAGE_EMOTIONS)
            self._open.language += LanguageSums(judged=1, p=p)
            return
        if observation.name == VOICE:
            self._open.voice += VoiceSums.of_turn(observation.values["seconds"], observation.values.get("arousal"))
            return
        if observation.name == IDENTITY:
            if observation.track is not None and self._identities is not None:
                self._identities.learn(observation.track, next(iter(observation.values)))
            return
        if observation.name in (LANGUAGE_UNKNOWN, FACEMESH):  # an utterance that is not judged; a client's own points
            return
        for key, value in observation.values.items():
            name = f"{observation.name}.{key}"
            one = {name: MeasureSums(1, value, value, value)}
            self._open.measures[name] = merge_measures(self._open.measures, one, name)

    def _events(self, events: tuple[Event, ...]) -> None:
        for event in events:
            if event.kind == BURST:
                one = {event.label: BurstSums(1, event.score, event.seconds)}
                self._open.bursts[event.label] = merge_bursts(self._open.bursts, one, event.label)
            elif event.kind == DEPARTURE:
                stays = self._open.stays
                self._open.stays = StaySums(
                    stays.count + 1, stays.seconds + event.seconds, max(stays.longest, event.seconds)
                )
            elif event.kind == FUSION:
                together = {event.label: BurstSums(1, event.score, event.seconds)}
                self._open.fused[event.label] = merge_bursts(self._open.fused, together, event.label)

    def _still_held(self, now: float) -> int:
        """Readings of faces in view that speak for the time after ``now``."""
        readings = (self._readings.get(track) for track in self._in_view)
        return sum(1 for reading in readings if reading is not None and now < reading.time + MAX_EMOTION_HOLD)

    def _close(self, end: float) -> Window:
        self._integrate(end)
        done = self._open
        window = Window(
            begin=self._begin,
            end=end,
            faces=done.faces,
            emotion=EmotionSums(done.weight, tuple(done.p), tuple(done.square), done.readings, done.carried),
            bursts=dict(sorted(done.bursts.items())),
            measures=dict(sorted(done.measures.items())),
            stream=done.stream,
            attention=done.attention,
            stays=done.stays,
            fused=dict(sorted(done.fused.items())),
            unseen=dict(sorted(done.unseen.items())),
            unheard=dict(sorted(done.unheard.items())),
            language=done.language,
            voice=done.voice,
            identity=done.identity,
            network=done.network,
        )
        self._open = _Open(carried=self._still_held(end))
        self._seen_before = done.seen
        self._begin = self._unlooked = end
        return window
