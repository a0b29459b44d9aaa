"""Turn messages of devices into rows of the database, or say why one cannot be stored. Pure: no broker, no database.

A message must be what the schemas in :mod:`edge_agent.payloads` say; fields that they do not know are kept in ``more``,
because fields may be added within a version.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ValidationError

from edge_agent.delivery import topics
from edge_agent.payloads.device import GapsMessage, HealthMessage, InfoMessage
from edge_agent.payloads.messages import EventMessage, MessageModel, SummaryMessage

AHEAD = timedelta(days=1)
"""A start further in the future is a broken clock: the row counts for the time when it was received."""

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
"""Nothing was published before: an earlier start is a broken clock, too."""

LONGEST_S = 31 * 86_400.0
LARGEST = {"integer": 2**31 - 1, "bigint": 2**63 - 1}

KEY = ("device", "boot_id", "seq")
_COMMON = (*KEY, "at", "received", "site", "labels", "start", "seconds", "clock", "replayed")
_EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")

WINDOW_PARTS: Mapping[str, Mapping[str, str]] = {
    "faces": {"max": "people_max", "mean": "people_mean", "person_seconds": "person_seconds", "tracks": "tracks"},
    "emotion": {name: name for name in ("dominant", "valence", "confidence", "readings")},
    "attention": {name: f"attention_{name}" for name in ("ratio", "seconds", "per_person", "by_eyes")},
    "stays": {name: f"stays_{name}" for name in ("count", "mean", "longest")},
    "voice": {name: f"voice_{name}" for name in ("arousal", "seconds", "turns")},
    "quality": {name: name for name in ("video_fps", "analysed_fps", "dropped", "flags")},
}
"""Columns of the fields of each part of a summary that is not kept as JSON."""

WINDOW_JSON = ("bursts", "lift", "trend", "fused", "unknown", "language", "identity", "measures")
"""Parts of a summary that are kept as JSON, in the column of their name."""

WINDOWS: tuple[str, ...] = (
    *_COMMON,
    "merged",
    "withheld",
    *(column for part in WINDOW_PARTS.values() for column in part.values()),
    *_EMOTIONS,
    "coverage_video",
    "coverage_audio",
    *WINDOW_JSON,
    "more",
)
EVENTS: tuple[str, ...] = (*_COMMON, "kind", "label", "score", "text", "name", "more")
_EVENT_OWN = ("kind", "label", "score", "text", "name")

HEALTH: tuple[str, ...] = (
    *("device", "at", "site", "labels", "status", "problems", "notices", "uptime_s", "pending", "produced", "acked"),
    *("merged_away", "dropped", "dead_lettered", "outbox_bytes", "rss_mb", "cpu_s", "temperature_c"),
)

Values = Mapping[str, Any]
"""A row: values by column."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of ``table``, ``windows`` or ``events``."""

    table: str
    values: Values

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies the message."""
        return self.values["device"], self.values["boot_id"], self.values["seq"]


@dataclass(frozen=True, slots=True)
class State:
    """The latest of ``device`` on the retained topic ``kind``; ``document`` is None when it was deleted.

    ``retained``: the broker had kept it, so it says nothing about when it was published.
    """

    device: str
    kind: str
    document: Any
    received: datetime
    retained: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that cannot be stored, and why. ``digest`` identifies the message, ``payload`` is its beginning."""

    digest: str
    received: datetime
    device: str | None
    topic: str
    reason: str
    size: int
    payload: bytes


