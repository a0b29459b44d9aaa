"""Live API of one device on FastAPI: ``/api/v1/…``, commands, metrics, probes, the preview, and ``/docs``.

Requests are checked by the models in the signatures and refused with problem documents; the description of the API is
made from the same models. Commands go to :mod:`edge_agent.control.commands`, as those over MQTT do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import resources
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from edge_agent import __version__
from edge_agent.control.commands import CommandHandlers
from edge_agent.delivery.commands import Command
from edge_agent.domain.errors import EdgeAgentError, RefusedError
from edge_agent.live import Live
from edge_agent.live.people import KEEP_S
from edge_agent.payloads.device import HealthMessage, InfoMessage, PacingMessage, StateMessage
from edge_agent.payloads.messages import EventMessage, PresenceMessage, SummaryMessage
from edge_agent.payloads.rendering import LATEST, timestamp
from edge_agent.plugin.imaging import jpeg
from edge_agent.settings import Settings
from edge_agent.web import analytics, metrics
from edge_agent.web.body import ProblemDocument, ProblemError, problem_of
from edge_agent.web.devices import DeviceList, Devices
from edge_agent.web.guard import ACTING

REFUSED = {"outcome": "refused"}
"""Member of the problem document of a command that was not tried, as in responses over MQTT."""

HUG = ("/analytics", "/hug/")
"""Paths of the analytics in the shape of the Hug API, whose own is ``/``."""

PREVIEW_SIDE = 640
"""Longest side of the preview in pixels."""

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Alive(BaseModel):
    """The server answers."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether the agent works without a known problem."""

    status: Literal["ok", "degraded", "starting"]


class DeviceStatus(BaseModel):
    """Everything that is current; null before it was published for the first time."""

    device: str = Field(description="device.id of the config.")
    version: str = Field(description="Version of edge-agent.")
    boot_id: str = Field(description="Changes with every start of the agent.")
    info: InfoMessage
    control: bool = Field(description="Whether commands are allowed (web.control).")
    state: StateMessage | None
    health: HealthMessage | None
    pacing: PacingMessage | None
    presence: PresenceMessage | None


class Summaries(BaseModel):
    """Summaries, oldest first; seq counts from the agent's start and is no key of a delivered message."""

    summaries: list[SummaryMessage]


class Events(BaseModel):
    """Events, oldest first; seq counts from the agent's start and is no key of a delivered message."""

    events: list[EventMessage]


class CommandRequest(BaseModel):
    """Body of a command."""

    model_config = ConfigDict(extra="forbid")

    value: Any = Field(default=None, description="What the command takes; none for commands without a value.")


class CommandOutcome(BaseModel):
    """What became of a command."""

    status: Literal["done", "accepted"] = Field(description="accepted: the result is seen in state or health.")
    state: StateMessage


def _moment(value: object) -> object:
    return analytics.parse_time(value) if isinstance(value, str) else value


Since = Annotated[int, Query(ge=0, le=999_999_999_999_999, description="The seq of the last one you have.")]
Moment = Annotated[
    float,
    BeforeValidator(_moment),
    Field(ge=0, le=LATEST, allow_inf_nan=False),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}]}),
]
"""RFC 3339 or Unix seconds."""
Step = Literal["60", "600", "3600"]


