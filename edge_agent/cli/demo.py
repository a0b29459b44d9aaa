"""``edge-agent demo``: run the whole agent on this machine, without configuration.

Starts an embedded broker on a free loopback port, the demo camera and microphone, the real models, the dashboard, and
a subscriber that prints what arrives over MQTT. The state is kept in a temporary folder and removed at the end.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import socket
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder
from edge_agent.cli.common import pull_showing_progress, say
from edge_agent.cli.run import sign_in, web_side
from edge_agent.cli.streams import OutputError
from edge_agent.cli.watch import summary_line
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

START_WITHIN = 15.0
"""Seconds in which the embedded broker has to start."""


class DemoError(EdgeAgentError):
    """The demo received no summaries."""


class BrokerError(EdgeAgentError):
    """The embedded broker is not installed or does not start."""


class _Printer:
    """Print messages as they arrive, and count the dominant emotions of the windows."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
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
            if kind == "summary":
                summary = json.loads(text)
                emotion = summary["emotion"]
                self.dominant[emotion["dominant"] if emotion else "none"] += 1
                self._say((summary_line(summary), "bold"))
            self._say((topic, "dim"), f" {text}")

    def _say(self, *parts: str | tuple[str, str]) -> None:
        try:
            say(*parts)
        except OutputError as error:  # this is the subscriber's thread: hand it to the main thread
            self.failure = error
            self._stop.request(str(error), failure=True)


def demo(
    seconds: Annotated[float, typer.Option("--seconds", min=5, help="Seconds to run.")] = 60,
    window: Annotated[float, typer.Option("--window", min=1, help="Length of a summary window in seconds.")] = 5,
    camera: Annotated[str, typer.Option("--camera", help="As camera.source; 0 is the first webcam.")] = "demo",
    microphone: Annotated[str, typer.Option("--microphone", help="As microphone.source.")] = "demo",
    web: Annotated[bool, typer.Option(help="Serve the dashboard on a free local port.")] = True,
) -> None:
    """Try the agent without configuration: embedded broker, demo camera, real models, live summaries."""
    configure("warning", "text")
    parse_camera(camera), parse_microphone(microphone)
    stop = Stop()
    printer = _Printer(stop)
    with tempfile.TemporaryDirectory(prefix="edge-agent-demo-") as state, EmbeddedBroker() as broker:
        config = ConfigText("demo", "")
        settings = _own(config.settings(), Path(state), broker.port, camera, microphone, window)
        builder = PipelineBuilder(config, settings)
        builder.pull_missing(pull_showing_progress)
        builder.activate()
        say(f"broker on 127.0.0.1:{broker.port}; subscribed to edge-agent/#; {seconds:.0f} s")
        if web:
            settings = _with_web(settings)
            say(f"dashboard: {sign_in(settings)}")
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
    say(f"{printer.windows} windows received: {counts}")


def _agent(settings: Settings, builder: PipelineBuilder) -> Agent:
    if not settings.web.enabled:
        return Agent(settings, builder)
    web = web_side(None, settings)
    return Agent(settings, builder, bus=EventBus(), companions=lambda *live: [web(*live)])


def _with_web(settings: Settings) -> Settings:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return settings.model_copy(update={"web": WebSettings(enabled=True, port=port)})


def _own(found: Settings, state: Path, port: int, camera: str, microphone: str, window: float) -> Settings:
    """Make the demo's settings: nothing in the environment may select a real device's state, broker or sinks."""
    return found.model_copy(
        update={
            "device": DeviceSettings(id="demo", state_dir=state),
            "camera": CameraSettings(source=camera),
            "microphone": MicrophoneSettings(source=microphone),
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
