"""Bodies of requests, bounded in size and time whatever their header says; problem documents; pictures in memory.

A client that is answered before its whole body was read loses the answer when the connection is closed, so a part of
the rest is read and discarded first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Send

from edge_agent.payloads.messages import MessagePart, absent

MEDIA_TYPE = "application/problem+json"


class ProblemDocument(MessagePart):
    """Problem document of a refused request (RFC 9457)."""

    type: str
    title: str = Field(description="Name of the status.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What is wrong and what to do.")
    outcome: Literal["refused", "failed"] = absent(
        "Of a command: refused, it was not tried; failed, it was tried in vain."
    )


class ProblemError(Exception):
    """Refusal of a request: an HTTP status, a sentence, and ``more`` members of the problem document."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers
        self.more = more or {}

    def response(self) -> Response:
        """Return the response with the problem document."""
        return JSONResponse(document(self.status, str(self)) | dict(self.more), self.status, self.headers, MEDIA_TYPE)


def document(status: int, detail: str) -> dict[str, object]:
    """Return the members of a problem document."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}


def problem_of(errors: Sequence[Any]) -> str:
    """Return the first of pydantic's ``errors`` in one line: the parameter or field, and the reason."""
    first = errors[0]
    where = [str(part) for part in first["loc"] if part not in ("query", "path", "body")]
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where[0]}: {message[:1].lower()}{message[1:]}" if where else f"{message[:1].lower()}{message[1:]}"


async def on_problem(_request: Request, error: Exception) -> Response:
    """Answer a :class:`ProblemError`."""
    assert isinstance(error, ProblemError)
    return error.response()


async def on_invalid(_request: Request, error: Exception) -> Response:
    """Answer a request that the models refuse."""
    assert isinstance(error, RequestValidationError)
    return ProblemError(400, problem_of(error.errors())).response()


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses, such as a method that an endpoint does not have."""
    assert isinstance(error, HTTPException)
    return JSONResponse(document(error.status_code, str(error.detail)), error.status_code, error.headers, MEDIA_TYPE)


async def on_failure(_request: Request, _error: Exception) -> Response:
    """Answer after an unexpected error, which is in the log."""
    return JSONResponse(document(500, "this failed; the agent's log says why"), 500, media_type=MEDIA_TYPE)


async def on_departure(_request: Request, _error: Exception) -> Response:
    """End the request of a client that disconnected during it, without an error in the log."""
    return Response(status_code=400)


BODY = 64 * 1024
"""Bytes of a body, where no route has a limit of its own."""
BODY_S = 10.0
"""Seconds in which a body must arrive."""
TOO_LARGE = f"a body may have {BODY} bytes"
CLOSE = {"connection": "close"}

REST = 8 * 1024 * 1024
"""Bytes read and discarded, at most, of a body that no route reads."""
REST_S = 2.0


class Body:
    """``receive`` and ``send`` of one request; without ``bounded`` its route enforces the limits."""

    def __init__(self, receive: Receive, *, bounded: bool) -> None:
        self._receive = receive
        self._bounded = bounded
        self._got = 0
        self._whole = False
        self._until = asyncio.get_running_loop().time() + BODY_S

    async def receive(self) -> Message:
        """Return the next message. Raises ProblemError when the body is too large or too slow."""
        if self._whole or not self._bounded:
            return await self._next()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._next()
        except TimeoutError:
            raise ProblemError(408, f"the body was not here within {BODY_S:.0f} s", CLOSE) from None
        if self._got > BODY:
            raise ProblemError(413, TOO_LARGE, CLOSE)
        return message

    async def answer(self, message: Message, send: Send) -> None:
        """Pass ``send`` what the application sends, its end only after the rest of the body has arrived."""
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and not self._whole:
            await send({**message, "more_body": True})
            await self._forget()
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    async def _next(self) -> Message:
        message = await self._receive()
        self._got += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        return message

    async def _forget(self) -> None:
        most = self._got + REST
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                while not self._whole and self._got < most:
                    await self._next()


@contextmanager
def in_memory(content: bytes) -> Iterator[Path]:
    """Provide a path under which ``content`` can be opened any number of times until the block ends (Linux)."""
    descriptor = os.memfd_create("upload")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


PIXELS = 4096 * 4096
"""Most pixels of a picture: those of a phone's photograph (12 or 16 million), 50 MB when decoded."""


def too_large(width: int, height: int) -> str | None:
    """Return why a picture of that size is refused, or None when it is decoded."""
    if width * height <= PIXELS:
        return None
    return f"the picture is too large: {width} x {height}, the limit is {PIXELS / 1e6:.1f} million pixels (4096 x 4096)"