class LiveApi:
    """Endpoints over one ``agent``; commands go to ``handlers``.

    Endpoints whose answers take a while are plain functions, which FastAPI runs in a thread: the event loop serves live
    clients meanwhile.
    """

    def __init__(self, agent: Live, handlers: CommandHandlers) -> None:
        self._agent = agent
        self._bus = agent.bus
        self._handlers = handlers
        self._devices = Devices(agent.settings.mqtt, agent.clock)
        self._looks: analytics.Looks = {}
        self._looking = threading.Lock()

    def add_to(self, app: FastAPI) -> None:
        """Add every endpoint to ``app``."""

        def get(path: str, endpoint: Callable[..., Any], model: Any = None, *refusals: int, **more: Any) -> None:
            described = {"responses": {status: {"model": ProblemDocument} for status in refusals}} | more
            app.add_api_route(path, endpoint, response_model=model, methods=["GET"], **described)
            app.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, response_model=None)

        def post(path: str, endpoint: Callable[..., Any], **more: Any) -> None:
            refusals: dict[int | str, dict[str, Any]] = {
                s: {"model": ProblemDocument} for s in (400, 403, 404, 409, 413)
            }
            app.add_api_route(
                path, endpoint, response_model=CommandOutcome, methods=["POST"], responses=refusals, **more
            )

        unready: dict[int, dict[str, Any]] = {503: {"model": Readiness, "description": "It starts, or has a problem."}}
        get("/health", self.alive, Alive, operation_id="health")
        get("/healthz", self.alive, Alive, operation_id="alive")
        get("/readyz", self.ready, Readiness, responses=unready)
        get("/metrics", self.metrics, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
            response_class=Response)  # fmt: skip
        get("/api/v1/openapi.json", lambda: JSONResponse(app.openapi()), dict[str, Any], summary="This description",
            operation_id="openapi")  # fmt: skip
        get("/api/v1/status", self.status, DeviceStatus)
        get("/api/v1/summary", self.summary, SummaryMessage, 404)
        get("/api/v1/summaries", self.summaries, Summaries, 400)
        get("/api/v1/events", self.events, Events, 400)
        get("/api/v1/analytics", self.analytics, analytics.AnalyticsReport, 400)
        for path in HUG:
            app.add_api_route(path, self.hug, methods=["GET"], response_model=None, include_in_schema=False)
        get("/api/v1/people", self.people, analytics.PeopleReport, 400)
        get("/api/v1/devices", self.devices, DeviceList)
        get("/api/v1/config/schema", self.schema, dict[str, Any])
        picture = {200: {"content": {"image/jpeg": {}}, "description": "A JPEG of at most 640 pixels a side."}}
        refused: dict[int, dict[str, Any]] = {status: {"model": ProblemDocument} for status in (404, 409)}
        get("/api/v1/preview.jpg", self.preview, responses=picture | refused, response_class=Response)
        body = {"required": False, "content": {"application/json": {"schema": CommandRequest.model_json_schema()}}}
        post("/api/v1/control/{name}", self.control, openapi_extra={"requestBody": body})
        post("/camera/start", self.start_camera)
        post("/camera/stop", self.stop_camera)
        for path in ACTING:  # the Echo backend's clients use GET; no HEAD, which must not act
            app.add_api_route(path, self.switch_camera, methods=["GET"], response_model=None, include_in_schema=False)
        get("/docs", docs, include_in_schema=False)

    async def alive(self) -> Response:
        """Answer that the server runs."""
        return JSONResponse({"status": "ok"})

    async def ready(self) -> Response:
        """Tell whether the agent works without a known problem; nothing else, because this needs no token."""
        health = self._bus.state("health")
        status = health["status"] if health is not None else "starting"
        return JSONResponse({"status": status}, 200 if status == "ok" else 503)

    def metrics(self) -> Response:
        """Figures for Prometheus."""
        return Response(metrics.render(self._bus), media_type=PROMETHEUS)

    async def status(self) -> Response:
        """State, health, pacing and presence as they are now."""
        document = {
            "device": self._agent.settings.device.id,
            "version": __version__,
            "boot_id": self._agent.boot_id,
            "info": self._agent.info(),
            "control": self._agent.settings.web.control,
        }
        kinds = ("state", "health", "pacing", "presence")
        return JSONResponse(document | {kind: self._bus.state(kind) for kind in kinds})

    async def summary(self) -> Response:
        """The latest window."""
        latest = self._bus.summaries()[-1:]
        if not latest:
            raise ProblemError(404, "no window has ended yet; try again in a moment")
        return JSONResponse(latest[0])

    def summaries(self, since: Since = 0) -> Response:
        """Windows after ``since``, oldest first; the last two hours of 10 s windows at most."""
        return JSONResponse({"summaries": self._bus.summaries(since)})

    def events(self, since: Since = 0) -> Response:
        """Events after ``since``, oldest first; 500 at most."""
        return JSONResponse({"events": self._bus.events(since)})

    def analytics(
        self,
        since: Annotated[Moment | None, Query(description="From; default: an hour ago.")] = None,
        until: Annotated[Moment | None, Query(description="To; default: now.")] = None,
        step: Annotated[Step | None, Query(description="Also in steps of this many seconds.")] = None,
    ) -> Response:
        """Streaming quality and viewers over a period of the device's history, in whole minutes."""
        history = self._agent.history
        now = self._agent.clock.wall()
        since, until = now - 3600.0 if since is None else since, now if until is None else until
        if history is None or not since < until <= since + analytics.LONGEST_S:
            raise ProblemError(400, "since must be before until, by 60 days at most")
        device = self._agent.settings.device.id
        report = analytics.report(history, since, until, device, None if step is None else int(step))
        return JSONResponse(report | {"unknown": None if self._agent.clock.synced() else "clock"})

    def hug(self, seconds: Annotated[int, Query(ge=60, le=int(analytics.LONGEST_S))] = 3600) -> Response:
        """Tell the last hour, or so many seconds, in the shape of the Hug API."""
        history, now = self._agent.history, self._agent.clock.wall()
        window = None if history is None else history.between(now - seconds, now)
        return JSONResponse(analytics.hug_report(window, now, self._agent.settings.device.id))

    def people(
        self, seconds: Annotated[int, Query(ge=1, le=int(KEEP_S), description="How far back to look.")] = 300
    ) -> Response:
        """Everybody who is in view or was lately, each with a timeline in steps of five seconds.

        Names are random and end with the visit. Nobody is listed with privacy.min_people.
        """
        clock = self._agent.clock
        now = clock.monotonic()
        known = self._agent.people.since(now - seconds, now) if self._agent.people is not None else []
        wall, device = clock.wall(), self._agent.settings.device.id
        with self._looking:  # concurrent requests share what the first one has rendered
            people = analytics.people(known, device, wall - now, self._looks)
        unknown = (self._bus.state("presence") or {}).get("unknown")
        if unknown:  # nobody is known to be here
            people = [person | {"here": False, "now": None} for person in people]
        return JSONResponse({"now": timestamp(wall), "unknown": unknown, "people": people})

    def devices(self) -> Response:
        """Devices that publish to the same broker, this one included; asked for at most twice a minute."""
        return JSONResponse(self._devices.listed().model_dump())

    def schema(self) -> Response:
        """JSON Schema of the config file."""
        return JSONResponse(Settings.model_json_schema())

    async def preview(self) -> Response:
        """The camera's latest picture, only with web.preview."""
        if not self._agent.settings.web.preview:
            raise ProblemError(404, "there is no preview: web.preview is off in this device's config")
        if self._agent.preview is None:
            raise ProblemError(409, "there is no picture: the camera is not used by this device's config")
        frame = self._agent.preview.latest()
        if frame is None:
            raise ProblemError(409, "there is no picture now: the camera is not watching")
        picture = await anyio.to_thread.run_sync(jpeg, frame, PREVIEW_SIDE)
        return Response(picture, media_type="image/jpeg", headers={"cross-origin-resource-policy": "same-origin"})

    async def control(self, name: Annotated[str, Path(description="The command.")], request: Request) -> Response:
        """Perform a command, as over MQTT."""
        body = await request.body()
        try:
            value = CommandRequest.model_validate_json(body).value if body.strip() else None
        except ValidationError as error:
            told = f'the body must be {{"value": …}} as JSON ({problem_of(error.errors())})'
            raise ProblemError(400, told, more=REFUSED) from None
        return await self._perform(name, value)

    async def start_camera(self) -> Response:
        """Use the camera again."""
        return await self._perform("camera", True)

    async def stop_camera(self) -> Response:
        """Release the camera."""
        return await self._perform("camera", False)

    async def switch_camera(self, request: Request) -> Response:
        """Start or stop the camera as the Echo backend does, with its answer."""
        start = request.url.path == "/camera/start"
        await self._perform("camera", start)
        told = "The camera is watching." if start else "The camera is released."
        return JSONResponse({"status": "camera_started" if start else "camera_stopped", "message": told})

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


async def docs() -> Response:
    """Interactive description of the API; its scripts come from this device."""
    page = resources.files("edge_agent.web").joinpath("static", "docs.html").read_text(encoding="utf-8")
    return HTMLResponse(page)


def describe(app: FastAPI, commands: tuple[str, ...], free: frozenset[str]) -> dict[str, Any]:
    """The OpenAPI description of ``app``: ``commands`` can be given, paths of ``free`` need no token.

    Refusals that any request may meet (401, 421) are added, FastAPI's own form of validation errors is not ours.
    """
    document = FastAPI.openapi(app)
    document["components"]["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of this device: web.token, or the file web-token in its state folder.",
        }
    }
    document["security"] = [{"bearer": []}]
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            responses.pop("422", None)
            for status in (421,) if path in free else (401, 421):
                responses[str(status)] = {"content": problem}
            for status, response in responses.items():
                if status.startswith("4"):
                    responses[status] = {"description": "Refused; `detail` says what to do.", "content": problem}
                    response.clear()
            if path in free:
                operation["security"] = []
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] == "name":
                    parameter["schema"] = {"type": "string", "enum": list(commands)}
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document