class UnusableError(Exception):
    """The text says why a message cannot be stored."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """``message_bytes``: larger messages are rejected. ``oldest``: rows of an earlier time are not stored; None: all.

    ``kept_bytes``: bytes of a rejected message that are kept.
    """

    message_bytes: int = 65_536
    kept_bytes: int = 2_048
    oldest: datetime | None = None


STATES: Mapping[str, type[MessageModel] | None] = {
    topics.STATUS: None,
    topics.INFO: InfoMessage,
    topics.HEALTH: HealthMessage,
    topics.GAPS: GapsMessage,
}
"""Topics with the state of a device; ``status`` holds a bare word."""


def data_filters(prefix: str, group: str) -> list[str]:
    """Subscriptions to everything that is stored exactly once, shared by ``group`` unless that is empty."""
    kinds = (topics.SUMMARY, "event/+", topics.backfill("summary"), topics.backfill("event"))
    shared = f"$share/{group}/" if group else ""
    return [f"{shared}{prefix}/+/{kind}" for kind in kinds]


def state_filters(prefix: str) -> list[str]:
    """Subscriptions to the state of devices."""
    return [f"{prefix}/+/{kind}" for kind in STATES]


def read(
    prefix: str, topic: str, payload: bytes, received: datetime, limits: Acceptance
) -> TableRow | Rejection | None:
    """Read a summary or an event; None: there is nothing to store in it, as in what ``doctor`` sends."""
    device, kind = topics.split(prefix, topic) or (None, "")
    if not payload:
        return None  # a retained message was deleted
    try:
        if device is None:
            raise UnusableError("the topic is not that of a device")
        document = _parse(payload, limits)
        if set(document) == {"v", "doctor"}:
            return None
        summary = kind in (topics.SUMMARY, topics.backfill("summary"))
        row = _row(SummaryMessage if summary else EventMessage, document, device, received)
        if limits.oldest is not None and row.values["at"] < limits.oldest:
            raise UnusableError("it is older than the retention")
        return row
    except UnusableError as error:
        return rejection(topic, payload, received, str(error), limits, device)


def read_state(
    prefix: str, topic: str, payload: bytes, received: datetime, retained: bool, limits: Acceptance
) -> State | Rejection | None:
    """Read the state of a device; None: the topic has none."""
    device, kind = topics.split(prefix, topic) or ("", "")
    if kind not in STATES:
        return None
    if not payload:
        return State(device, kind, None, received, retained)
    try:
        model = STATES[kind]
        if model is None:
            if payload not in (topics.ONLINE, topics.OFFLINE):
                raise UnusableError("status is neither online nor offline")
            return State(device, kind, payload.decode(), received, retained)
        document = _parse(payload, limits)
        if set(document) == {"v", "doctor"}:
            return None
        _validate(model, document)
        if document.get("device", device) != device:
            raise UnusableError("its device is not that of the topic")
        return State(device, kind, document, received, retained)
    except UnusableError as error:
        return rejection(topic, payload, received, str(error), limits, device)


def rejection(
    topic: str, payload: bytes, received: datetime, reason: str, limits: Acceptance, device: str | None
) -> Rejection:
    """Describe a message that cannot be stored. The same message has the same digest."""
    digest = hashlib.blake2b(topic.encode(errors="replace") + b"\0" + payload, digest_size=16).hexdigest()
    shown = "".join(c if c.isprintable() else "?" for c in topic)[:512]
    # Words and names are kept as long as the configuration says, and those of a rejected message are not known.
    return Rejection(digest, received, device, shown, reason[:300], len(payload), payload[: limits.kept_bytes])


def health_row(state: State) -> Values:
    """The row of ``health`` for a message on that topic."""
    document = state.document
    outbox = document["delivery"]["outbox"] or {"counters": {}}
    counters, process = outbox["counters"], document["process"]
    return {
        "device": state.device,
        "at": state.received,
        "site": document.get("site"),
        "labels": dump(document.get("labels")),
        "status": document["status"],
        "problems": document["problems"],
        "notices": document.get("notices", []),
        "uptime_s": document["uptime_s"],
        "pending": outbox.get("pending"),
        **{name: counters.get(name) for name in ("produced", "acked", "merged_away", "dropped", "dead_lettered")},
        "outbox_bytes": outbox.get("size"),
        **{name: process[name] for name in ("rss_mb", "cpu_s", "temperature_c")},
    }


def dump(value: Any) -> str | None:
    """``value`` as JSON text; None stays None."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def document_of(row: Values) -> dict[str, Any]:
    """The message that was stored as ``row`` of the database (JSON parsed), as it was published."""
    start = row["start"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    document = {"v": 1, **{name: row[name] for name in KEY}, "start": start, "seconds": row["seconds"]}
    present = {name: row[name] for name in ("site", "labels") if row[name] is not None}
    if "kind" in row:
        present |= {name: row[name] for name in _EVENT_OWN if row[name] is not None}
        present |= {"clock": "unsynced"} if row["clock"] == "unsynced" else {}
    else:
        parts = {part: {f: row[c] for f, c in columns.items()} for part, columns in WINDOW_PARTS.items()}
        for part in ("attention", "stays", "voice"):
            given = {field: value for field, value in parts.pop(part).items() if value is not None}
            present |= {part: given} if given else {}
        parts["quality"]["coverage"] = {"video": row["coverage_video"], "audio": row["coverage_audio"]}
        shares = {name: row[name] for name in _EMOTIONS}
        emotion = parts.pop("emotion") | {"p": shares} if row["readings"] is not None else None
        parts.pop("emotion", None)
        given = {name: row[name] for name in (*WINDOW_JSON, "merged", "withheld") if row[name] is not None}
        present |= {"clock": row["clock"], "emotion": emotion, "bursts": [], **parts, **given}
    document |= present | ({"replayed": True} if row["replayed"] else {})
    return _overlaid(document, row["more"] or {})


# -- reading -----------------------------------------------------------------------------------------------------------


def _parse(payload: bytes, limits: Acceptance) -> dict[str, Any]:
    if len(payload) > limits.message_bytes:
        raise UnusableError(f"it has more than {limits.message_bytes} bytes")
    try:
        document = json.loads(payload.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise UnusableError("it is not UTF-8") from None
    except RecursionError:
        raise UnusableError("it is nested too deeply") from None
    except ValueError as error:
        raise UnusableError(f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UnusableError("it is not a JSON object")
    if document.get("v", 1) != 1:
        raise UnusableError(f"its version {str(document['v'])[:20]} is not known: update the collector")
    _check_storable(document)
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _check_storable(value: Any, depth: int = 0) -> None:
    """Refuse what JSON may say and PostgreSQL cannot hold."""
    if depth > 30:
        raise UnusableError("it is nested too deeply")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise UnusableError("a text in it has characters that cannot be stored")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise UnusableError("a number in it is too large")
    elif isinstance(value, int):
        if abs(value) > LARGEST["bigint"]:
            raise UnusableError("a number in it is too large")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_storable(name)
            _check_storable(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_storable(inner, depth + 1)


def _validate(model: type[MessageModel], document: Mapping[str, Any]) -> MessageModel:
    try:
        return model.model_validate(document, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        # The value itself may be what somebody said, and who was seen is the key of an object.
        parts = [str(part) for part in first["loc"]]
        known = ["*" if before == "people" else part for before, part in zip(["", *parts], parts, strict=False)]
        where = ".".join(known) or "the message"
        raise UnusableError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _row(model: type[MessageModel], document: dict[str, Any], device: str, received: datetime) -> TableRow:
    message = _validate(model, document)
    if document["device"] != device:
        raise UnusableError("its device is not that of the topic")
    clock = document.get("clock", "synced")
    start = _time(document["start"])
    if document["seconds"] > LONGEST_S:
        raise UnusableError(f"seconds: more than {LONGEST_S:.0f}")
    sound = clock == "synced" and EARLIEST <= start <= received + AHEAD
    values: dict[str, Any] = {
        **{name: document[name] for name in KEY},
        "at": start if sound else received,
        "received": received,
        "site": document.get("site"),
        "labels": dump(document.get("labels")),
        "start": start,
        "seconds": document["seconds"],
        "clock": clock,
        "replayed": document.get("replayed", False),
        "more": dump(_unknown(message, document) or None),
    }
    if isinstance(message, EventMessage):
        return TableRow("events", values | {name: document.get(name) for name in _EVENT_OWN})
    return TableRow("windows", values | _window(document))


def _window(document: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {"merged": document.get("merged"), "withheld": document.get("withheld")}
    for part, columns in WINDOW_PARTS.items():
        fields = document.get(part) or {}
        values |= {column: fields.get(field) for field, column in columns.items()}
    shares = (document["emotion"] or {"p": {}})["p"]
    values |= {name: shares.get(name) for name in _EMOTIONS}
    coverage = document["quality"]["coverage"]
    values |= {"coverage_video": coverage["video"], "coverage_audio": coverage["audio"]}
    values |= {name: dump(document.get(name) or None) for name in WINDOW_JSON}
    for name in ("merged", "people_max", "tracks", "readings", "stays_count", "voice_turns", "dropped"):
        if (values[name] or 0) > LARGEST["integer"]:
            raise UnusableError(f"{name}: too large")
    return values


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UnusableError("start: there is no such time") from None


def _unknown(message: BaseModel, document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``document`` that its model does not know, those inside of known parts too.

    Parts that are kept as JSON hold theirs already.
    """
    unknown: dict[str, Any] = {}
    for name, value in document.items():
        if name not in type(message).model_fields:
            unknown[name] = value
        elif name not in WINDOW_JSON and isinstance(inner := getattr(message, name), BaseModel):
            within = _unknown(inner, value)
            unknown |= {name: within} if within else {}
    return unknown


def _overlaid(document: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(document)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _overlaid(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def newest(rows: Sequence[TableRow]) -> list[TableRow]:
    """One row of each key, in the order of the keys; one with a known time before one without."""
    by_key: dict[tuple[str, str, int], TableRow] = {}
    for row in rows:
        known = by_key.get(row.key)
        if known is None or (known.values["clock"] == "unsynced" and row.values["clock"] == "synced"):
            by_key[row.key] = row
    return [by_key[key] for key in sorted(by_key)]
