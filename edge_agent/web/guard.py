"""Who may ask, checked before anything else does: host, origin, token and size, on plain ASGI, for HTTP and WebSocket.

The Host check keeps out names that an attacker's DNS points here, the Origin check pages of other sites, the token
everybody else. Answers are problem documents (RFC 9457). Bodies are bounded in size and time as they arrive, whatever
their header says.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_agent.web.problems import MEDIA_TYPE, ProblemError, document

COOKIE = "edge-agent-token"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
BODY = 64 * 1024
"""Bytes of a body, where no route has a limit of its own."""
BODY_S = 10.0
"""Seconds in which it must be here."""
TOO_LARGE = f"a body may have {BODY} bytes"
CLOSE = {"connection": "close"}

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """``hosts`` without ports; ``free`` paths need no token, those that end in ``/`` with all below them; ``roomy``
    paths bound their bodies themselves."""

    token: str
    hosts: Collection[str]
    free: Collection[str] = ("/healthz", "/readyz", "/login", "/static/")
    roomy: Collection[str] = ()


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through what the rules allow."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None and refusal[0] == HTTPStatus.UNAUTHORIZED and _is_page(scope):
            await RedirectResponse("/login", 303)(scope, receive, send)
        elif refusal is not None:
            await _refuse(scope, receive, send, *refusal)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if _host(headers.get("host", "")) not in self._rules.hosts:
            return 421, "this host name is not served here: add it to web.allowed_hosts"
        origin = headers.get("origin")
        if origin is not None and not self._own(origin, headers.get("host", "")):
            return 403, "pages of other sites may not ask"
        if not self._free(scope["path"]) and not self._known(scope, headers):
            return 401, "a token is needed: Authorization: Bearer <token>; it is in the file web.token_file"
        return self._unfit_body(scope, headers)

    def _unfit_body(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        size = headers.get("content-length", "0")
        if not (size.isascii() and size.isdigit() and len(size) <= 15):
            return 400, "content-length is no number of bytes"
        if scope.get("method") in ("GET", "HEAD") and (int(size) or "transfer-encoding" in headers):
            return 400, "there is nothing to say in the body of such a request"
        if scope["path"] not in self._rules.roomy and int(size) > BODY:
            return 413, TOO_LARGE
        return None

    def _own(self, origin: str, host: str) -> bool:
        """Whether the page that asks came from here."""
        try:
            return urlsplit(origin).netloc == host
        except ValueError:
            return False

    def _free(self, path: str) -> bool:
        return any(path == free or (free.endswith("/") and path.startswith(free)) for free in self._rules.free)

    def _known(self, scope: Scope, headers: Headers) -> bool:
        return any(hmac.compare_digest(given.encode(), self._rules.token.encode()) for given in _tokens(scope, headers))

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in present]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, receive if scope["path"] in self._rules.roomy else _bounded(receive), dressed)


def _bounded(receive: Receive) -> Receive:
    """``receive`` for a body of at most :data:`BODY` bytes that is here within :data:`BODY_S`. Raises ProblemError."""
    left, whole = BODY, False
    until = asyncio.get_running_loop().time() + BODY_S

    async def bounded() -> Message:
        nonlocal left, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise ProblemError(408, f"the body was not here within {BODY_S:.0f} s", CLOSE) from None
        left -= len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if left < 0:
            raise ProblemError(413, TOO_LARGE, CLOSE)
        return message

    return bounded


def _is_page(scope: Scope) -> bool:
    """Whether a person asks, with a browser, for the dashboard."""
    return scope["type"] == "http" and scope["path"] == "/" and "text/html" in Headers(scope=scope).get("accept", "")


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    name, colon, port = header.lower().rpartition(":")
    return name if colon and port.isdigit() else header.lower()


def fields(text: str) -> Mapping[str, list[str]]:
    """Of a query or form; none when there are too many to be one of ours."""
    try:
        return parse_qs(text, max_num_fields=50)
    except ValueError:
        return {}


def _tokens(scope: Scope, headers: Headers) -> list[str]:
    """Every place in which a client may have put its token."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    found = [bearer.strip()] if scheme.lower() == "bearer" else []
    found += headers.getlist("x-hume-api-key")
    query = fields(scope.get("query_string", b"").decode("latin-1"))
    found += query.get("token", []) + query.get("apikey", []) + query.get("api_key", [])
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        cookie = None
    return [*found, cookie.value] if cookie is not None else found


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, detail: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": detail[:120]})
        return
    body = json.dumps(document(status, detail)).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
