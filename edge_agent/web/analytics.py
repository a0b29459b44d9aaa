"""How a period went: the streams' quality, the viewers' engagement and each person's own course. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from edge_agent.domain.summary import FaceSums, Summary, Window, engagement, estimate_window
from edge_agent.live.history import History
from edge_agent.live.people import Person
from edge_agent.payloads.messages import (
    AttentionPart,
    BurstPart,
    EmotionPart,
    FacesPart,
    FusedPart,
    LanguagePart,
    MessagePart,
    StaysPart,
    Timestamp,
    UnknownPart,
    VoicePart,
    absent,
)
from edge_agent.payloads.rendering import summary_document, timestamp
from edge_agent.summary.merging import merge

LONGEST_S = 60 * 86_400.0
"""No history is longer."""


class Gaps(BaseModel):
    """Seconds in which a stream was not there."""

    video: float = Field(ge=0)
    audio: float = Field(ge=0)


class Latency(BaseModel):
    """Seconds from the capture of a frame to what was found in it."""

    mean: float
    longest: float


class Buffering(BaseModel):
    """Times in which a network camera's next picture was more than a quarter of a second late."""

    events: int = Field(ge=0)
    seconds: float = Field(ge=0)
    ratio: float = Field(ge=0, description="Share of the time in which the camera was there.")


class Streaming(BaseModel):
    """Quality of the streams; rates are per second in which the camera was there, null when it never was."""

    video_fps: float | None = Field(description="Frames captured per second.")
    analysed_fps: float | None = Field(description="Frames analysed per second.")
    dropped: int = Field(description="Frames captured but lost.")
    gaps: Gaps
    latency: Latency | None = Field(description="Null when no frame was analysed.")
    resolution_changes: int = Field(description="How often the pictures' size changed.")
    bitrate: float | None = Field(description="Bits per second of the video of network cameras; null for others.")
    buffering: Buffering | None = Field(description="How network cameras made us wait; null for others.")
    flags: list[str] = Field(description="What was wrong at some time.")


class Viewers(MessagePart):
    """People of a period, with the fields of a summary."""

    arrivals: int = Field(ge=0, description="People who came; tracks counts those who were there already, too.")
    faces: FacesPart
    emotion: EmotionPart | None
    bursts: list[BurstPart]
    attention: AttentionPart = absent("How much people looked at the camera.")
    stays: StaysPart = absent("People who left.")
    fused: list[FusedPart] = absent("What was seen and heard within about a second.")
    language: LanguagePart = absent("What was said, not the words.")
    voice: VoicePart = absent("How people spoke.")
    withheld: float = absent("Seconds in which fewer people than privacy.min_people were seen together.")
    unknown: UnknownPart = absent("Seconds in which nobody could be seen or nothing be heard, by reason.")


class AnalyticsStep(BaseModel):
    """A part of the period."""

    start: Timestamp
    seconds: float = Field(ge=0)
    streaming: Streaming
    viewers: Viewers


class AnalyticsReport(MessagePart):
    """How a period went."""

    device: str = Field(description="device.id of the config.")
    since: Timestamp
    until: Timestamp
    known_seconds: float = Field(ge=0, description="Seconds of the period that the history knows.")
    streaming: Streaming | None = Field(description="Null when nothing is known.")
    viewers: Viewers | None = Field(description="Null when nothing is known.")
    series: list[AnalyticsStep] = absent("The period in steps, when asked for.")
    unknown: Literal["clock"] | None = Field(
        description="clock: the device does not know the time, so nothing enters the history (device.trust_clock)."
    )


class PersonStep(BaseModel):
    """A few seconds of one person."""

    start: Timestamp
    emotion: EmotionPart | None
    attention: AttentionPart | None


class PersonNow(BaseModel):
    """What a person in view shows now, from the latest few readings."""

    box: Annotated[list[float], Field(min_length=4, max_length=4)] = Field(
        description="The face: left, top, width, height in fractions of the picture; may reach outside of it."
    )
    emotion: EmotionPart | None
    attention: AttentionPart | None


