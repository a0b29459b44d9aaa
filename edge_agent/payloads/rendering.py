"""Render summaries, events and presence as the JSON that subscribers read, in the shapes of the models of this package.

Numbers carry at most three decimals, probabilities of one distribution add up to one, times are RFC 3339 in UTC with
milliseconds. Everything published is derived from a window's sums here, and nowhere else. Nothing is sent from here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edge_agent.domain.event import Event
from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.recognition import IdentitySums, PersonSums
from edge_agent.domain.summary import (
    BurstSums,
    ClockState,
    FaceSums,
    LanguageSums,
    MeasureSums,
    Presence,
    StaySums,
    StreamSums,
    Summary,
    Trend,
    VoiceSums,
    Window,
    dominant_language,
    engagement,
    estimate_window,
    lift,
)

VERSION = 1
"""Value of ``v``: the version of the schemas."""

NOTABLE = 0.05
"""Smaller differences from the baseline or from the minute before are not published."""

LATEST = 253_402_300_799.0
"""9999-12-31T23:59:59Z; a clock beyond it is broken and its times are clipped."""


NOWHERE: Mapping[str, Any] = {}
"""The ``place`` of a device whose config gives neither site nor labels."""


def summary_document(
    summary: Summary, device: str, boot_id: str, seq: int, merged: int = 1, place: Mapping[str, Any] = NOWHERE
) -> dict[str, Any]:
    """The summary as published; ``merged`` is the number of windows it stands for, ``place`` where the device is."""
    window = summary.window
    document: dict[str, Any] = {
        **_identity(device, boot_id, seq),
        **place,
        "start": timestamp(summary.start),
        "seconds": _round(window.seconds),
        "clock": summary.clock,
        "faces": _faces(window.faces, window.seconds),
        "emotion": _emotion(window),
        "bursts": [
            {"label": label, "count": sums.count, "peak": _round(sums.peak, 2), "seconds": _round(sums.seconds)}
            for label, sums in sorted(window.bursts.items())
        ],
        "quality": _quality(window.stream, window.seconds),
    }
    document |= _present(
        attention=_attention(window),
        stays=_stays(window.stays),
        lift=_lift(window),
        trend=_trend(summary.trend),
        fused=_fused(window.fused),
        unknown=_unknown(window),
        language=_language(window.language),
        voice=_voice(window.voice),
        identity=_recognised(window.identity),
    )
    if window.measures:
        document["measures"] = {name: _measure(sums) for name, sums in sorted(window.measures.items())}
    if window.withheld > 0:
        document["withheld"] = _round(window.withheld)
    if merged > 1:
        document["merged"] = merged
    return document


def event_document(
    event: Event,
    start: float,
    clock: ClockState,
    device: str,
    boot_id: str,
    seq: int,
    place: Mapping[str, Any] = NOWHERE,
) -> dict[str, Any]:
    """The event as published. ``start`` is wall time, Unix seconds; ``place`` says where the device is."""
    document: dict[str, Any] = {
        **_identity(device, boot_id, seq),
        **place,
        "kind": event.kind,
        "label": event.label,
        "score": _round(event.score),
        "start": timestamp(start),
        "seconds": _round(event.seconds),
    }
    if event.text:
        document["text"] = event.text
    if event.name:
        document["name"] = event.name
    if clock == "unsynced":
        document["clock"] = clock
    return document


def presence_document(presence: Presence, device: str) -> dict[str, Any]:
    """Who is in view now, as published; ``count`` and ``occupied`` are null when that is ``unknown``."""
    count = presence.count
    occupied = None if count is None else count > 0
    document = {
        "v": VERSION,
        "device": device,
        "count": count,
        "occupied": occupied,
        "unknown": presence.unknown or None,
    }
    return document if presence.names is None else document | {"names": list(presence.names)}


def encode(document: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON. Raises ValueError for numbers that JSON cannot carry (nan, infinity)."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def restamp(payload: bytes, start: float) -> bytes:
    """``payload`` with the right ``start``, its clock now known to be right."""
    document = json.loads(payload)
    document["start"] = timestamp(start)
    if "faces" in document:
        document["clock"] = "synced"
    else:
        document.pop("clock", None)
    return encode(document)


def mark_replayed(payload: bytes) -> bytes:
    """``payload`` with ``"replayed": true`` appended; it must be a non-empty JSON object, as this module renders."""
    return payload[:-1] + b',"replayed":true}'


def place_of(payload: bytes) -> dict[str, Any]:
    """The site and labels in ``payload``, a message as this module renders it."""
    document = json.loads(payload)
    return {name: document[name] for name in ("site", "labels") if name in document}


def timestamp(wall: float) -> str:
    """RFC 3339 in UTC with milliseconds, of Unix seconds; clipped to the years 1970 to 9999."""
    moment = datetime.fromtimestamp(min(max(wall, 0.0), LATEST), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _identity(device: str, boot_id: str, seq: int) -> dict[str, Any]:
    return {"v": VERSION, "device": device, "boot_id": boot_id, "seq": seq}


def _faces(sums: FaceSums, seconds: float) -> dict[str, Any]:
    """Nulls when nobody could be seen in all of the window's ``seconds``: 0 would say that nobody was there.

    A still picture has no duration. A look that came after its window was closed is of no time of the next.
    """
    if sums.mean is None or sums.seconds <= 0 < seconds:
        return dict.fromkeys(("max", "mean", "person_seconds", "tracks"))
    return {
        "max": sums.most,
        "mean": _round(sums.mean),
        "person_seconds": _round(sums.person_seconds),
        "tracks": sums.carried + sums.arrived,
    }


def _unknown(window: Window) -> dict[str, dict[str, float]]:
    """Seconds by reason in which nobody could be seen, and nothing be heard; what rounds to nothing is left out."""
    told = {"people": window.unseen, "sounds": window.unheard}
    tenths = {of: {why: _round(s, 1) for why, s in sums.items() if s >= 0.05} for of, sums in told.items()}
    return {of: reasons for of, reasons in tenths.items() if reasons}


def _emotion(window: Window) -> dict[str, Any] | None:
    estimate = estimate_window(window)
    if estimate is None:
        return None
    return {
        "dominant": estimate.dominant,
        "p": dict(zip(EMOTIONS, _shares(estimate.p), strict=True)),
        "valence": _round(estimate.valence, 2),
        "confidence": _round(estimate.confidence, 2),
        "readings": estimate.readings,
    }


def _present(**parts: Any) -> dict[str, Any]:
    """Those of the optional ``parts`` that have something to say."""
    return {name: part for name, part in parts.items() if part}


def _attention(window: Window) -> dict[str, float] | None:
    sums = window.attention
    if sums.ratio is None:
        return None
    document = {"ratio": _round(sums.ratio, 2), "seconds": _round(sums.looking)}
    if sums.by_eyes > 0:
        document["by_eyes"] = _round(sums.by_eyes / sums.weight, 2)
    each = engagement(window)
    return document if each is None else document | {"per_person": _round(each, 1)}


def _stays(sums: StaySums) -> dict[str, float] | None:
    if sums.count == 0:
        return None
    return {"count": sums.count, "mean": _round(sums.seconds / sums.count), "longest": _round(sums.longest)}


def _lift(window: Window) -> dict[str, float] | None:
    """Classes that stand out from what this place usually shows."""
    values = lift(window) if estimate_window(window) else None
    if values is None:
        return None
    return {n: _round(v, 2) for n, v in zip(EMOTIONS, values, strict=True) if abs(v) >= NOTABLE}


def _trend(trend: Trend | None) -> dict[str, float] | None:
    """What has changed against the minute before; what has not is left out."""
    if trend is None:
        return None
    figures = {"valence": trend.valence, "people": trend.people, "attention": trend.attention}
    return {n: _round(v, 2) for n, v in figures.items() if v is not None and abs(v) >= NOTABLE}


def _fused(fused: Mapping[str, BurstSums]) -> list[dict[str, Any]]:
    return [{"label": label, "count": s.count, "peak": _round(s.peak, 2)} for label, s in sorted(fused.items())]


def _language(sums: LanguageSums) -> dict[str, Any] | None:
    """What was said; None when nobody said anything."""
    if sums.utterances == 0 and sums.judged == 0 and sums.lost < NOTABLE:
        return None
    few = dominant_language(sums)
    document: dict[str, Any] = {"utterances": sums.utterances, "words": sums.words, "judged": sums.judged}
    if few:
        document |= {"dominant": next(iter(few)), "p": {name: _round(p, 2) for name, p in few.items()}}
    return document | ({"lost": _round(sums.lost, 1)} if sums.lost >= NOTABLE else {})


def _voice(sums: VoiceSums) -> dict[str, Any] | None:
    """How people spoke; None when nobody did. Without ``arousal`` while it is unknown."""
    if sums.turns == 0:
        return None
    document: dict[str, Any] = {"seconds": _round(sums.seconds, 1), "turns": sums.turns}
    return document if sums.mean is None else {"arousal": _round(sums.mean, 2), **document}


def _recognised(sums: IdentitySums) -> dict[str, Any] | None:
    """How many enrolled and other people were in view; None when nobody was looked at."""
    if sums.known + sums.unknown == 0:
        return None
    document: dict[str, Any] = {
        "known": sums.most,
        "known_seconds": _round(sums.known, 1),
        "unknown_seconds": _round(sums.unknown, 1),
    }
    if sums.people:
        document["people"] = {name: _person(person) for name, person in sorted(sums.people.items())}
    return document


def _person(sums: PersonSums) -> dict[str, Any]:
    document: dict[str, Any] = {"seconds": _round(sums.seconds, 1)}
    if sums.weight > 0:
        p = tuple(value / sums.weight for value in sums.p)
        document["p"] = dict(zip(EMOTIONS, _shares(p), strict=True))
    return document


def _quality(stream: StreamSums, seconds: float) -> dict[str, Any]:
    def per_second(count: float) -> float:
        return _round(count / seconds) if seconds > 0 else 0.0

    return {
        "video_fps": _round(per_second(stream.captured), 1),
        "analysed_fps": _round(per_second(stream.analysed), 1),
        "coverage": {
            "video": min(1.0, per_second(stream.video_seconds)),
            "audio": min(1.0, per_second(stream.audio_seconds)),
        },
        "dropped": stream.dropped,
        "flags": sorted(stream.flags),
    }


def _measure(sums: MeasureSums) -> dict[str, Any]:
    return {
        "mean": _round(sums.mean),
        "min": _round(sums.low),
        "max": _round(sums.high),
        "sum": _round(sums.total),
        "n": sums.count,
    }


def _shares(p: tuple[float, ...]) -> list[float]:
    """``p`` in hundredths by the largest remainder, so that the published shares add up to exactly one."""
    scaled = [value * 100 for value in p]
    floors = [math.floor(value) for value in scaled]
    order = sorted(range(len(p)), key=lambda k: scaled[k] - floors[k], reverse=True)
    for k in order[: max(0, 100 - sum(floors))]:
        floors[k] += 1
    return [value / 100 for value in floors]


def _round(value: float, digits: int = 3) -> float:
    return round(float(value), digits) + 0.0  # adding zero turns -0.0 into 0.0
