"""``edge-agent watch``: show what agents publish, live in the terminal, over MQTT from any machine."""

from __future__ import annotations

import json as json_module
import threading
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from edge_agent.cli.common import ConfigOption, JsonOption, configuration, say, tell
from edge_agent.cli.streams import OutputError, emit, to_json
from edge_agent.delivery import topics
from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.mqtt import listening
from edge_agent.runtime.lifecycle import Stop, stop_on_signals
from edge_agent.runtime.logs import configure
from edge_agent.settings.mqtt import with_address


def summary_line(summary: Mapping[str, Any]) -> str:
    """Format a summary: people, emotion, sounds, quality flags."""
    emotion, mean = summary["emotion"], summary["faces"]["mean"]
    unknown = summary.get("unknown", {})
    parts = [f"faces unknown ({_reasons(unknown.get('people', {}))})" if mean is None else f"{mean:.1f} faces"]
    if emotion is None and "withheld" in summary:
        parts.append("withheld: too few people")
    elif emotion is None:
        parts += [] if mean is None else ["not enough evidence for an emotion"]
    else:
        parts.append(f"{emotion['dominant']} {emotion['p'][emotion['dominant']]:.2f}")
        parts.append(f"valence {emotion['valence']:+.2f}")
    parts += [f"{burst['label']} x{burst['count']}" for burst in summary["bursts"]]
    if "dominant" in summary.get("language", {}):
        said = summary["language"]
        parts.append(f"words {said['dominant']} {said['p'][said['dominant']]:.2f} ({said['utterances']} said)")
    if "arousal" in summary.get("voice", {}):
        parts.append(f"arousal {summary['voice']['arousal']:+.2f}")
    unheard = unknown.get("sounds", {})
    if unheard and "none" not in unheard:
        parts.append(f"sounds unknown ({_reasons(unheard)})")
    parts += summary["quality"]["flags"]
    return ", ".join(parts)


def _reasons(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{why} {time:.0f} s" for why, time in seconds.items()) or "no reason given"


def presence_line(presence: Mapping[str, Any]) -> str:
    """Format how many people are in view, or why that is unknown."""
    return f"unknown: {presence['unknown']}" if presence["count"] is None else f"{presence['count']} in view"


def event_line(event: Mapping[str, Any]) -> str:
    """Format an event: kind, label or what was said, score, duration."""
    if "text" in event:
        return f"{event['kind']}: {event['text']!r} ({event['seconds']:.1f} s)"
    return f"{event['kind']}: {event['label']} ({event['score']:.2f}, {event['seconds']:.1f} s)"


def health_line(health: Mapping[str, Any]) -> str:
    """Format problems, sources without data and why, and notices; ``all well`` when there are none."""
    sources = health.get("sources", {}).items()
    quiet = [f"{name}: {why}" for name, source in sources if (why := source.get("unknown"))]
    return "; ".join([*health["problems"], *quiet, *health.get("notices", ())]) or "all well"


def pacing_line(pacing: Mapping[str, Any]) -> str:
    """Format the reasons for the current analysis rate."""
    search = "searched" if pacing["searched"] else "not searched"
    readings = (
        f"; read {pacing['read']} of {pacing['faces']}: {', '.join(pacing['readings'])}" if pacing["faces"] else ""
    )
    rate = f"next look in {pacing['next_look_s']:.2f} s ({pacing['pace']}, {pacing['limit']})"
    return f"{search}: {pacing['search']}{readings}; {rate}"


def message_line(kind: str, text: str) -> str | None:
    """Format the payload ``text`` of a message of ``kind`` (its topic below the device's); None: not for people."""
    if kind == topics.STATUS:
        return text
    render = _renderer(kind)
    if render is None:
        return None
    try:
        return render(json_module.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"not understood: {text[:200]}"


def _renderer(kind: str) -> Callable[[Mapping[str, Any]], str] | None:
    if kind in (topics.SUMMARY, topics.backfill("summary")):
        return summary_line
    if kind.startswith("event/") or kind == topics.backfill("event"):
        return event_line
    known = {topics.HEALTH: health_line, topics.PRESENCE: presence_line, topics.PACING: pacing_line}
    return known.get(kind)


def message_json(topic: str, text: str) -> str:
    """Format a message for programs; a payload that is not JSON becomes a string."""
    try:
        payload = json_module.loads(text)
    except (ValueError, RecursionError):
        payload = text
    return to_json({"topic": topic, "payload": payload})


class _View:
    """Print messages. ``why``: pacing messages, too; ``limit``: stop after this many."""

    def __init__(self, *, json: bool, why: bool, limit: int | None, stop: Stop) -> None:
        self._json = json
        self._why = why
        self._left = limit
        self._stop = stop
        self._lock = threading.Lock()
        self._trouble = ""
        self.failure: OutputError | None = None
        """Why printing failed; None while it works."""

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
            except OutputError as error:  # this is the subscriber's thread: hand it to the main thread
                self.failure = error
                self._stop.request(str(error), failure=True)
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self._stop.request("seen enough")

    def trouble(self, reason: str) -> None:
        """Print why there is no connection, once per reason."""
        with self._lock:
            if reason != self._trouble:
                self._trouble = reason
                tell(f"{reason}; trying again")

    def _raw(self, topic: str, text: str) -> str | None:
        return None if topic.endswith(f"/{topics.PACING}") and not self._why else message_json(topic, text)

    def _line(self, kind: str, text: str) -> str | None:
        return None if kind == topics.PACING and not self._why else message_line(kind, text)


def watch(
    config: ConfigOption = None,
    device: Annotated[str, typer.Option("--device", help="Device to watch; +: all devices.")] = "+",
    host: Annotated[str | None, typer.Option("--host", help="Host of the broker. Default: mqtt.host.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the broker. Default: mqtt.port.")] = None,
    why: Annotated[
        bool,
        typer.Option("--why", help="Also show why the analysis rate changes (needs pacing.explain = true)."),
    ] = False,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after this many messages.")] = None,
    json: JsonOption = False,
) -> None:
    """Show what agents publish over MQTT, until Ctrl-C."""
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
