"""The web side as one ASGI application: dashboard, live API, compatible endpoints, and the guard around them all."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from edge_agent.api import Session
from edge_agent.control.commands import CommandHandlers
from edge_agent.live import Live
from edge_agent.web import dashboard, echo, hume, live, upload
from edge_agent.web.guard import Guard, Rules
from edge_agent.web.problems import ProblemError, on_departure, on_failure, on_http_error, on_problem
from edge_agent.web.views import Views


def make_app(
    agent: Live,
    handlers: CommandHandlers,
    hub: live.Hub,
    rules: Rules,
    open_session: Callable[..., Session] = Session,
) -> ASGIApp:
    """The application over ``agent`` and the ``hub`` of its event bus; ``handlers`` performs commands,
    ``open_session`` analyses what is uploaded."""
    routes = [
        *dashboard.routes(rules.token),
        *Views(agent, handlers).routes(),
        *live.routes(hub),
        *hume.routes(open_session),
        *echo.routes(open_session),
        *upload.routes(open_session, health=None),
    ]
    on_errors = {
        ProblemError: on_problem,
        HTTPException: on_http_error,
        ClientDisconnect: on_departure,
        Exception: on_failure,
    }
    return Guard(Starlette(routes=routes, exception_handlers=on_errors), rules, routes)
