"""Sink plugin: every summary and event as a line of JSON in a local file, with rotation. Numbers only, no media."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from edge_agent.plugin import Sink, SinkSettings, SinkSpec, hookimpl


class JsonlSettings(SinkSettings):
    """Every message as a line of JSON in a local file."""

    path: Path = Field(
        default=Path("/var/lib/edge-agent/messages.jsonl"), description="The file; older ones have .1, .2 … behind."
    )
    max_mb: float = Field(default=10.0, ge=0.001, le=4096, description="Size at which the file is rotated, in MB.")
    keep: int = Field(default=5, ge=0, le=1000, description="How many older files are kept.")


@hookimpl
def edge_agent_register_sinks() -> Iterable[SinkSpec]:
    """Register the file sink."""
    return [SinkSpec(name="jsonl", summary="one JSON line per message", factory=_make, settings=JsonlSettings)]


def _make(settings: Any) -> Sink:
    from edge_agent_jsonl.files import JsonlSink

    return JsonlSink(settings.path, int(settings.max_mb * 1e6), settings.keep)
