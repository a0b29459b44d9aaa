"""Written words for the compatible endpoints: Hume's ``language`` on its stream, Echo's ``/ws/emotion`` and
``POST /stream-emotion``. One analyzer of text serves all connections; a text goes to it and is forgotten.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from edge_agent.api import ConfigError, EdgeAgentError, Session
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
