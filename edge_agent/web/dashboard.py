"""Dashboard: one page with its modules, served from this package, and the login form for the token.

The token is kept in a cookie that scripts cannot read (HttpOnly) and other sites cannot use (SameSite). No request goes
to another host.
"""

from __future__ import annotations

import hmac
from importlib import resources

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from edge_agent import __version__
from edge_agent.web.body import ProblemError
from edge_agent.web.guard import COOKIE, fields

TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
KEPT_S = 30 * 86_400

_FORM = {"referrer-policy": "same-origin"}
"""For the page with the form: under ``no-referrer`` browsers send it with ``Origin: null``, which the guard refuses."""


def routes(token: str) -> list[BaseRoute]:
    """Return the routes of the page at ``/`` (a short text unless HTML is accepted), its files and the form."""

    async def page(request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"status": "ok", "version": __version__})
        if "token" in request.query_params:  # it was right, or nobody had come this far: keep it out of the history
            return _welcome(token)
        return HTMLResponse(_read("index.html"))

    async def login(request: Request) -> Response:
        if request.method == "GET":
            return _form("")
        given = fields((await request.body()).decode("utf-8", "replace")).get("token", [""])[0]
        if hmac.compare_digest(given.strip().encode(), token.encode()):
            return _welcome(token)
        return _form("That is not the token of this device.", 401)

    return [
        Route("/", page),
        Route("/login", login, methods=["GET", "POST"]),
        Route("/static/{name}", _static),
    ]


def _form(wrong: str, status: int = 200) -> Response:
    return HTMLResponse(_read("login.html").replace("{{wrong}}", wrong), status, _FORM)


def _welcome(token: str) -> Response:
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, token, max_age=KEPT_S, httponly=True, samesite="strict")
    return answer


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    kind = TYPES.get(name.rpartition(".")[2])
    if name in _SWAGGER:
        return FileResponse(str(resources.files("fastapi_offline").joinpath("static", name)), media_type=kind)
    if kind is None or name not in _FILES:
        raise ProblemError(404, "there is no such file")
    return Response(_read(name), media_type=kind)


_SWAGGER = frozenset({"swagger-ui-bundle.js", "swagger-ui.css"})
"""Files of the interactive documentation, which the package fastapi-offline ships."""


_FILES = frozenset(
    {
        "main.js",
        "chart.js",
        "control.js",
        "docs.js",
        "format.js",
        "panels.js",
        "past.js",
        "period.js",
        "persons.js",
        "preview.js",
        "theme.js",
        "timeline.js",
        "style.css",
        "icon.svg",
    }
)


def _read(name: str) -> str:
    return resources.files("edge_agent.web").joinpath("static", name).read_text(encoding="utf-8")
