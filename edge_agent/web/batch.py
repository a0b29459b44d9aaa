"""``/v0/batch/jobs``: Hume's batch API, over the queue of :mod:`edge_agent.batch`.

Uploads go to the queue's folder piece by piece, bounded in size, number and time. Deleting a job is ours: Hume has no
call for it. Who may call is decided by the server around these routes. Errors are problem documents (RFC 9457).
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import mimetypes
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import unquote

import anyio.to_thread
from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from edge_agent.api import CustomModels, EdgeAgentError
from edge_agent.batch.artifacts import write_archive
from edge_agent.batch.custom import CustomModelChoice, described, listed
from edge_agent.batch.fetching import Fetcher
from edge_agent.batch.jobs import (
    ENDED,
    BatchError,
    BatchRequest,
    JobQuery,
    JobQueue,
    JobStatus,
    NewSource,
    QueueFullError,
    RequestError,
    UnknownJobError,
    job_document,
    predictions_of,
)
from edge_agent.settings.batch import BatchSettings
from edge_agent.web.body import ProblemError

log = logging.getLogger(__name__)

PATH = "/v0/batch/jobs"
CUSTOM_PATH = f"{PATH}/tl/inference"
"""Inference with a custom model."""
REGISTRY = "/v0/registry/models"
"""The custom models, as clients look their ids up."""
JSON_BYTES = 16 * 1024 * 1024
"""Most bytes of a request that is no form: texts and addresses."""
CHUNK_S = 30.0
"""Seconds without a byte after which a client is given up."""
RECEIVING = 4
"""Most jobs that are received at a time."""
MOST_JOBS = 1000
_CHUNK = 1 << 16
_CLOSE = {"connection": "close"}
_OFF = "batch jobs are switched off on this device: set batch.enabled = true"

T = TypeVar("T")


def routes(
    limits: BatchSettings,
    open_queue: Callable[[], JobQueue],
    folder: Path | None = None,
    custom: Callable[[], CustomModels] = CustomModels,
) -> list[BaseRoute]:
    """The endpoints as routes for a Starlette application; where ``limits`` switch them off, they say so.

    ``open_queue`` is called when the queue is needed first. ``folder``: where uploads are received, the queue's own;
    None: where the system has its temporary files. ``custom`` opens the custom models, which are asked for with each
    request, so that a new one is there at once.
    """
    registry = _Registry(custom)
    listed = [
        Route(REGISTRY, _answering(registry.list_models), methods=["GET"]),
        Route(f"{REGISTRY}/{{id}}", _answering(registry.show), methods=["GET"]),
    ]
    if not limits.enabled:
        methods = ["GET", "POST", "DELETE"]
        paths = (PATH, f"{PATH}/{{id}}", f"{PATH}/{{id}}/{{part}}")
        return [*listed, *(Route(path, _off, methods=methods) for path in paths)]
    api = _Batch(open_queue, limits, folder, registry)
    endpoints = (
        ("", "POST", api.start),
        ("/tl/inference", "POST", api.start_custom),
        ("/tl/train", "POST", _no_training),
        ("", "GET", api.list_jobs),
        ("/{id}", "GET", api.show),
        ("/{id}", "DELETE", api.delete),
        ("/{id}/predictions", "GET", api.predictions),
        ("/{id}/artifacts", "GET", api.artifacts),
    )
    return [*listed, *(Route(f"{PATH}{path}", _answering(call), methods=[method]) for path, method, call in endpoints)]


async def _off(_request: Request) -> Response:
    return ProblemError(403, _OFF).response()


async def _no_training(_request: Request) -> Response:
    return ProblemError(501, "Custom models are trained on the device: 'edge-agent custom train'.").response()


Endpoint = Callable[[Request], Awaitable[Response]]


def _answering(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose refusals are answers, whatever application it is part of."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ProblemError as problem:
            return problem.response()

    return answer


class _Registry:
    """The custom models of this device."""

    def __init__(self, custom: Callable[[], CustomModels]) -> None:
        self._custom = custom

    async def list_models(self, _request: Request) -> Response:
        """List the models."""
        return JSONResponse(await anyio.to_thread.run_sync(lambda: listed(self._custom())))

    async def show(self, request: Request) -> Response:
        """Show one model."""
        name = request.path_params["id"]
        try:
            return JSONResponse(await anyio.to_thread.run_sync(lambda: described(self._custom(), name)))
        except EdgeAgentError as error:
            raise ProblemError(404, str(error)) from None

    def check(self, choice: CustomModelChoice) -> None:
        """Check that there is such a model. Raises RequestError."""
        try:
            self._custom().load(choice.name, choice.version)
        except EdgeAgentError as error:
            raise RequestError(f"custom_model: {error}") from None


class _Batch:
    def __init__(
        self, open_queue: Callable[[], JobQueue], limits: BatchSettings, folder: Path | None, registry: _Registry
    ) -> None:
        self._open = open_queue
        self._registry = registry
        self._limits = limits
        self._folder = folder
        self._receiving = 0
        self._fetcher = Fetcher(limits)
        self._opened = threading.Lock()

    @cached_property
    def _queue(self) -> JobQueue:
        return self._open()

    async def start(self, request: Request) -> Response:
        """Receive a job."""
        return await self._start(request, custom=False)

    async def start_custom(self, request: Request) -> Response:
        """Receive a job for a custom model."""
        return await self._start(request, custom=True)

    async def _start(self, request: Request, *, custom: bool) -> Response:
        if self._receiving >= RECEIVING:
            return ProblemError(503, "Busy with other uploads; try again later.", {"Retry-After": "5"}).response()
        self._receiving += 1
        try:
            await self._do(lambda: None)  # the folder of the queue is there
            with ExitStack() as stack:
                asked, files = await self._receive(request, stack)
                if custom and asked.custom_model is None:
                    raise ProblemError(400, 'custom_model: missing: {"custom_model": {"id": NAME}, …} is wanted')
                name = await self._do(partial(self._submit, asked, files))
        except asyncio.CancelledError:  # the server stops
            return ProblemError(503, "The agent stops, or begins anew; try again.", {"Retry-After": "5"}).response()
        finally:
            self._receiving -= 1
        return JSONResponse({"job_id": name})

    async def list_jobs(self, request: Request) -> Response:
        """List jobs."""
        query = _query(request)
        return JSONResponse(await self._do(lambda: [job_document(job) for job in self._queue.jobs(query)]))

    async def show(self, request: Request) -> Response:
        """Show one job."""
        name = request.path_params["id"]
        return JSONResponse(await self._do(lambda: job_document(self._queue.job(name))))

    async def delete(self, request: Request) -> Response:
        """Delete a job."""
        name = request.path_params["id"]
        await self._do(lambda: self._queue.delete(name))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def predictions(self, request: Request) -> Response:
        """What was found, by source."""
        return JSONResponse(await self._do(partial(self._found, request.path_params["id"])))

    async def artifacts(self, request: Request) -> Response:
        """The same as a zip of CSV and JSON files."""
        file = await self._do(partial(self._archive, request.path_params["id"]))
        headers = {"content-disposition": 'attachment; filename="artifacts.zip"'}
        return StreamingResponse(_pieces(file), media_type="application/zip", headers=headers)

    # ------------------------------------------------------------------ work in threads

    async def _do(self, step: Callable[[], T]) -> T:
        def work() -> T:
            with self._opened:
                _ = self._queue
            return step()

        try:
            return await anyio.to_thread.run_sync(work)
        except UnknownJobError as error:
            raise ProblemError(404, str(error)) from None
        except RequestError as error:
            raise ProblemError(400, str(error)) from None
        except QueueFullError as error:
            raise ProblemError(507, str(error)) from None
        except BatchError as error:
            log.warning("batch: %s", error)
            raise ProblemError(503, "The queue of this device cannot be used; see its log.") from None

    def _submit(self, asked: BatchRequest, files: Sequence[NewSource]) -> str:
        if asked.custom_model is not None:
            self._registry.check(asked.custom_model)
        if asked.urls and not self._limits.allow_urls:
            raise RequestError("urls: this device fetches no addresses (batch.allow_urls); send the files instead")
        if asked.callback_url is not None and not self._limits.allow_callbacks:
            raise RequestError(
                "callback_url: this device calls nobody (batch.allow_callbacks); ask for the job instead"
            )
        for url in (*asked.urls, *([asked.callback_url] if asked.callback_url else [])):
            try:
                self._fetcher.check(url)
            except BatchError as error:
                raise RequestError(f"{error}") from None
        texts = [NewSource("text", "", io.BytesIO(text.encode())) for text in asked.text]
        return self._queue.submit(asked, [*files, *(NewSource("url", url) for url in asked.urls), *texts])

    def _found(self, name: str) -> list[dict[str, Any]]:
        job = self._queue.job(name)
        if job.status not in ENDED:
            raise RequestError(f"this job is {job.status}: there are no predictions yet")
        return predictions_of(self._queue, name)

    def _archive(self, name: str) -> BinaryIO:
        file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115
        write_archive(self._found(name), file)
        file.seek(0)
        return file

    # ------------------------------------------------------------------ receiving

    async def _receive(self, request: Request, stack: ExitStack) -> tuple[BatchRequest, list[NewSource]]:
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != b"multipart/form-data":
            content = b"".join([chunk async for chunk in _chunks(request, JSON_BYTES)])
            return _asked(content), []
        most = round(min(1e9 * self._limits.max_gb, 1e6 * self._limits.max_file_mb * self._limits.max_files))
        try:
            form = _Form(options.get(b"boundary"), self._folder, self._limits.max_files, stack)
            async for chunk in _chunks(request, most + JSON_BYTES):
                await anyio.to_thread.run_sync(form.write, chunk)
            form.end()
        except (FormParserError, MultipartParseError) as error:
            raise ProblemError(400, f"The form cannot be read: {error}") from None
        except OSError as error:
            raise ProblemError(507, f"The upload cannot be stored: {error.strerror}", _CLOSE) from None
        return _asked(form.request or b"{}"), form.files


class _Form:
    """A form while it is received: its files are kept in ``folder``, its part ``json`` in memory."""

    def __init__(self, boundary: bytes | None, folder: Path | None, most: int, stack: ExitStack) -> None:
        self.files: list[NewSource] = []
        self.request: bytes | None = None
        self._most = most
        self._stack = stack
        where = {} if folder is None else {"UPLOAD_DIR": str(folder)}
        self._parser = FormParser(
            "multipart/form-data",
            self._on_field,
            self._on_file,
            boundary=boundary,
            config={"MAX_MEMORY_FILE_SIZE": 1 << 16, "UPLOAD_ERROR_ON_BAD_CTE": False, **where},
        )

    def write(self, chunk: bytes) -> None:
        """Take the next piece. Raises FormParserError, MultipartParseError, OSError."""
        self._parser.write(chunk)

    def end(self) -> None:
        """Everything has come."""
        self._parser.finalize()

    def _on_field(self, field: Field) -> None:
        if field.field_name == b"json":
            self.request = field.value or b""
        elif field.field_name == b"file" and field.value:  # a file without a name
            self._add(NewSource("file", "", io.BytesIO(field.value)))

    def _on_file(self, file: File) -> None:
        content = cast("BinaryIO", file.file_object)
        self._stack.callback(content.close)
        content.seek(0)
        if file.field_name == b"json":
            self.request = content.read(JSON_BYTES)
            return
        name = unquote((file.file_name or b"").decode("utf-8", "replace")).replace("\\", "/").rpartition("/")[2]
        kind = getattr(file, "content_type", None) or mimetypes.guess_type(name)[0] or ""
        self._add(NewSource("file", name, content, kind))

    def _add(self, source: NewSource) -> None:
        if len(self.files) >= self._most:
            raise FormParserError(f"a job may have {self._most} files (batch.max_files)")
        self.files.append(source)


async def _chunks(request: Request, most: int) -> AsyncIterator[bytes]:
    """What comes, bounded in size and in time."""
    told = request.headers.get("content-length", "")
    too_large = ProblemError(413, f"The body is too large: the limit is {most} bytes.", _CLOSE)
    if told.isdecimal() and int(told[:20]) > most:
        raise too_large
    got, chunks = 0, aiter(request.stream())
    try:
        while (chunk := await asyncio.wait_for(anext(chunks, None), CHUNK_S)) is not None:
            got += len(chunk)
            if got > most:
                raise too_large
            yield chunk
    except TimeoutError:
        raise ProblemError(408, "The body came too slowly.", _CLOSE) from None
    except ClientDisconnect:
        raise ProblemError(400, "The body ended early.") from None


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await anyio.to_thread.run_sync(file.read, _CHUNK):
            yield chunk


def _asked(content: bytes) -> BatchRequest:
    try:
        return BatchRequest.of(json.loads(content))
    except (ValueError, RecursionError):
        raise ProblemError(400, "The request is no JSON.") from None
    except RequestError as error:
        raise ProblemError(400, str(error)) from None


def _query(request: Request) -> JobQuery:
    told: Mapping[str, str] = request.query_params
    try:
        limit, timestamp = int(told.get("limit", 50)), told.get("timestamp_ms")
        stamp = None if timestamp is None else int(timestamp) / 1000
        states = tuple(
            JobStatus(one) for text in request.query_params.getlist("status") for one in text.split(",") if one
        )
    except ValueError as error:
        raise ProblemError(
            400, f"limit and timestamp_ms are numbers, status one of {', '.join(JobStatus)}: {error}"
        ) from None
    if not 1 <= limit <= MOST_JOBS:
        raise ProblemError(400, f"limit: from 1 to {MOST_JOBS}")
    when = _choice(told, "when", ("created_before", "created_after"))
    sort_by = _choice(told, "sort_by", ("created", "started", "ended"))
    direction = _choice(told, "direction", ("desc", "asc"))
    return JobQuery(limit, states, cast("Any", when), stamp, cast("Any", sort_by), direction == "asc")


def _choice(told: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    value = told.get(name, choices[0])
    if value not in choices:
        raise ProblemError(400, f"{name}: one of {', '.join(choices)}")
    return value
