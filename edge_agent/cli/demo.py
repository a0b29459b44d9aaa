"""``edge-agent demo``: run the whole agent on this machine, without configuration.

Starts an embedded broker on a free loopback port, a film of two people who come, make faces, are heard and go
(``demo.mp4``, made by :mod:`training.emotion.faces.demo`), the real models, the dashboard, and a subscriber that prints
what arrives over MQTT. The state is kept in a temporary folder and removed at the end.
"""

from __future__ import annotations

import asyncio
import importlib
import json as json_module
import logging
import socket
import tempfile
import textwrap
import threading
import time
from collections import Counter
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder
from edge_agent.cli.common import JsonOption, pull_showing_progress, say, tell
from edge_agent.cli.run import sign_in, web_side
from edge_agent.cli.streams import OutputError, emit
from edge_agent.cli.terminal import out
from edge_agent.cli.watch import message_json, message_line
from edge_agent.delivery import topics
from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.mqtt import listening
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.live.bus import EventBus
from edge_agent.models import cache_dir
from edge_agent.runtime.lifecycle import Stop, stop_on_signals
from edge_agent.runtime.logs import configure
from edge_agent.settings import (
    CameraSettings,
    ConfigText,
    DeviceSettings,
    MicrophoneSettings,
    MqttSettings,
    Settings,
)
from edge_agent.settings.schema import CommandSettings, HomeAssistantSettings
from edge_agent.settings.source import parse_camera, parse_microphone
from edge_agent.settings.web import WebSettings

FILM = "film"
"""Source of picture and sound that stands for the packaged film."""

COLUMNS = 80
"""Width of what is printed, on narrower terminals theirs."""

START_WITHIN = 15.0
"""Seconds in which the embedded broker has to start."""


class DemoError(EdgeAgentError):
    """The demo received no summaries."""


class BrokerError(EdgeAgentError):
    """The embedded broker is not installed or does not start."""


class _Printer:
    """Print messages as they arrive, for people or as JSON, and count the dominant emotions of the windows."""

    def __init__(self, stop: Stop, *, json: bool = False) -> None:
        self._stop = stop
        self._json = json
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()
        self.failure: OutputError | None = None
        """Why printing failed; None while it works."""
        self.dominant: Counter[str] = Counter()

    @property
    def windows(self) -> int:
        with self._lock:
            return self.dominant.total()

    def show(self, message: InboundMessage) -> None:
        topic, text = message.topic, message.payload.decode("utf-8", "replace")
        with self._lock:
            kind = topic.split("/", 2)[-1]
            if kind == topics.SUMMARY:
                emotion = json_module.loads(text)["emotion"]
                self.dominant[emotion["dominant"] if emotion else "none"] += 1
            try:
                if self._json:
                    emit(message_json(topic, text))
                else:
                    self._tell(kind, text)
            except OutputError as error:  # this is the subscriber's thread: hand it to the main thread
                self.failure = error
                self._stop.request(str(error), failure=True)

    def _tell(self, kind: str, text: str) -> None:
        """Print what people can read, wrapped, and what repeats itself once."""
        told = message_line(kind, text)
        if told is None or (kind in (topics.HEALTH, topics.PRESENCE) and self._last.get(kind) == told):
            return
        self._last[kind] = told
        head = f"{time.strftime('%H:%M:%S')} {kind.removeprefix('event/'):10} "
        width = min(COLUMNS, out().width) - len(head)
        style = "bold" if kind == topics.SUMMARY else ""
        for k, line in enumerate(textwrap.wrap(told, max(20, width)) or [""]):
            say((head if k == 0 else " " * len(head), "dim"), (line, style))


def demo(
    seconds: Annotated[float, typer.Option("--seconds", min=5, help="Seconds to run.")] = 60,
    window: Annotated[float, typer.Option("--window", min=1, help="Length of a summary window in seconds.")] = 5,
    camera: Annotated[
        str, typer.Option("--camera", help="film: the demo's own; else as camera.source; 0 is the first webcam.")
    ] = FILM,
    microphone: Annotated[
        str, typer.Option("--microphone", help="film: the demo's own; else as microphone.source.")
    ] = FILM,
    web: Annotated[bool, typer.Option(help="Serve the dashboard on a free local port.")] = True,
    json: JsonOption = False,
) -> None:
    """Try the agent without configuration: embedded broker, a film, real models, live summaries."""
    # The film's warnings are known: its preview is on, and it is no device.
    configure("error" if camera == microphone == FILM else "warning", "text")
    with resources.as_file(resources.files(__package__) / "demo.mp4") as film:
        seen, heard = (str(film) if chosen == FILM else chosen for chosen in (camera, microphone))
        _demo(seconds, window, seen, heard, str(film), web=web, json=json)


