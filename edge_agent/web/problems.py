"""Refusals as problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/problem+json"


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


async def on_problem(_request: Request, error: Exception) -> Response:
    """For Starlette's ``exception_handlers``."""
    assert isinstance(error, ProblemError)
    return error.response()


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Likewise, for what Starlette itself refuses."""
    assert isinstance(error, HTTPException)
    return JSONResponse(document(error.status_code, str(error.detail)), error.status_code, error.headers, MEDIA_TYPE)


async def on_failure(_request: Request, _error: Exception) -> Response:
    """Likewise, for what nobody foresaw; it is in the log."""
    return JSONResponse(document(500, "this failed; the agent's log says why"), 500, media_type=MEDIA_TYPE)


async def on_departure(_request: Request, _error: Exception) -> Response:
    """Likewise, for clients that leave in the middle of their request: nobody hears this, and it is no failure."""
    return Response(status_code=400)
