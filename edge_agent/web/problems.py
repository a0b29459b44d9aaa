"""Refusals as problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edge_agent.payloads.messages import MessagePart, absent

MEDIA_TYPE = "application/problem+json"


class ProblemDocument(MessagePart):
    """Why a request is refused (RFC 9457)."""

    type: str
    title: str = Field(description="Name of the status.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What is wrong and what to do.")
    outcome: Literal["refused", "failed"] = absent(
        "Of a command: refused, it was not tried; failed, it was tried in vain."
    )


class ProblemError(Exception):
    """Why a request is refused: an HTTP status and a sentence, and ``more`` members of the document."""

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
        """The problem document."""
        return JSONResponse(document(self.status, str(self)) | dict(self.more), self.status, self.headers, MEDIA_TYPE)


def document(status: int, detail: str) -> dict[str, object]:
    """The members of a problem document."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}


def problem_of(errors: Sequence[Any]) -> str:
    """The first of pydantic's ``errors`` in one line: the parameter or field, and what is wrong with it."""
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
    """End the request of a client that has left in the middle of it; this is no failure."""
    return Response(status_code=400)
