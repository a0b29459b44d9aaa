"""Messages of Hume's streaming protocol: parsing, validation, error codes and answers.

The codes are those of Hume's documentation, continued by E0206 and W0104 for text. A field that this device does not
support is accepted and has no effect (``facs``, ``descriptions``); one of a wrong type is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.api import Event, VisionReport
from edge_agent.batch.artifacts import BURST_NAMES, emotions
from edge_agent.capture.formats import sniff_bytes
from edge_agent.domain.observation import Observation
from edge_agent.web.conversation import from_base64
from edge_agent.web.words import LONGEST, LanguageModel

NOT_JSON = "E0100"
BAD_REQUEST = "E0101"
WRONG_MODEL = "E0102"
UNKNOWN_FORMAT = "E0200"
NOT_BASE64 = "E0201"
NO_AUDIO = "E0202"
AUDIO_TOO_LONG = "E0203"
VIDEO_TOO_LONG = "E0204"
PICTURE_TOO_LARGE = "E0205"
TEXT_TOO_LONG = "E0206"
NO_BURSTS = "W0101"
NO_FACES = "W0103"
NO_LANGUAGE = "W0104"
NO_SPEECH = "W0105"


class StreamError(Exception):
    """Error of a message, with Hume's code for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class FaceModel(_Part):
    """``models.face``: pictures per second, least probability, whether faces are told apart, least side in pixels."""

    fps_pred: Annotated[float, Field(gt=0, le=60)] | None = None
    prob_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    identify_faces: bool | None = None
    min_face_size: Annotated[float, Field(ge=0, le=1e6)] | None = None


class Models(_Part):
    """``models``: the requested ones. Those that this device lacks are kept by name only."""

    face: FaceModel | None = None
    burst: dict[str, Any] | None = None
    prosody: dict[str, Any] | None = None
    language: LanguageModel | None = None
    facemesh: dict[str, Any] | None = None
    custom_models: Annotated[dict[str, dict[str, Any]], Field(min_length=1, max_length=8)] | None = None
    """Ours: custom models of this device by name."""

    @property
    def asked(self) -> list[str]:
        """Names of all requested models."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]

    @property
    def missing(self) -> list[str]:
        """Names of requested models that this device lacks."""
        known = ("face", "facemesh", "burst", "language", "prosody", "custom_models")
        return [name for name in self.asked if name not in known]


class Request(_Part):
    """Message of a client."""

    data: str | None = None
    models: Models | None = None
    stream_window_ms: Annotated[float, Field(ge=0, le=10_000)] | None = None
    reset_stream: bool | None = None
    raw_text: bool | None = None
    job_details: bool | None = None
    payload_id: Annotated[str, Field(max_length=256)] | None = None


def parse(text: str | bytes) -> dict[str, Any]:
    """Parse the JSON object of a message. Raises StreamError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StreamError(NOT_JSON, "The message could not be parsed as JSON.") from error
    if not isinstance(value, dict):
        raise StreamError(BAD_REQUEST, "The message must be a JSON object.")
    return value


def check(value: dict[str, Any]) -> Request:
    """Validate a request. Raises StreamError."""
    try:
        return Request.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StreamError(BAD_REQUEST, f"{where}: {first['msg']}") from error


def media(request: Request) -> bytes:
    """Decode ``data``, base64 or a data URL. Raises StreamError."""
    if (request.data or "").startswith("["):
        raise StreamError(
            WRONG_MODEL, "facemesh: expressions are read from a picture, not from points: send a picture."
        )
    try:
        return from_base64(request.data or "")
    except ValueError as error:
        raise StreamError(NOT_BASE64, f"data: {error}.") from error


def text(request: Request) -> str | None:
    """The text to judge: ``data`` as it is with ``raw_text``, or a text file; None for media. Raises StreamError."""
    models = request.models or Models()
    if request.raw_text:
        found = request.data or ""
    elif models.language is None and models.custom_models is None:
        return None
    else:
        content = media(request)
        if sniff_bytes(content) is not None or b"\0" in content:
            return None
        try:
            found = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None
    if len(found) > LONGEST:
        raise StreamError(TEXT_TOO_LONG, f"The text is too long: the limit is {LONGEST} characters.")
    return found


def faces(
    report: VisionReport,
    size: tuple[int, int],
    at: tuple[int, float],
    *,
    identify: bool = False,
    threshold: float = 0.0,
    smallest: float = 0.0,
) -> list[dict[str, Any]]:
    """Return one prediction for each face. ``size``: width and height in pixels; ``at``: frame number and seconds."""
    readings = {o.track: o.values for o in report.observations if o.name == "emotion"}
    found = []
    for tracked in report.faces:
        box, score = tracked.face.box, tracked.face.score
        width, height = box.w * size[0], box.h * size[1]
        if tracked.coasting or score < threshold or min(width, height) < smallest:
            continue
        found.append(
            {
                "frame": at[0],
                "time": round(at[1], 3),
                "prob": round(score, 6),
                "face_id": tracked.track if identify else "unknown",
                "bbox": {
                    name: round(value, 3)
                    for name, value in (("x", box.x * size[0]), ("y", box.y * size[1]), ("w", width), ("h", height))
                },
                "emotions": emotions(readings[tracked.track]) if tracked.track in readings else [],
            }
        )
    return found


def bursts(events: Iterable[Event], earlier: float) -> list[dict[str, Any]]:
    """Vocal bursts of a payload that begins after ``earlier`` seconds of context; times count from the payload."""
    return [
        {
            "time": {"begin": round(e.start - earlier, 3), "end": round(e.start + e.seconds - earlier, 3)},
            "emotions": [],
            "descriptions": [{"name": BURST_NAMES.get(e.label, e.label), "score": round(e.score, 6)}],
        }
        for e in events
        if e.kind == "burst" and e.start + e.seconds > earlier
    ]


def prosody(turns: Iterable[Observation], begin: float, seconds: float) -> list[dict[str, Any]]:
    """Turns of speech in a payload of ``seconds`` that began at ``begin`` in the stream; times count from the payload.

    ``emotions`` is empty: the device measures how excited a voice is, not which emotion it has. ``voice`` has what it
    measures, ``arousal`` only once the speaker's habit is known from earlier payloads.
    """
    return [
        {
            "time": {
                "begin": round(max(0.0, turn.time - begin), 3),
                "end": round(min(seconds, turn.time - begin + turn.values["turn_seconds"]), 3),
            },
            "emotions": [],
            "voice": {name: value for name, value in turn.values.items() if name != "turn_seconds"},
        }
        for turn in turns
    ]


def outcome(predictions: Sequence[dict[str, Any]], warning: str, code: str) -> dict[str, Any]:
    """Answer of one model: its predictions, or a warning when there are none."""
    return {"predictions": list(predictions)} if predictions else {"warning": warning, "code": code}
