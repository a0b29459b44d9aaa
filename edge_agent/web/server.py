"""The web server as a component of the agent: uvicorn in a thread of its own, with a heartbeat and an orderly end.

Its failures do not affect the agent: a port in use or a server that fails is logged and retried.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from edge_agent import __version__
from edge_agent.api import CustomModels, Session
from edge_agent.batch.custom import CustomAnswers
from edge_agent.batch.queue import open_queue, spool_of
from edge_agent.control.commands import CommandHandlers
from edge_agent.domain.errors import ConfigError
from edge_agent.domain.files import read_secret, replace_durably
from edge_agent.live import Live
from edge_agent.runtime.lifecycle import Stop
from edge_agent.runtime.machine import allow_descriptors, process_use
from edge_agent.runtime.supervisor import Beat, Component
from edge_agent.settings import Settings, WebSettings
from edge_agent.settings.web import OWN_DESCRIPTORS, SPARE, TOKEN, TOKEN_FILE, WANTED
from edge_agent.web import batch, dashboard, echo, hume, live, upload, words
from edge_agent.web.body import ProblemError, on_departure, on_failure, on_http_error, on_invalid, on_problem
from edge_agent.web.conversation import Connections, Limits, SwitchedOffError
from edge_agent.web.guard import FREE, LOOPBACK, Guard, Rules
from edge_agent.web.live import Hub
from edge_agent.web.views import LiveApi, describe


class Application(FastAPI):
    """FastAPI with problem documents as errors, our OpenAPI description, and documentation without other hosts."""

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
        """Return the OpenAPI description of the live API."""
        if self._described is None:
            self._described = describe(self, self._commands, FREE)
        return self._described


def live_api(agent: Live, handlers: CommandHandlers) -> Application:
    """Return an application with the live API only, for its complete description."""
    app = Application(handlers.names)
    LiveApi(agent, handlers).add_to(app)
    return app


def switched_off(settings: Settings) -> frozenset[str]:
    """Analyzers that the config switches off."""
    return frozenset(name for name, table in settings.analyzers.items() if table.get("enabled") is False)


def within_config(open_session: Callable[..., Session], settings: Settings) -> Callable[..., Session]:
    """Return ``open_session`` without the analyzers that the config switches off: no client may switch them on.

    The first analyzer of a session is the one that the others depend on; without it, opening raises SwitchedOffError.
    """
    off = switched_off(settings)

    def opened(analyzers: Sequence[str] | Mapping[str, Any], **options: Any) -> Session:
        first = next(iter(analyzers))
        if first in off:
            raise SwitchedOffError(f"analyzers.{first}.enabled = false in the config of this device")
        if isinstance(analyzers, Mapping):
            return open_session({name: table for name, table in analyzers.items() if name not in off}, **options)
        return open_session([name for name in analyzers if name not in off], **options)

    return opened


def make_app(
    agent: Live,
    handlers: CommandHandlers,
    hub: live.Hub,
    rules: Rules,
    open_session: Callable[..., Session] = Session,
    open_custom: Callable[[], CustomModels] = CustomModels,
) -> ASGIApp:
    """Return the application over ``agent`` and the ``hub`` of its event bus; ``handlers`` performs commands,
    ``open_session`` analyses what is uploaded, ``open_custom`` opens the custom models."""
    app = live_api(agent, handlers)
    custom = CustomAnswers(open_custom, switched_off(agent.settings))
    open_session = within_config(open_session, agent.settings)
    recognises = agent.settings.analyzers.get("identity", {}).get("enabled") is True  # never by a client's wish alone
    limits = Limits.for_memory(process_use().memory_limit_mb, agent.settings.web.analysis_clients)
    reader, transcriber = words.Reader(open_session), words.Transcriber(open_session)
    app.router.routes += [
        *dashboard.routes(rules.token, agent.settings),
        *live.routes(hub),
        *hume.routes(open_session, limits, reader, transcriber, custom),
        *echo.routes(
            open_session,
            replace(limits, idle_s=echo.IDLE_S),
            reader,
            transcriber,
            recognises=recognises,
        ),
        *upload.routes(open_session, health=None, recognises=recognises),
        *batch.routes(agent.settings.batch, partial(open_queue, agent.settings), spool_of(agent.settings), open_custom),
    ]
    return Guard(app, rules, app.routes)


log = logging.getLogger(__name__)

RETRY_S = 10.0
GRACE_S = 1
"""Seconds that open connections have to end when the server stops."""

WEBSOCKET_BYTES = 16 * 1024 * 1024
ROOMY = (
    "/process-frame",
    "/flask/process-frame",
    "/video-stream/emotion",
    "/video-stream/face-recognition",
    batch.PATH,
    batch.CUSTOM_PATH,
)
"""Paths that bound their own bodies."""
TALKATIVE = ("/v0/stream/models", "/ws/face", "/ws/audio-stream", "/ws/face-recognition")
"""Paths of WebSockets that are sent pictures and sound."""


def token_of(settings: Settings) -> str:
    """Return the token that clients must send; generated and stored in the state folder when the config has none.

    Raises:
        ConfigError: its file cannot be read, or is empty.
    """
    web = settings.web
    if web.token is not None:
        return web.token.get_secret_value()
    path = web.token_file or settings.device.state_dir / TOKEN_FILE
    try:
        if web.token_file is None and not path.exists():
            return _made_up(path)
        token = read_secret(path, "the token of the web side")
    except OSError as error:
        raise ConfigError(f"{path}: the token of the web side cannot be read: {error.strerror}") from None
    if not TOKEN.fullmatch(token):
        raise ConfigError(f"{path}: its first line must be a token: {WANTED}")
    return token


def _made_up(path: Path) -> str:
    """Generate a token, and store it in ``path`` if possible."""
    token = secrets.token_hex(16)
    try:
        replace_durably(path, f"{token}\n".encode(), mode=0o600)
    except OSError as error:
        log.error("%s: cannot be written (%s): nobody can know the token; give a web.token_file", path, error.strerror)
    return token


def component(
    agent: Live,
    handlers: CommandHandlers,
    token: str,
    open_session: Callable[..., Session] = Session,
    open_custom: Callable[[], CustomModels] = CustomModels,
) -> Component:
    """Return the web server of ``agent``; ``handlers`` perform commands, ``open_session`` analyses uploads, by custom
    models those of ``open_custom``."""
    server = WebServer(agent, handlers, token, open_session, open_custom)
    return Component("web", server.run, stale_after=30.0, stop_within=GRACE_S + 2.0, phase=2)


def admitted(web: WebSettings) -> int:
    """Raise the limit of open files as far as ``web`` needs it; how many connections the agent then accepts."""
    limit = allow_descriptors(web.descriptors)
    if limit >= web.descriptors:
        return web.connections
    most = max(SPARE // 4, limit - OWN_DESCRIPTORS)
    log.warning(
        "web: this process may open %d files, so %d of %d connections are accepted: set LimitNOFILE=%d in the service, "
        "or lower web.clients and web.analysis_clients", limit, most, web.connections, web.descriptors
    )  # fmt: skip
    return most


class WebServer:
    """Component that runs uvicorn; see the module."""

    def __init__(
        self,
        agent: Live,
        handlers: CommandHandlers,
        token: str,
        open_session: Callable[..., Session],
        open_custom: Callable[[], CustomModels],
    ) -> None:
        self._open_session, self._open_custom = open_session, open_custom
        web = agent.settings.web
        self._address = (web.host, web.port)
        here = f"[{web.host}]" if ":" in web.host else web.host
        hosts = (*LOOPBACK, *(name.lower() for name in (here, *web.allowed_hosts)))
        self._rules = Rules(token, hosts, roomy=ROOMY, origins=web.allowed_origins)
        self._agent = agent
        self._handlers = handlers

    def run(self, beat: Beat, stop: Stop) -> None:
        """Serve until ``stop`` is requested."""
        while not stop.requested:
            try:
                with _listen(*self._address) as sock:
                    log.info("web: listening on %s:%s", *sock.getsockname()[:2])
                    asyncio.run(self._serve(sock, beat, stop))
            except OSError as error:
                log.error("web: %s; trying again in %.0f s", error, RETRY_S)
                _rest(beat, stop)
            except Exception:  # an error of the web server must not end the agent
                log.exception("web: failed; trying again in %.0f s", RETRY_S)
                _rest(beat, stop)

    async def _serve(self, sock: socket.socket, beat: Beat, stop: Stop) -> None:
        web = self._agent.settings.web
        hub, limits = Hub(self._agent.bus, web.clients), Connections(admitted(web), TALKATIVE)
        config = uvicorn.Config(
            make_app(self._agent, self._handlers, hub, self._rules, self._open_session, self._open_custom),
            http=limits.protocol(),
            log_config=None,
            log_level="error",  # errors of clients are not logged
            access_log=False,
            lifespan="off",
            server_header=False,
            ws_max_size=WEBSOCKET_BYTES,
            ws_max_queue=4,
            ws_ping_interval=web.heartbeat_s,
            ws_ping_timeout=web.heartbeat_s,
            ws_per_message_deflate=False,  # a third of a megabyte for each client, for messages of a kilobyte
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=5,
            backlog=SPARE,
        )
        config.load()
        config.ws_protocol_class = limits.attentive(cast("type[Any]", config.ws_protocol_class))
        server = uvicorn.Server(config)
        watching = asyncio.create_task(_pulse(server, hub, limits, beat, stop))
        try:
            await server.serve([sock])
        finally:
            watching.cancel()


async def _pulse(server: uvicorn.Server, hub: Hub, limits: Connections, beat: Beat, stop: Stop) -> None:
    """Send heartbeats from the event loop; the supervisor detects a loop that hangs."""
    while not stop.requested:
        beat()
        limits.look(server.server_state.connections)
        await asyncio.sleep(0.25)
    hub.end()
    server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises OSError with the address."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None


def _rest(beat: Beat, stop: Stop) -> None:
    for _ in range(int(RETRY_S)):
        beat()
        if stop.wait(1.0):
            return
