"""Written and spoken words for the compatible endpoints: Hume's ``language`` on its stream, Echo's ``/ws/emotion`` and
``POST /stream-emotion``; and what is said in sound, for Hume's ``language`` and Echo's ``/ws/audio-stream``.

One analyzer of text serves all connections; a text goes to it and is forgotten. A recognizer of speech takes 200 MB and
a core and follows one stream, so the first connection that sends sound has it until it is closed. The words go to that
client, who sent the sound, and nowhere else.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast
from urllib.parse import parse_qs

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from edge_agent.api import ConfigError, EdgeAgentError, Observation, Session, UtteranceRow
from edge_agent.batch.wording import UNKNOWN, Reading, probabilities, word_emotions
from edge_agent.domain.observation import LANGUAGE_UNKNOWN
from edge_agent.domain.speech import Granularity
from edge_agent.web.body import ProblemError
from edge_agent.web.conversation import Conversation, Limits

LONGEST = 10_000
"""Characters of a text, as Hume allows."""


class Reader:
    """The analyzer of text, made when it is first needed. Safe to use from several threads."""

    def __init__(self, open_session: Callable[..., Session] = Session) -> None:
        self._open = open_session
        self._lock = threading.Lock()
        self._session: Session | None = None

    def read(self, text: str, granularity: Granularity = "whole") -> list[Reading]:
        """Judge ``text`` in parts.

        Raises:
            EdgeAgentError: no analyzer of text can be used here; says why.
        """
        with self._lock:
            if self._session is None:
                self._session = self._open(["language"])
            return self._session.passages(text, granularity)


# ---------------------------------------------------------------------- what is said


Samples = npt.NDArray[np.float32]

BUSY = "speech is transcribed for one connection at a time, and another has that now"
RETRY_S = 60.0
"""Seconds after which a recognizer that could not be loaded is tried again."""
_ANALYZERS = (("speech", "language", "voice"), ("speech", "language"), ("speech", "voice"), ("speech",))
"""What listens, where it is installed: the first of these that are all known."""


class Transcriber:
    """Sessions with an analyzer of speech, one at a time. Safe to use from several threads."""

    def __init__(self, open_session: Callable[..., Session], now: Callable[[], float] = time.monotonic) -> None:
        self._open, self._now = open_session, now
        self._lock = threading.Lock()
        self._owner: object | None = None
        self._session: Session | None = None
        self._failure, self._again = "", 0.0

    def hear(
        self, owner: object, samples: Samples, rate: float, *, end: bool
    ) -> tuple[Sequence[UtteranceRow], Sequence[Observation]]:
        """Listen to the next sound of ``owner``; return what was said, and the observations about its sound.

        ``end``: no word is left open. Times count from the first sound that the owner could have heard.

        Raises:
            EdgeAgentError: another connection has its turn, or speech cannot be transcribed here; says why.
        """
        with self._lock:
            session = self._session_of(owner)
            try:
                reports = session.sound(samples, rate) if len(samples) else []
                reports += session.flush() if end else []
            except ValueError as error:  # a rate that changed, for one
                raise EdgeAgentError(str(error)) from error
            said = session.utterances
            session.take()
            return said, [found for report in reports for found in report.observations]

    def leave(self, owner: object) -> None:
        """End the turn of ``owner``, if it has it, and free the models."""
        if self._owner is not owner:  # nobody becomes the owner but by its own call; others need not wait
            return
        with self._lock:
            if self._session is not None:
                self._session.close()
            self._session = self._owner = None

    def _session_of(self, owner: object) -> Session:
        if self._session is None:
            self._session = self._opened()
            self._owner = owner
        elif self._owner is not owner:
            raise EdgeAgentError(BUSY)
        return self._session

    def _opened(self) -> Session:
        if self._failure and self._now() < self._again:
            raise EdgeAgentError(self._failure)
        try:
            for names in _ANALYZERS[:-1]:
                try:
                    return self._open(names)
                except ConfigError:  # one of them is not installed
                    continue
            return self._open(_ANALYZERS[-1])
        except EdgeAgentError as error:
            self._failure, self._again = str(error), self._now() + RETRY_S
            raise


def transcript(said: Sequence[UtteranceRow], offset: float = 0.0) -> dict[str, Any]:
    """What was said, as JSON: all ``text`` and its ``emotion``, null where there is none, and each of ``utterances``.

    ``offset``: seconds added to all times.
    """
    parts = []
    weights: dict[str, float] = {}
    for row in said:
        values = row.emotions
        for name, p in (values or {}).items():
            weights[name] = weights.get(name, 0.0) + p * len(row.text.split())
        part: dict[str, Any] = {
            "text": row.text,
            "start": round(row.start + offset, 3),
            "end": round(row.end + offset, 3),
            "emotion": max(values, key=values.__getitem__) if values else None,
            "emotions": {name: round(p, 4) for name, p in values.items()} if values else None,
        }
        parts.append(part | ({"message": UNKNOWN.get(row.unknown, row.unknown)} if row.unknown else {}))
    return {
        "text": " ".join(part["text"] for part in parts if part["text"]) or None,
        "emotion": max(weights, key=weights.__getitem__) if weights else None,
        "utterances": parts,
    }


# ---------------------------------------------------------------------- Hume

WORD_LEVEL = "granularity: this device judges sentences, not words; these are sentences"


class LanguageModel(BaseModel):
    """``models.language`` of Hume's stream: how the text is cut, and what else is asked for."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    granularity: Annotated[str, Field(pattern="^(word|sentence|utterance|passage|conversational_turn)$")] | None = None
    sentiment: dict[str, Any] | None = None
    toxicity: dict[str, Any] | None = None
    identify_speakers: bool | None = None

    @property
    def cut(self) -> Granularity:
        """Our name of the granularity; a conversational turn of written text is a paragraph of it."""
        parts = {"utterance": "paragraph", "conversational_turn": "paragraph", "passage": "whole"}
        return cast(Granularity, parts.get(self.granularity or "", "sentence"))

    @property
    def lacking(self) -> list[str]:
        """What is asked for and not done here."""
        said = [WORD_LEVEL] if self.granularity in (None, "word") else []
        said += [f"{name}: not on this device" for name in ("sentiment", "toxicity") if getattr(self, name) is not None]
        return said + (["identify_speakers: written text has no speakers"] if self.identify_speakers else [])

    @property
    def lacking_of_speech(self) -> list[str]:
        """What is asked for and not done with speech, whose parts are utterances."""
        asked = self.granularity or "word"
        said = [] if asked == "utterance" else [f"granularity: {asked} is not told of speech; these are utterances"]
        said += [f"{name}: not on this device" for name in ("sentiment", "toxicity") if getattr(self, name) is not None]
        return said + (["identify_speakers: speakers are not told apart"] if self.identify_speakers else [])


