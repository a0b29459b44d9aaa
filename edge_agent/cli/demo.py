"""``edge-agent demo``: the whole product on this machine, with nothing configured.

An embedded broker on a free loopback port, the demo camera and microphone, the real models, the dashboard, and a
subscriber that prints what arrives over MQTT. State lives in a temporary folder and is gone afterwards.
"""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.app import Agent, PipelineBuilder
from edge_agent.cli.broker import EmbeddedBroker
from edge_agent.cli.lines import summary_line
from edge_agent.cli.output import OutputError, say
from edge_agent.cli.progress import pull_showing_progress
from edge_agent.cli.side import sign_in, web_side
from edge_agent.delivery import topics
from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.mqtt import listening
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.live.bus import EventBus
from edge_agent.models import cache_dir
from edge_agent.runtime.logs import configure
from edge_agent.runtime.stop import Stop, stop_on_signals
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


class DemoError(EdgeAgentError):
    """The demonstration did not show what it should."""


class _Printer:
    """Prints messages as they arrive and remembers what the windows said."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self.failure: OutputError | None = None
        """Why nothing can be shown any more."""
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
        except OutputError as error:  # raised on the subscriber's thread, where nobody would hear of it
            self.failure = error
            self._stop.request(str(error), failure=True)


def demo(
    seconds: Annotated[float, typer.Option("--seconds", min=5, help="How long to run.")] = 60,
    window: Annotated[float, typer.Option("--window", min=1, help="Length of a summary window in seconds.")] = 5,
    camera: Annotated[str, typer.Option("--camera", help="As camera.source, e.g. 0 for the first webcam.")] = "demo",
    microphone: Annotated[str, typer.Option("--microphone", help="As microphone.source.")] = "demo",
    web: Annotated[bool, typer.Option(help="Serve the dashboard on a free port of this machine.")] = True,
) -> None:
    """Run everything here for a while: embedded broker, demo camera, real models, live summaries."""
    configure("warning", "text")
    parse_camera(camera), parse_microphone(microphone)
    stop = Stop()
    printer = _Printer(stop)
    with tempfile.TemporaryDirectory(prefix="edge-agent-demo-") as state, EmbeddedBroker() as broker:
        config = ConfigText("demo", "")
        settings = _own(config.settings(), Path(state), broker.port, camera, microphone, window)
        assembly = PipelineBuilder(config, settings)
        assembly.pull_missing(pull_showing_progress)
        assembly.activate()
        say(f"broker on 127.0.0.1:{broker.port}; subscribed to edge-agent/#; {seconds:.0f} s")
        if web:
            settings = _with_web(settings)
            say(f"dashboard: {sign_in(settings)}")
        timer = threading.Timer(seconds, stop.request, ("the demo's time is over",))
        with listening(settings.mqtt, topics.of_device(settings.mqtt.prefix, "+"), printer.show), stop_on_signals(stop):
            agent = _agent(settings, assembly)
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


def _agent(settings: Settings, assembly: PipelineBuilder) -> Agent:
    if not settings.web.enabled:
        return Agent(settings, assembly)
    web = web_side(None, settings)
    return Agent(settings, assembly, board=EventBus(), companions=lambda agent: [web(agent)])


def _with_web(settings: Settings) -> Settings:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return settings.model_copy(update={"web": WebSettings(enabled=True, port=port)})


def _own(found: Settings, state: Path, port: int, camera: str, microphone: str, window: float) -> Settings:
    """Settings of the demo alone: nothing in the environment may lead it to a real device's state, broker or sinks."""
    return found.model_copy(
        update={
            "device": DeviceSettings(id="demo", state_dir=state),
            "camera": CameraSettings(source=camera),
            "microphone": MicrophoneSettings(source=microphone),
            "mqtt": MqttSettings(host="127.0.0.1", port=port, protocol="3.1.1"),  # all that the embedded broker speaks
            "summary": found.summary.model_copy(update={"window_s": window}),
            # The demo's state is thrown away, its models are not: they belong into the user's cache.
            "models": found.models.model_copy(update={"dir": found.models.dir or cache_dir()}),
            "commands": CommandSettings(),
            "home_assistant": HomeAssistantSettings(),
            "sinks": {},
            "web": WebSettings(),
        }
    )
