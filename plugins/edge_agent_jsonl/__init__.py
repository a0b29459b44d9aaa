"""Sink plugin: every summary and event as a line of JSON in a local file, with rotation. Numbers only, no media."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edge_agent.plugin import Sink, SinkSpec, hookimpl
from edge_agent_jsonl.settings import JsonlSettings


@hookimpl
def edge_agent_register_sinks() -> Iterable[SinkSpec]:
    """The file sink."""
    return [SinkSpec(name="jsonl", summary="one JSON line per message", factory=_make, settings=JsonlSettings)]


def _make(settings: Any) -> Sink:
    from edge_agent_jsonl.files import JsonlSink

    return JsonlSink(settings.path, int(settings.max_mb * 1e6), settings.keep)