def predictions(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """What was judged, in Hume's form; ``others`` are the emotions that Hume has no name for, under our names."""
    found = []
    for part, observations in readings:
        values = probabilities(observations)
        if values is None:
            continue
        named, rest = word_emotions(values)
        found.append(
            {
                "text": part.text,
                "position": {"begin": part.begin, "end": part.end},
                "emotions": named,
                "others": rest,
            }
        )
    return found


def spoken(said: Sequence[UtteranceRow], before: float) -> list[dict[str, Any]]:
    """Judged utterances in Hume's form, with their ``position`` in the text of all and their ``time`` in a payload that
    begins ``before`` seconds after the first."""
    found, begin = [], 0
    for row in said:
        end = begin + len(row.text)
        if row.emotions is not None:
            named, rest = word_emotions(row.emotions)
            found.append(
                {
                    "text": row.text,
                    "position": {"begin": begin, "end": end},
                    "time": {"begin": round(max(0.0, row.start - before), 3), "end": round(row.end - before, 3)},
                    "emotions": named,
                    "others": rest,
                }
            )
        begin = end + 1
    return found


# ---------------------------------------------------------------------- Echo

TEXT = ("text", "message", "data")
"""Names under which clients send text in JSON."""


class _RefusedError(Exception):
    """What is wrong with a message."""


def given(text: str | bytes) -> str:
    """The text in a message: plain, or in JSON under one of :data:`TEXT`. Raises _RefusedError."""
    try:
        plain = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise _RefusedError("text: not UTF-8") from error
    if plain.lstrip()[:1] == "{":
        try:
            value = dict(json.loads(plain))
        except (ValueError, TypeError, RecursionError) as error:
            raise _RefusedError('the message is no JSON; {"text": "…"} is wanted') from error
        plain = next((value[key] for key in TEXT if key in value), "")
        if not isinstance(plain, str) or not any(key in value for key in TEXT):
            raise _RefusedError(f"text: a string is needed under one of {', '.join(TEXT)}")
    if len(plain) > LONGEST:
        raise _RefusedError(f"text: at most {LONGEST} characters")
    return plain


def _field(body: bytes) -> bytes:
    """The text of a form; curl calls everything one that it is not told about, so a body without fields is the text."""
    fields = parse_qs(body.decode("utf-8", "replace"))
    found = next((fields[key][0].encode() for key in TEXT if key in fields), None)
    return body if found is None else found


def answer(readings: Sequence[Reading]) -> dict[str, Any]:
    """What a whole text expresses, as Echo tells it: the likeliest ``emotion``, its probability, and all of them.

    An emotion that cannot be told is null, with the ``reason``.
    """
    observations = readings[0][1] if readings else ()
    values = probabilities(observations)
    if values is None:
        reason = next((next(iter(o.values)) for o in observations if o.name == LANGUAGE_UNKNOWN), "empty")
        return {"type": "emotion", "emotion": None, "confidence": None, "emotions": None, "reason": reason,
                "message": f"{UNKNOWN.get(reason, UNKNOWN['empty'])}"}  # fmt: skip
    likeliest = max(values, key=lambda name: values[name])
    return {
        "type": "emotion",
        "emotion": likeliest,
        "confidence": round(values[likeliest], 4),
        "emotions": {name: round(p, 4) for name, p in values.items()},
    }


class TextTalk:
    """Texts, each answered with what it expresses."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def answer(self, text: str | bytes) -> dict[str, Any]:
        """See :func:`answer`; what is wrong with a message is an answer too."""
        try:
            return answer(self._reader.read(given(text)))
        except (_RefusedError, EdgeAgentError) as error:
            told = str(error) if isinstance(error, _RefusedError | ConfigError) else "text cannot be judged now"
            return {"type": "error", "error": told, "message": told}

    def rest(self) -> None:
        """Hold nothing, and so free nothing: the reader is everybody's."""

    def close(self) -> None:
        """Hold nothing, and so free nothing."""


def routes(reader: Reader, limits: Limits) -> list[BaseRoute]:
    """``/ws/emotion`` and ``POST /stream-emotion`` as routes for a Starlette application."""
    talk = Conversation(lambda: TextTalk(reader), limits)

    async def post(request: Request) -> Response:
        body = await request.body()
        try:
            if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
                body = _field(body)
            text = given(body or request.query_params.get("text", ""))
            return JSONResponse(answer(await run_in_threadpool(reader.read, text)))
        except _RefusedError as error:
            return ProblemError(422, f"{error}.").response()
        except EdgeAgentError as error:
            return ProblemError(503, f"Text cannot be judged here: {error}.").response()

    return [WebSocketRoute("/ws/emotion", talk.serve), Route("/stream-emotion", post, methods=["POST"])]
