"""Who may ask, checked before anything else does: host, origin, token and size, on plain ASGI, for HTTP and WebSocket.

The Host check keeps out names that an attacker's DNS points here, the Origin check pages of other sites, the token
everybody else. Answers are problem documents (RFC 9457).
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_agent.web.body import BODY, CLOSE, TOO_LARGE, Body
from edge_agent.web.problems import ProblemError

COOKIE = "edge-agent-token"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
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
        app = self._app if refusal is None else _Refusal(*refusal)
        if scope["type"] == "websocket":
            await app(scope, receive, send)
        else:
            await self._http(app, scope, receive, send)

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

    async def _http(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(receive, bounded=scope["path"] not in self._rules.roomy)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in present]
                message = {**message, "headers": [*message["headers"], *extra]}
            await body.answer(message, send)

        await app(scope, body.receive, dressed)


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


class _Refusal:
    """Answers with a problem; a person who asks for the page without a token with the form for it."""

    def __init__(self, status: int, detail: str) -> None:
        self._status = status
        self._detail = detail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": self._detail[:120]})
        elif self._status == HTTPStatus.UNAUTHORIZED and _is_page(scope):
            await RedirectResponse("/login", 303)(scope, receive, send)
        else:
            asked = {"www-authenticate": "Bearer"} if self._status == HTTPStatus.UNAUTHORIZED else {}
            await ProblemError(self._status, self._detail, CLOSE | asked).response()(scope, receive, send)
