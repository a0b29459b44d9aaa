"""What the commands share: consoles, the config option, printing JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edge_agent.settings import ConfigText, Settings, default_path, read

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Config file. Default: $EDGE_AGENT_CONFIG, else /etc/edge-agent/config.toml if it is there.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def out() -> Console:
    """Standard output."""
    return Console()


def err() -> Console:
    """Standard error: progress and messages, so that stdout stays clean."""
    return Console(stderr=True)


def configuration(path: Path | None) -> tuple[ConfigText, Settings]:
    """The config text and the settings in it. Raises ConfigError."""
    config = read(path or default_path())
    return config, config.settings()


def print_json(value: Any) -> None:
    """One indented JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