class PersonReport(BaseModel):
    """One person; the track is a random name that ends with the visit."""

    track: str
    since: Timestamp
    until: Timestamp
    here: bool = Field(description="Still in view.")
    name: str | None = Field(description="Name of an enrolled person; null for anybody else. Shown here only.")
    seconds: float = Field(ge=0)
    trend: float | None = Field(
        ge=-2, le=2, description="Change of valence from the first half of the timeline to the second."
    )
    emotion: EmotionPart | None
    attention: AttentionPart | None
    now: PersonNow | None = Field(description="Null when the person is not in view.")
    timeline: list[PersonStep]


class PeopleReport(BaseModel):
    """Everybody who is in view or was lately."""

    now: Timestamp = Field(description="The device's own time.")
    unknown: str | None = Field(description="Why it is unknown who is in view now; null when it is known.")
    people: list[PersonReport]


def parse_time(text: str) -> float:
    """Unix seconds of RFC 3339 (with an offset or Z) or of a number. Raises ValueError."""
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset, as in 2026-11-20T09:00:00Z")
    return moment.astimezone(UTC).timestamp()


def report(history: History, since: float, until: float, device: str, step: int | None = None) -> dict[str, Any]:
    """The period as one, and in steps when asked; ``viewers`` is None when nothing is known.

    A step has ``step`` seconds or, where windows do not fit into that, the fewest more that they make up.
    """
    whole = history.between(since, until)
    document: dict[str, Any] = {
        "device": device,
        "since": timestamp(since),
        "until": timestamp(until),
        "known_seconds": 0.0 if whole is None else round(whole.faces.seconds, 1),
        "streaming": None if whole is None else streaming(whole),
        "viewers": None if whole is None else viewers(whole, device),
    }
    if step is not None:
        document["series"] = [
            {
                "start": timestamp(w.begin),
                "seconds": round(w.seconds, 1),
                "streaming": streaming(w),
                "viewers": viewers(w, device),
            }
            for w in history.series(since, until, step)
        ]
    return document


def streaming(window: Window) -> dict[str, Any]:
    """Rates are per second in which the camera was there; ``gaps`` are the seconds in which it or the sound was not.

    ``latency``: seconds from the capture of a frame to what was found in it, mean and longest; ``resolution_changes``:
    how often the pictures' size changed. ``bitrate`` and ``buffering`` are those of network cameras, None for others.
    """
    stream, network = window.stream, window.network
    watched = stream.video_seconds
    return {
        "video_fps": round(stream.captured / watched, 2) if watched > 0 else None,
        "analysed_fps": round(stream.analysed / watched, 2) if watched > 0 else None,
        "dropped": stream.dropped,
        "gaps": {
            "video": round(max(0.0, window.seconds - stream.video_seconds), 1),
            "audio": round(max(0.0, window.seconds - stream.audio_seconds), 1),
        },
        "latency": {"mean": round(stream.latency / stream.analysed, 3), "longest": round(stream.slowest, 3)}
        if stream.analysed
        else None,
        "resolution_changes": stream.resized,
        "bitrate": round(8 * network.received / network.seconds) if network.seconds > 0 else None,
        "buffering": {
            "events": network.stalls,
            "seconds": round(network.stalled, 2),
            "ratio": round(network.stalled / network.seconds, 4),
        }
        if network.seconds > 0
        else None,
        "flags": sorted(stream.flags),
    }


def viewers(window: Window, device: str) -> dict[str, Any]:
    """As in a summary; ``arrivals`` are the people who came, ``tracks`` counts those who were there already, too."""
    parts = ("faces", "emotion", "bursts", "attention", "stays", "fused", "language", "voice", "withheld", "unknown")
    return {"arrivals": window.faces.arrived} | _parts(window, device, parts)


