"""Options of the JSON Lines sink."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from edge_agent.plugin import SinkSettings


class JsonlSettings(SinkSettings):
    """Every message as a line of JSON in a local file."""

    path: Path = Field(
        default=Path("/var/lib/edge-agent/messages.jsonl"), description="The file; older ones have .1, .2 … behind."
    )
    max_mb: float = Field(default=10.0, ge=0.001, le=4096, description="Size at which the file is rotated, in MB.")
    keep: int = Field(default=5, ge=0, le=1000, description="How many older files are kept.")
