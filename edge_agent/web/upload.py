"""Analysis of uploaded recordings: ``POST /process-frame``, the bytes of a film, raw or as a file of a form, and
``POST /video-stream/emotion``, the same with every face; ``POST /video-stream/face-recognition``, who of the enrolled
people is in it; ``GET /`` returns the version.

Clients of the Flask API that this replaces get its names and scales under ``/flask/``, or with ``X-Compat: flask`` or
``?compat=flask``.

Bodies and lengths are bounded, one recording is analysed at a time and few may wait. Who may call is decided by the
server around these routes. Errors are problem documents (RFC 9457).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from edge_agent import __version__
from edge_agent.api import Analysis, EdgeAgentError, MediaError, Report, Session
from edge_agent.capture import read_media
from edge_agent.capture.formats import ACCEPTED, sniff_bytes
from edge_agent.domain.observation import IDENTITY
from edge_agent.web.body import ProblemError, in_memory, too_large
from edge_agent.web.conversation import SwitchedOffError

log = logging.getLogger(__name__)

ANALYZERS = ("face", "emotion", "attention")

Tell = Callable[[Analysis, Session], dict[str, Any]]
"""Makes the answer of an analysis and the session that made it."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """``body``: bytes; ``seconds``: of the recording; ``waiting``: requests at a time, the one at work included;
    ``chunk_s``: seconds without data after which an upload ends."""

    body: int = 32 * 1024 * 1024
    seconds: float = 120.0
    waiting: int = 3
    chunk_s: float = 10.0


def routes(
    open_session: Callable[..., Session] = Session,
    limits: UploadLimits | None = None,
    health: str | None = "/",
    *,
    recognises: bool = False,
) -> list[BaseRoute]:
    """Return the routes of the endpoints for Starlette; ``health``: the path of the health answer, None for none.

    ``recognises``: the config has people recognised, and so in films, too.
    """
    uploads = _Uploads(open_session, limits or UploadLimits())
    found: list[BaseRoute] = [
        Route("/process-frame", uploads.report, methods=["POST"]),
        Route("/video-stream/emotion", uploads.faces, methods=["POST"]),
        Route(f"{FLASK}/process-frame", uploads.flask, methods=["POST"]),
        Route(f"{FLASK}/", _flask_healthy, methods=["GET"]),
    ]
    if recognises:
        found.append(Route("/video-stream/face-recognition", uploads.people, methods=["POST"]))
    return found if health is None else [*found, Route(health, _healthy, methods=["GET"])]


FLASK = "/flask"
"""Path of the endpoints with the names and scales of the Flask API."""

FLASK_NAMES: Mapping[str, str] = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprise": "surprise",
    "neutral": "neutral",
    "contempt": "contempt",
}
"""Our classes in the Flask API's names, in its order; it has no contempt, without which the sum would not be 100."""

UNJUDGED = "unknown"
"""Emotion of a recording without any reading: clients index the scores with the dominant one."""


def flask_report(report: Report) -> dict[str, Any]:
    """Convert the report to the Flask API's names and scales: per cent except the confidence, rounded, without null."""
    given = report.average_emotion_scores
    scores = {UNJUDGED: 100.0} if given is None else {name: given[ours] for ours, name in FLASK_NAMES.items()}
    dominant = report.overall_dominant_emotion
    return {
        "average_emotion_scores": {name: round(score, 2) for name, score in scores.items()},
        "overall_dominant_emotion": FLASK_NAMES[dominant] if dominant and given is not None else UNJUDGED,
        "total_frames_analyzed": report.total_frames_analyzed,
        "average_confidence_score": round(report.average_confidence_score or 0.0, 2),
        "eye_contact_score": round(100 * (report.eye_contact_score or 0.0), 2),
    }


async def _flask_healthy(_request: Request) -> Response:
    return JSONResponse({"status": "ok", "message": "The API is running.", "version": __version__})


async def _healthy(_request: Request) -> Response:
    return JSONResponse({"status": "ok", "version": __version__})


class _InMemoryParser(MultiPartParser):
    """Form parser of Starlette that keeps files in memory: the body is bounded already."""

    spool_max_size = 0
    """For :class:`tempfile.SpooledTemporaryFile`: no size is too large for memory."""


