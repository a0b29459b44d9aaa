"""Access control of HTTP and WebSocket requests, as ASGI middleware: host, origin, path, token and size.

The Host check prevents DNS rebinding, the Origin check requests from pages of sites that the config does not list, the
token all other access. Answers are problem documents (RFC 9457), for a WebSocket in place of its
upgrade. Preflight and headers of CORS for listed origins are Starlette's.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_agent.web.body import BODY, CLOSE, TOO_LARGE, Body, ProblemError

COOKIE = "edge-agent-token"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
ANY_ORIGIN, NO_ORIGIN = "*", "null"
"""Entries of ``web.allowed_origins`` that are no site: every page, and pages without an origin (files, sandboxes)."""
_TOKEN_FILE = "the first line of the file web.token_file (default: web-token in the state folder)"


FREE = frozenset({"/health", "/healthz", "/readyz"})
"""Probes, which need no token."""


ACTING = frozenset({"/camera/start", "/camera/stop"})
"""Paths whose GET does something: a cookie does not allow it, since browsers add it to pictures of any page that comes
from another port of this host."""


@dataclass(frozen=True, slots=True)
class Rules:
    """``hosts`` without ports; ``free`` paths need no token, those that end in ``/`` with all below them; ``roomy``
    paths bound their bodies themselves; pages of ``origins`` are allowed like our own."""

    token: str
    hosts: Collection[str]
    free: Collection[str] = (*FREE, "/login", "/static/")
    roomy: Collection[str] = ()
    origins: Collection[str] = ()


class Guard:
    """ASGI middleware around the whole application, whose ``routes`` it compares paths with."""

    def __init__(self, app: ASGIApp, rules: Rules, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._rules = rules
        self._routes = routes
        self._cross_origin = CORSMiddleware(
            self._admit,
            allow_origins=rules.origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE"),
            allow_headers=("*",),
            allow_credentials=ANY_ORIGIN not in rules.origins,
            allow_private_network=True,
            expose_headers=("Retry-After",),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the requests that the rules allow; answer the others."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        app: ASGIApp
        if _host(host) not in self._rules.hosts:
            app = _Refusal(421, "this host name is not served here: add it to web.allowed_hosts")
        elif origin is None or _own(origin, host):
            app = self._admit
        elif origin in self._rules.origins or ANY_ORIGIN in self._rules.origins:
            app = self._cross_origin
        else:
            app = _Refusal(403, f"pages of {origin[:100]} may not ask: add this origin to web.allowed_origins")
        if scope["type"] == "websocket":
            await app(scope, receive, _dressed(send))
        else:
            body = Body(receive, bounded=scope["path"] not in self._rules.roomy)
            await app(scope, body.receive, _dressed(lambda message: body.answer(message, send)))

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request of an allowed host and origin, if path, token and size are allowed."""
        refusal = self._refusal(scope)
        app = self._app if refusal is None else _Refusal(*refusal)
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason of a refusal. An unknown path comes first, the size last, after the token."""
        match = self._match(scope)
        if match is Match.NONE:
            return self._unknown(scope)
        headers = Headers(scope=scope)
        if not self._free(scope["path"]):
            given = self._tokens(scope, headers)
            right = self._rules.token.encode()
            if not any(hmac.compare_digest(one.encode(), right) for one in given):
                return 401, (
                    f"this token is wrong: the right one is {_TOKEN_FILE}"
                    if given
                    else f"a token is needed: Authorization: Bearer TOKEN; it is {_TOKEN_FILE}"
                )
        return self._unfit_body(scope, headers) if match is Match.FULL else None

    def _match(self, scope: Scope) -> Match:
        """Match of the best route; the application redirects a path with a slash too many or too few."""
        path: str = scope["path"]
        other = path.rstrip("/") if path.endswith("/") else f"{path}/"
        scopes = (scope, {**scope, "path": other}) if scope["type"] == "http" else (scope,)
        found = [route.matches(one)[0] for one in scopes for route in self._routes]
        return max(found, key=lambda match: match.value, default=Match.NONE)

    def _unknown(self, scope: Scope) -> tuple[int, str]:
        sockets = scope["type"] == "websocket"
        if not sockets and self._match({**scope, "type": "websocket"}) is not Match.NONE:
            return 426, "this path is a WebSocket: ask for it with ws:// or wss://"
        kind = "WebSocket" if sockets else "page or endpoint"
        return 404, f"there is no {kind} at this path; /api/v1/openapi.json describes the API"

    def _unfit_body(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        size = headers.get("content-length", "0")
        if not (size.isascii() and size.isdigit() and len(size) <= 15):
            return 400, "content-length is no number of bytes"
        if scope.get("method") in ("GET", "HEAD") and (int(size) or "transfer-encoding" in headers):
            return 400, "there is nothing to say in the body of such a request"
        if scope["path"] not in self._rules.roomy and int(size) > BODY:
            return 413, TOO_LARGE
        return None

    def _free(self, path: str) -> bool:
        return any(path == free or (free.endswith("/") and path.startswith(free)) for free in self._rules.free)

    def _tokens(self, scope: Scope, headers: Headers) -> list[str]:
        """Tokens of a request, from every place where one is accepted.

        Cookies, which browsers add on their own, count only for our own pages and those of origins listed by name.
        """
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        found = [bearer.strip()] if scheme.lower() == "bearer" else []
        found += headers.getlist("x-hume-api-key")
        query = fields(scope.get("query_string", b"").decode("latin-1"))
        found += query.get("token", []) + query.get("apikey", []) + query.get("api_key", [])
        origin = headers.get("origin")
        if scope["path"] in ACTING and scope.get("method") == "GET":
            return [token for token in found if token]
        named = origin != NO_ORIGIN and origin in self._rules.origins
        if origin is None or named or _own(origin, headers.get("host", "")):
            found += cookies(headers, COOKIE)
        return [token for token in found if token]


def _own(origin: str, host: str) -> bool:
    """Whether the request comes from a page of this server."""
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def _dressed(send: Send) -> Send:
    """``send`` that adds our headers to the response."""

    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            present = {name for name, _ in message["headers"]}
            extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in present]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sending


def _is_page(scope: Scope) -> bool:
    """Whether a browser navigates to the dashboard or the documentation of the API."""
    return (
        scope["type"] == "http"
        and scope["path"] in ("/", "/connect", "/docs")
        and "text/html" in Headers(scope=scope).get("accept", "")
    )


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    name, colon, port = header.lower().rpartition(":")
    return name if colon and port.isdigit() else header.lower()


def fields(text: str) -> Mapping[str, list[str]]:
    """Fields of a query or form; none when there are more than any of ours has."""
    try:
        return parse_qs(text, max_num_fields=50)
    except ValueError:
        return {}


def cookies(headers: Headers, name: str) -> list[str]:
    """Values of every cookie of that name, among malformed cookies of other applications.

    Cookies are shared by all ports of a host; :mod:`http.cookies` stops at the first malformed one.
    """
    pairs = (pair.partition("=") for line in headers.getlist("cookie") for pair in line.split(";"))
    return [value.strip().strip('"') for key, _, value in pairs if key.strip() == name]


class _Refusal:
    """ASGI application that answers with a problem document, or with the login form for a browser without a token."""

    def __init__(self, status: int, detail: str) -> None:
        self._status = status
        self._detail = detail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sockets = scope["type"] == "websocket"
        if sockets and "websocket.http.response" not in scope.get("extensions", {}):
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": self._detail[:120]})
        elif self._status == HTTPStatus.UNAUTHORIZED and _is_page(scope):
            await RedirectResponse("/login", 303)(scope, receive, send)
        else:
            asked = {
                HTTPStatus.UNAUTHORIZED: {"www-authenticate": "Bearer"},
                HTTPStatus.UPGRADE_REQUIRED: {"upgrade": "websocket"},
            }.get(HTTPStatus(self._status), {})
            await ProblemError(self._status, self._detail, CLOSE | asked).response()(scope, receive, send)
