"""Random streams of reports, and a slow, obvious way to count what they amount to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from hypothesis import strategies as st

from edge_agent.domain.event import BURST, DEPARTURE, FUSION, Event
from edge_agent.domain.face import Box, Face, TrackedFace
from edge_agent.domain.observation import (
    ATTENTION,
    EMOTION,
    EMOTIONS,
    LANGUAGE,
    LANGUAGE_EMOTIONS,
    LANGUAGE_UNKNOWN,
    VOICE,
    AudioReport,
    Observation,
    SpeechReport,
    VisionReport,
)
from edge_agent.domain.summary import Window
from edge_agent.summary.merging import merge
from edge_agent.summary.window import WindowBuilder

Report = VisionReport | AudioReport | SpeechReport


def face(track: str) -> TrackedFace:
    return TrackedFace(track, Face(Box(0.1, 0.1, 0.2, 0.2), 0.9), 0.0)


def reading(track: str, time: float, **p: float) -> Observation:
    """An emotion reading; what is not named is neutral."""
    values = dict.fromkeys(EMOTIONS, 0.0) | p
    values["neutral"] += 1 - sum(values.values())
    return Observation(EMOTION, values, time, track)


def look(time: float, *tracks: str, **changes: object) -> VisionReport:
    """One analysed frame with these people in view."""
    return VisionReport(time, 0, tuple(map(face, tracks)), **changes)  # type: ignore[arg-type]


def fill(reports: Sequence[Report], length: float, end: float, begin: float = 0.0) -> list[Window]:
    """The windows of ``length`` that ``reports`` make, until ``end``; the last may be shorter."""
    builder = WindowBuilder(begin, length)
    windows = []
    for report in reports:
        windows += builder.advance(report.time)
        if isinstance(report, VisionReport):
            builder.vision(report)
        elif isinstance(report, SpeechReport):
            builder.speech(report)
        else:
            builder.audio(report)
    windows += builder.advance(end)
    last = builder.flush(end)
    return windows if last is None else [*windows, last]


def merged(windows: Sequence[Window]) -> Window:
    return reduce(merge, windows)


TIMES = st.floats(0.0, 3.0).map(lambda step: round(step, 2))


@st.composite
def reports(draw: st.DrawFn, longest_absence: int = 1) -> list[Report]:
    """Looks and stretches of sound in the order of their time. Who is missing for more looks than allowed is gone."""
    now, found = 0.0, []
    present: dict[str, int] = {}
    count = 0
    for _ in range(draw(st.integers(0, 25))):
        if draw(st.integers(0, 4)) == 0:  # without a step of time: looks would be further apart than their absence
            found.append(draw(_sound(now) | _speech(now)))
            continue
        now = round(now + draw(TIMES), 2)
        if draw(st.booleans()) and len(present) < 4:
            count += 1
            present[f"t{count}"] = 0
        tracks = []
        for track in list(present):
            fate = draw(st.sampled_from(["here", "here", "here", "missing", "gone"]))
            present[track] = 0 if fate == "here" else present[track] + 1
            if fate == "here":
                tracks.append(track)
            elif fate == "gone" or present[track] > longest_absence:
                del present[track]
        found.append(draw(_look(now, tracks)))
    return found


@st.composite
def _look(draw: st.DrawFn, now: float, tracks: list[str]) -> VisionReport:
    share = st.floats(0.0, 1.0)
    read = [t for t in tracks if draw(st.booleans())]
    observations = [reading(t, now, happiness=draw(share)) for t in read]
    turned = {"score": draw(share), "looking": draw(st.sampled_from([0.0, 1.0]))}
    observations += [Observation(ATTENTION, turned, now, t) for t in tracks if draw(st.booleans())]
    if draw(st.booleans()):
        observations.append(Observation("light", {"level": draw(st.floats(-5.0, 5.0))}, now))
    flags = frozenset(draw(st.sets(st.sampled_from(["dark", "blurred"]), max_size=1)))
    return look(
        now,
        *tracks,
        observations=tuple(observations),
        flags=flags,
        captured=draw(st.integers(1, 9)),
        dropped=draw(st.integers(0, 3)),
        resized=draw(st.integers(0, 1)),
        latency=draw(st.floats(0.0, 2.0)),
    )


@st.composite
def _sound(draw: st.DrawFn, now: float) -> AudioReport:
    label = st.sampled_from(["cough", "laughter"])
    kind = st.sampled_from([BURST, DEPARTURE, FUSION])
    event = st.builds(Event, kind, label, st.floats(0.0, 1.0), st.just(now), st.floats(0.0, 2.0))
    events = draw(st.lists(event, max_size=2))
    level = Observation("loudness", {"dbfs": draw(st.floats(-90.0, 0.0))}, now)
    turn = {"seconds": draw(st.floats(0.0, 9.0))}
    turn |= {"arousal": draw(st.floats(-1.0, 1.0))} if draw(st.booleans()) else {}
    turns = (Observation(VOICE, turn, now),) * draw(st.integers(0, 1))
    return AudioReport(now, draw(st.floats(0.01, 1.0)), 0.0, (level, *turns), tuple(events))


@st.composite
def _speech(draw: st.DrawFn, now: float) -> SpeechReport:
    p = dict.fromkeys(LANGUAGE_EMOTIONS, 0.01) | {draw(st.sampled_from(LANGUAGE_EMOTIONS)): draw(st.floats(0.0, 1.0))}
    judged = [Observation(LANGUAGE, p, now), Observation(LANGUAGE_UNKNOWN, {"too_short": 1.0}, now)]
    found = draw(st.lists(st.sampled_from(judged), max_size=3))
    words = draw(st.integers(0, 9))
    return SpeechReport(now, 0.1, len(found), words, tuple(found), draw(st.sampled_from([0.0, 0.5])))


def count_slowly(
    found: Sequence[Report], end: float, hold: float, emotion_hold: float, step: float = 0.01
) -> dict[str, float]:
    """Person-seconds, watched seconds and happiness, summed over small steps of time."""
    sums = {"persons": 0.0, "watched": 0.0, "happiness": 0.0, "weight": 0.0}
    looks = [r for r in found if isinstance(r, VisionReport)]
    for n in range(round(end / step)):
        now = (n + 0.5) * step
        past = [r for r in looks if r.time <= now]
        if not past or now - past[-1].time > hold or past[-1].flags & {"dark", "covered", "frozen"}:
            continue
        sums["watched"] += step
        for tracked in past[-1].faces:
            sums["persons"] += step
            latest = _latest_reading(past, tracked.track)
            if latest is not None and now - latest.time <= emotion_hold:
                sums["weight"] += step
                sums["happiness"] += step * latest.values["happiness"]
    return sums


def _latest_reading(past: Sequence[VisionReport], track: str) -> Observation | None:
    """The last reading of ``track``; one from before it was out of view does not count."""
    for report in reversed(past):
        if track not in [f.track for f in report.faces]:
            return None
        for observation in report.observations:
            if observation.name == EMOTION and observation.track == track:
                return observation
    return None