def _demo(seconds: float, window: float, camera: str, microphone: str, film: str, *, web: bool, json: bool) -> None:
    parse_camera(camera), parse_microphone(microphone)
    remark = tell if json else say
    stop = Stop()
    printer = _Printer(stop, json=json)
    with tempfile.TemporaryDirectory(prefix="edge-agent-demo-") as state, EmbeddedBroker() as broker:
        config = ConfigText("demo", "")
        settings = _own(config.settings(), Path(state), broker.port, camera, microphone, window, film)
        builder = PipelineBuilder(config, settings)
        builder.pull_missing(pull_showing_progress)
        builder.activate()
        remark(f"broker on 127.0.0.1:{broker.port}; subscribed to edge-agent/#; {seconds:.0f} s")
        if web:
            settings = _with_web(settings, preview=camera == film)  # nobody real is in it
            remark(f"dashboard: {sign_in(settings)}{'#preview' if settings.web.preview else ''}")
        timer = threading.Timer(seconds, stop.request, ("the demo's time is over",))
        with listening(settings.mqtt, topics.of_device(settings.mqtt.prefix, "+"), printer.show), stop_on_signals(stop):
            agent = _agent(settings, builder)
            timer.start()
            try:
                agent.run(stop)
            finally:
                timer.cancel()
    if printer.failure is not None:
        raise printer.failure
    if not printer.windows:
        raise DemoError("no summary arrived over MQTT; run 'edge-agent plugins list' to see what is missing")
    counts = ", ".join(f"{name} {count}" for name, count in printer.dominant.most_common())
    remark(f"{printer.windows} windows received: {counts}")


def _agent(settings: Settings, builder: PipelineBuilder) -> Agent:
    if not settings.web.enabled:
        return Agent(settings, builder)
    web = web_side(None, settings)
    return Agent(settings, builder, bus=EventBus(), companions=lambda *live: [web(*live)])


def _with_web(settings: Settings, *, preview: bool) -> Settings:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return settings.model_copy(update={"web": WebSettings(enabled=True, port=port, preview=preview)})


def _own(found: Settings, state: Path, port: int, camera: str, microphone: str, window: float, film: str) -> Settings:
    """Make the demo's settings: nothing in the environment may select a real device's state, broker or sinks."""
    return found.model_copy(
        update={
            "device": DeviceSettings(id="demo", state_dir=state, trust_clock=True),
            "camera": CameraSettings(source=camera, loop=camera == film),
            "microphone": MicrophoneSettings(source=microphone, loop=microphone == film),
            "mqtt": MqttSettings(host="127.0.0.1", port=port, protocol="3.1.1"),  # all that the embedded broker speaks
            "summary": found.summary.model_copy(update={"window_s": window}),
            # The demo's state is temporary; models are kept in the user's cache.
            "models": found.models.model_copy(update={"dir": found.models.dir or cache_dir()}),
            "commands": CommandSettings(),
            "home_assistant": HomeAssistantSettings(),
            "sinks": {},
            "web": WebSettings(),
        }
    )


class EmbeddedBroker:
    """An MQTT broker (amqtt, MQTT 3.1.1 only) on ``127.0.0.1:port`` for anonymous clients. Use as a context manager."""

    def __init__(self) -> None:
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> EmbeddedBroker:
        logging.getLogger("amqtt").setLevel(logging.ERROR)
        logging.getLogger("transitions").setLevel(logging.ERROR)
        self._thread.start()
        if not self._started.wait(START_WITHIN):
            raise BrokerError(f"the embedded broker did not start within {START_WITHIN:.0f} s")
        if self._failure is not None:
            raise BrokerError(f"the embedded broker did not start: {self._failure}") from self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - handed to the starting thread, which raises it
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        try:
            broker_class: Any = importlib.import_module("amqtt.broker").Broker
        except ImportError:
            raise BrokerError("the demo needs the extra 'demo': pip install 'edge-emotion-agent[demo]'") from None
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.port = _free_port()
        broker = broker_class(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await broker.start()
        self._started.set()
        await self._stop.wait()
        await broker.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