class _Uploads:
    def __init__(self, open_session: Callable[..., Session], limits: UploadLimits) -> None:
        self._open = open_session
        self._limits = limits
        self._present = 0
        self._turn = asyncio.Lock()

    async def report(self, request: Request) -> Response:
        if "flask" in (request.headers.get("x-compat", "").lower(), request.query_params.get("compat", "").lower()):
            return await self.flask(request)
        return await self._respond(request, lambda analysis, _session: _rounded(asdict(analysis.report)))

    async def flask(self, request: Request) -> Response:
        return await self._respond(request, lambda analysis, _session: flask_report(analysis.report))

    async def faces(self, request: Request) -> Response:
        return await self._respond(request, lambda analysis, _session: _timeline(analysis))

    async def people(self, request: Request) -> Response:
        return await self._respond(request, _recognised, ("face", "identity"))

    async def _respond(self, request: Request, tell: Tell, analyzers: Sequence[str] = ANALYZERS) -> Response:
        if self._present >= self._limits.waiting:
            return ProblemError(503, "Busy with other recordings; try again later.", {"Retry-After": "5"}).response()
        unwanted = threading.Event()
        self._present += 1
        try:
            content = await self._receive(request)
            async with self._turn:
                told = partial(self._analyze, content, unwanted, tell, analyzers)
                return JSONResponse(await anyio.to_thread.run_sync(told))
        except asyncio.CancelledError:  # the server stops
            unwanted.set()
            return ProblemError(503, "The agent stops, or begins anew; try again.", {"Retry-After": "5"}).response()
        except ProblemError as problem:
            return problem.response()
        except SwitchedOffError as error:
            return ProblemError(503, f"{error}.").response()
        except EdgeAgentError as error:
            log.warning("upload: %s", error)
            return ProblemError(503, "The models of this device cannot be used; see its log.").response()
        finally:
            self._present -= 1

    async def _receive(self, request: Request) -> bytes:
        """Receive the body, or the first file of its form, in memory."""
        told = request.headers.get("content-length", "")
        if told.isdecimal() and int(told[:20]) > self._limits.body:
            raise self._too_large()
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            return await self._file(request)
        return b"".join([chunk async for chunk in self._chunks(request)])

    async def _file(self, request: Request) -> bytes:
        try:
            form = await _InMemoryParser(request.headers, self._chunks(request), max_files=8, max_fields=32).parse()
        except MultiPartException as error:
            raise ProblemError(400, f"The form cannot be read: {error.message}") from None
        except KeyError:
            raise ProblemError(400, "The form cannot be read: its content type names no boundary.") from None
        try:
            file = next((value for _, value in form.multi_items() if isinstance(value, UploadFile)), None)
            if file is None:
                raise ProblemError(400, "There is no file in the form: send one as curl -F file=@film.mp4 does.")
            return await file.read()
        finally:
            await form.close()

    async def _chunks(self, request: Request) -> AsyncGenerator[bytes]:
        """Yield the chunks of the body, bounded in size and time."""
        got = 0
        chunks = request.stream()
        try:
            while (chunk := await asyncio.wait_for(anext(chunks, None), self._limits.chunk_s)) is not None:
                got += len(chunk)
                if got > self._limits.body:
                    raise self._too_large()
                yield chunk
        except TimeoutError:
            raise ProblemError(408, "The body came too slowly.", {"Connection": "close"}) from None
        except ClientDisconnect:
            raise ProblemError(400, "The body ended early.") from None

    def _too_large(self) -> ProblemError:
        return ProblemError(
            413, f"The body is too large: the limit is {self._limits.body} bytes.", {"Connection": "close"}
        )

    def _analyze(
        self, content: bytes, unwanted: threading.Event, tell: Tell, analyzers: Sequence[str]
    ) -> dict[str, Any]:
        if not content:
            raise ProblemError(400, "The body is empty: post the bytes of a film or a picture.")
        form = sniff_bytes(content)
        if form is None:
            raise ProblemError(415, f"The body is no film or picture in a known format. Known are {ACCEPTED}.")
        with in_memory(content) as path:
            try:
                info = read_media(path)
                if info.video is None:
                    raise ProblemError(422, "There is no picture in this recording.")
                if (why := too_large(info.video.width, info.video.height)) is not None:
                    raise ProblemError(422, f"{why[0].upper()}{why[1:]}.")
                self._check(info.duration)
                with self._open(analyzers) as session:
                    found = session.file(path, lambda position, _duration: self._check(position, unwanted))
                    return tell(found, session)
            except MediaError as error:
                told = str(error).removeprefix(f"{path}: ")
                why = f"The body is no film or picture in a known format that can be read ({form.name}: {told})."
                raise ProblemError(415, why) from None

    def _check(self, position: float, unwanted: threading.Event | None = None) -> None:
        """Check the length; also at every picture, because the header of a file may be wrong."""
        if position > self._limits.seconds:
            raise ProblemError(422, f"The recording is too long: the limit is {self._limits.seconds:.0f} s.")
        if unwanted is not None and unwanted.is_set():
            raise ProblemError(503, "Nobody waits for this any more.")


def _timeline(analysis: Analysis) -> dict[str, Any]:
    """Timeline of each track: time, box in pixels, score, and emotions (0 to 1) where there is a reading."""
    people: dict[str, list[dict[str, Any]]] = {}
    for row in analysis.faces:
        entry = {"frame": row.frame, "time": round(row.time, 3), "box": asdict(row.box), "probability": row.probability}
        people.setdefault(row.face_id, []).append({**entry, "emotions": dict(row.emotion) if row.emotion else None})
    told: dict[str, Any] = _rounded({"duration": analysis.duration, "faces": people, "report": asdict(analysis.report)})
    return told


def _recognised(analysis: Analysis, session: Session) -> dict[str, Any]:
    """Names of the enrolled people in a recording, and of each track who it is, as far as its looks agree."""
    tracks: dict[str, dict[str, Any]] = {}
    for row in analysis.faces:
        one = {"name": None, "status": "undecided", "confidence": 0.0, "first": row.time}
        told = tracks.setdefault(row.face_id, one) | {"last": row.time}
        for observation in row.observations:
            if observation.name == IDENTITY:
                ((key, alike),) = observation.values.items()
                name = session.person(key)
                told |= {"name": name, "status": "unknown" if name is None else "known", "confidence": alike}
        tracks[row.face_id] = told
    names = sorted({track["name"] for track in tracks.values() if track["name"]})
    recognised: dict[str, Any] = _rounded({"duration": analysis.duration, "recognized": names, "faces": tracks})
    return recognised


def _rounded(told: Any) -> Any:
    """Round numbers, without noise in the last binary digits."""
    if isinstance(told, Mapping):
        return {name: _rounded(value) for name, value in told.items()}
    if isinstance(told, list):
        return [_rounded(value) for value in told]
    return round(told, 4) if isinstance(told, float) else told