def hug_report(window: Window | None, moment: float, device: str) -> dict[str, Any]:
    """The period in the shape of the Hug API: ``timestamp``, ``streaming_quality`` and ``viewer_engagement``.

    What is not known is None; nothing is measured for this alone.
    """
    stream = None if window is None else streaming(window)
    told = None if window is None else viewers(window, device)
    faces = FaceSums() if window is None else window.faces
    came = faces.carried + faces.arrived
    watched = window is not None and faces.seconds > 0
    return {
        "timestamp": timestamp(moment),
        "streaming_quality": {
            "bitrate": stream and stream["bitrate"],
            "buffering": stream and stream["buffering"],
            "resolution_changes": stream and stream["resolution_changes"],
            "fps": stream and stream["video_fps"],
            "dropped_frames": stream and stream["dropped"],
            "latency": stream and stream["latency"],
        },
        "viewer_engagement": {
            "viewers": came if watched else None,
            "watch_time": round(faces.person_seconds, 1) if watched else None,
            "average_watch_time": round(faces.person_seconds / came, 1) if watched and came else None,
            "interaction": None if window is None else _interaction(window),
            "emotion": told and told["emotion"],
        },
    }


def _interaction(window: Window) -> dict[str, Any]:
    """What people did: the share of the time in which they looked, how long each of them, and what was heard."""
    looked = window.attention.ratio
    each = engagement(window)
    return {
        "attention": None if looked is None else round(looked, 3),
        "seconds_looking": None if each is None else round(each, 1),
        "bursts": sum(burst.count for burst in window.bursts.values()),
    }


Look = dict[str, Any]
Looks = dict[tuple[str, float, float], Look]
"""Of each person's windows, by track, begin and end."""


def people(found: Sequence[Person], device: str, boot: float, known: Looks | None = None) -> list[dict[str, Any]]:
    """Each person as one and in windows; ``boot`` is the wall time at which the monotonic clock was 0.

    ``trend`` is the change of valence from the first half of the windows to the second, None when either has too few
    readings to tell. ``known``: what was told of windows before; it is brought up to date, since a window that has
    ended never changes and there may be thousands.
    """
    known = {} if known is None else known
    looks: Looks = {}
    told = []
    for person in found:
        parts = [reduce(merge, part) for part in _halves(person.windows)]
        timeline = []
        for window in person.windows:
            key = (person.track, window.begin, window.end)
            look = looks[key] = known.get(key) or _look(window, device)
            timeline.append({"start": timestamp(boot + window.begin), **look})
        told.append(
            {
                "track": person.track,
                "since": timestamp(boot + person.since),
                "until": timestamp(boot + person.until),
                "here": person.here,
                "name": person.name,
                "seconds": round(person.until - person.since, 1),
                "trend": _trend(parts),
                **_look(reduce(merge, parts) if parts else None, device),
                "now": _now(person, device),
                "timeline": timeline,
            }
        )
    known.clear()
    known |= looks
    return told


def _now(person: Person, device: str) -> dict[str, Any] | None:
    if person.box is None or not person.here:
        return None
    box = [round(value, 4) for value in (person.box.x, person.box.y, person.box.w, person.box.h)]
    return {"box": box, **_look(person.now, device)}


def _halves(windows: Sequence[Window]) -> list[Sequence[Window]]:
    half = len(windows) // 2
    return [part for part in (windows[:half], windows[half:]) if part]


def _look(window: Window | None, device: str) -> Look:
    parts = {} if window is None else _parts(window, device, ("emotion", "attention"))
    return {"emotion": None, "attention": None} | parts


def _parts(window: Window, device: str, names: Sequence[str]) -> dict[str, Any]:
    whole = summary_document(Summary(window.begin, "synced", window), device, "", 0)
    return {name: whole[name] for name in names if name in whole}


def _trend(halves: Sequence[Window]) -> float | None:
    estimates = [found for half in halves if (found := estimate_window(half)) is not None]
    return round(estimates[1].valence - estimates[0].valence, 2) if len(estimates) == 2 else None
