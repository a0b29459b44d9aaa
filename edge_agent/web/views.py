"""The live API as it is asked for: ``/api/v1/…``, commands, metrics and probes. Reads the event bus, decides nothing.

Commands take the way of MQTT commands: :mod:`edge_agent.control.commands` refuses what the config forbids.
"""

from __future__ import annotations

import json
import threading
from importlib import resources
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from edge_agent import __version__
from edge_agent.control.commands import CommandHandlers
from edge_agent.delivery.commands import Command
from edge_agent.domain.errors import EdgeAgentError, RefusedError
from edge_agent.domain.event import MessageKind
from edge_agent.live import Live
from edge_agent.live.people import KEEP_S
from edge_agent.payloads.rendering import timestamp
from edge_agent.payloads.schemas import schema
from edge_agent.settings import Settings
from edge_agent.web import analytics, metrics, preview
from edge_agent.web.problems import ProblemError

REFUSED = {"outcome": "refused"}
"""What a problem of a command says besides, in the words of the answers over MQTT."""

DESCRIBED_ELSEWHERE: dict[str, MessageKind] = {"Summary": "summary", "Event": "event"}


class Views:
    """The endpoints over one ``agent``; commands go to ``handlers``.

    Those whose answers take a while are plain functions, which Starlette runs in a thread: the event loop serves live
    clients meanwhile.
    """

    def __init__(self, agent: Live, handlers: CommandHandlers) -> None:
        self._agent = agent
        self._bus = agent.bus
        self._handlers = handlers
        self._looks: analytics.Looks = {}
        self._looking = threading.Lock()

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        return [
            Route("/healthz", self.alive),
            Route("/readyz", self.ready),
            Route("/metrics", self.metrics),
            Route("/api/v1/openapi.json", self.openapi),
            Route("/api/v1/status", self.status),
            Route("/api/v1/summary", self.summary),
            Route("/api/v1/summaries", self.summaries),
            Route("/api/v1/events", self.events),
            Route("/api/v1/analytics", self.analytics),
            Route("/api/v1/people", self.people),
            *preview.routes(self._agent),
            Route("/api/v1/config/schema", self.schema),
            Route("/api/v1/control/{name}", self.control, methods=["POST"]),
            Route("/camera/start", self.start_camera, methods=["POST"]),
            Route("/camera/stop", self.stop_camera, methods=["POST"]),
        ]

    async def alive(self, _request: Request) -> Response:
        """The server answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Whether the agent works without a known problem; nothing else, because this needs no token."""
        health = self._bus.state("health")
        status = health["status"] if health is not None else "starting"
        return JSONResponse({"status": status}, 200 if status == "ok" else 503)

    def metrics(self, _request: Request) -> Response:
        """Prometheus."""
        return Response(metrics.render(self._bus), media_type="text/plain; version=0.0.4; charset=utf-8")

    def openapi(self, _request: Request) -> Response:
        """What is described here."""
        return JSONResponse(openapi())

    async def status(self, _request: Request) -> Response:
        """Everything that is current."""
        document = {
            "device": self._agent.settings.device.id,
            "version": __version__,
            "boot_id": self._agent.boot_id,
            "info": self._agent.info(),
            "control": self._agent.settings.web.control,
        }
        kinds = ("state", "health", "pacing", "presence")
        return JSONResponse(document | {kind: self._bus.state(kind) for kind in kinds})

    async def summary(self, _request: Request) -> Response:
        """The latest."""
        latest = self._bus.summaries()[-1:]
        if not latest:
            raise ProblemError(404, "no window has ended yet; try again in a moment")
        return JSONResponse(latest[0])

    def summaries(self, request: Request) -> Response:
        """Those after ``since``."""
        return JSONResponse({"summaries": self._bus.summaries(_number(request, "since"))})

    def events(self, request: Request) -> Response:
        """Likewise."""
        return JSONResponse({"events": self._bus.events(_number(request, "since"))})

    def analytics(self, request: Request) -> Response:
        """A period of the device's history."""
        history = self._agent.history
        now = self._agent.clock.wall()
        since, until = _time(request, "since", now - 3600.0), _time(request, "until", now)
        step = request.query_params.get("step")
        if step is not None and step not in analytics.STEPS:
            raise ProblemError(400, f"step: one of {', '.join(analytics.STEPS)} seconds")
        if history is None or not since < until <= since + analytics.LONGEST_S:
            raise ProblemError(400, "since must be before until, by 60 days at most")
        seconds = None if step is None else analytics.STEPS[step]
        device = self._agent.settings.device.id
        report = analytics.report(history, since, until, device, seconds)
        return JSONResponse(report | {"unknown": None if self._agent.clock.synced() else "clock"})

    def people(self, request: Request) -> Response:
        """Who is or was in view, each with a timeline."""
        text = request.query_params.get("seconds", "300")
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= KEEP_S):
            raise ProblemError(400, f"seconds: a whole number from 1 to {KEEP_S:.0f}")
        clock = self._agent.clock
        now = clock.monotonic()
        known = self._agent.people.since(now - int(text), now) if self._agent.people is not None else []
        wall, device = clock.wall(), self._agent.settings.device.id
        with self._looking:  # who asks meanwhile is told from what the first one had rendered
            people = analytics.people(known, device, wall - now, self._looks)
        unknown = (self._bus.state("presence") or {}).get("unknown")
        people = [person | {"here": person["here"] and not unknown} for person in people]
        return JSONResponse({"now": timestamp(wall), "unknown": unknown, "people": people})

    def schema(self, _request: Request) -> Response:
        """Of the config file."""
        return JSONResponse(Settings.model_json_schema())

    async def control(self, request: Request) -> Response:
        """A command by name, with its value in the body."""
        value = _value(await request.body())
        return await self._perform(request.path_params["name"], value)

    async def start_camera(self, _request: Request) -> Response:
        """Use the camera again."""
        return await self._perform("camera", True)

    async def stop_camera(self, _request: Request) -> Response:
        """Let go of the camera."""
        return await self._perform("camera", False)

    async def _perform(self, name: str, value: object) -> Response:
        if not self._agent.settings.web.control:
            raise ProblemError(403, "web.control is off in this device's config", more=REFUSED)
        handlers = self._handlers
        if name not in handlers.names:
            raise ProblemError(
                404, f"there is no command {name!r}; there are {', '.join(handlers.names)}", more=REFUSED
            )
        try:
            outcome = await anyio.to_thread.run_sync(handlers.perform, Command(name, value=value))
        except RefusedError as error:
            raise ProblemError(409, str(error), more=REFUSED) from None
        except EdgeAgentError as error:
            raise ProblemError(500, str(error), more={"outcome": "failed"}) from None
        self._bus.publish("state", handlers.state())  # the next reader sees it, and so do live clients
        return JSONResponse({"status": outcome.status, **outcome.details})


