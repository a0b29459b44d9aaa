"""The web side as one ASGI application: dashboard, live API, compatible endpoints, and the guard around them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from edge_agent import __version__
from edge_agent.api import Session
from edge_agent.control.commands import CommandHandlers
from edge_agent.live import Live
from edge_agent.web import dashboard, echo, hume, live, upload
from edge_agent.web.guard import FREE, Guard, Rules
from edge_agent.web.problems import ProblemError, on_departure, on_failure, on_http_error, on_invalid, on_problem
from edge_agent.web.views import LiveApi, describe


class Application(FastAPI):
    """FastAPI with our errors, our description of the API, and documentation pages of our own."""

    def __init__(self, commands: tuple[str, ...], **more: Any) -> None:
        super().__init__(
            title="edge-agent",
            version=__version__,
            summary="The live API of one device.",
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            separate_input_output_schemas=False,
            generate_unique_id_function=lambda route: route.name,
            exception_handlers={
                ProblemError: on_problem,
                RequestValidationError: on_invalid,
                HTTPException: on_http_error,
                ClientDisconnect: on_departure,
                Exception: on_failure,
            },
            **more,
        )
        self._commands = commands
        self._described: dict[str, Any] | None = None

    def openapi(self) -> dict[str, Any]:
        """The description of the live API."""
        if self._described is None:
            self._described = describe(self, self._commands, FREE)
        return self._described


def live_api(agent: Live, handlers: CommandHandlers) -> Application:
    """An application with the live API alone, whose description is complete."""
    app = Application(handlers.names)
    LiveApi(agent, handlers).add_to(app)
    return app


def make_app(
    agent: Live,
    handlers: CommandHandlers,
    hub: live.Hub,
    rules: Rules,
    open_session: Callable[..., Session] = Session,
) -> ASGIApp:
    """The application over ``agent`` and the ``hub`` of its event bus; ``handlers`` performs commands,
    ``open_session`` analyses what is uploaded."""
    app = live_api(agent, handlers)
    app.router.routes += [
        *dashboard.routes(rules.token),
        *live.routes(hub),
        *hume.routes(open_session),
        *echo.routes(open_session),
        *upload.routes(open_session, health=None),
    ]
    return Guard(app, rules, app.routes)
