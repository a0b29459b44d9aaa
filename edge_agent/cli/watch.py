"""``edge-agent watch``: what agents publish, live in the terminal, over MQTT from any machine."""

from __future__ import annotations

import json as json_module
import threading
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from edge_agent.cli.common import ConfigOption, JsonOption, configuration
from edge_agent.cli.lines import event_line, health_line, pacing_line, presence_line, summary_line
from edge_agent.cli.output import OutputError, emit, say, tell, to_json
from edge_agent.delivery import topics
from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.mqtt import listening
from edge_agent.runtime.logs import configure
from edge_agent.runtime.stop import Stop, stop_on_signals
from edge_agent.settings.mqtt import with_address


class _View:
    """Prints messages. ``why`` also those about pacing; ``limit`` stops after so many."""

    def __init__(self, *, json: bool, why: bool, limit: int | None, stop: Stop) -> None:
        self._json = json
        self._why = why
        self._left = limit
        self._stop = stop
        self._lock = threading.Lock()
        self._trouble = ""
        self.failure: OutputError | None = None
        """Why nothing can be shown any more."""

    def show(self, message: InboundMessage) -> None:
        parts = message.topic.split("/")
        device, kind = parts[-2], parts[-1]
        if parts[-2] in ("event", topics.BACKFILL):
            device, kind = parts[-3], "/".join(parts[-2:])
        text = message.payload.decode("utf-8", "replace")
        line = self._raw(message.topic, text) if self._json else self._line(kind, text)
        if line is None or self._stop.requested:
            return
        with self._lock:
            try:
                if self._json:
                    emit(line)
                else:
                    say((f"{device} {kind:18}", "dim"), f" {line}")
            except OutputError as error:  # raised on the subscriber's thread, where nobody would hear of it
                self.failure = error
                self._stop.request(str(error), failure=True)
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self._stop.request("seen enough")

    def trouble(self, reason: str) -> None:
        """Say why there is no connection, once for each reason."""
        with self._lock:
            if reason != self._trouble:
                self._trouble = reason
                tell(f"{reason}; trying again")

    def _raw(self, topic: str, text: str) -> str | None:
        if topic.endswith(f"/{topics.PACING}") and not self._why:
            return None
        try:
            payload = json_module.loads(text)
        except (ValueError, RecursionError):
            payload = text
        return to_json({"topic": topic, "payload": payload})

    def _line(self, kind: str, text: str) -> str | None:
        if kind == topics.STATUS:
            return text
        render = self._renderer(kind)
        if render is None:
            return None
        try:
            return render(json_module.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return f"not understood: {text[:200]}"

    def _renderer(self, kind: str) -> Callable[[Mapping[str, Any]], str] | None:
        if kind in (topics.SUMMARY, topics.backfill("summary")):
            return summary_line
        if kind.startswith("event/") or kind == topics.backfill("event"):
            return event_line
        if kind == topics.HEALTH:
            return health_line
        if kind == topics.PRESENCE:
            return presence_line
        return pacing_line if kind == topics.PACING and self._why else None


def watch(
    config: ConfigOption = None,
    device: Annotated[str, typer.Option("--device", help="Device to watch; + for all of the broker.")] = "+",
    host: Annotated[str | None, typer.Option("--host", help="Broker, instead of the config's.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="The broker's port.")] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Also why the camera is looked at (the device needs pacing.explain = true).")
    ] = False,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after this many messages.")] = None,
    json: JsonOption = False,
) -> None:
    """Show what agents publish, until Ctrl-C."""
    _, settings = configuration(config)
    configure("warning", "text")
    mqtt = with_address(settings.mqtt, host, port)
    topic_filter = topics.of_device(mqtt.prefix, device)
    stop = Stop()
    view = _View(json=json, why=why, limit=count, stop=stop)
    with stop_on_signals(stop), listening(mqtt, topic_filter, view.show, view.trouble):
        while not stop.wait(3600):
            pass
    if view.failure is not None:
        raise view.failure