def openapi() -> dict[str, Any]:
    """The description of this API, with the version and the messages' own schemas filled in."""
    text = resources.files("edge_agent.web").joinpath("openapi.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    document["info"]["version"] = __version__
    for name, kind in DESCRIBED_ELSEWHERE.items():
        part = json.dumps(schema(kind)).replace('"#/$defs/', f'"#/components/schemas/{name}/$defs/')
        told = {key: value for key, value in json.loads(part).items() if key not in ("$schema", "$id", "description")}
        document["components"]["schemas"][name] |= told
    return document


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise ProblemError(400, f"{name}: the seq of the last one you have, a whole number")
    return int(text)


def _time(request: Request, name: str, default: float) -> float:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = analytics.parse_time(text)
    except (ValueError, OverflowError) as error:
        raise ProblemError(400, f"{name}: RFC 3339 or Unix seconds ({error})") from None
    if not 0 <= value <= 253_402_300_799:
        raise ProblemError(400, f"{name}: a time between 1970 and 9999")
    return value


def _value(body: bytes) -> object:
    """``value`` of a JSON object; None without a body."""
    if not body.strip():
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ProblemError(400, 'the body must be JSON: {"value": …}', more=REFUSED) from None
    if not isinstance(document, dict) or not set(document) <= {"value"}:
        raise ProblemError(400, 'the body must be an object with "value" alone', more=REFUSED)
    return document.get("value")
