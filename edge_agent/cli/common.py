"""What the commands share: the config option and what it leads to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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


def configuration(path: Path | None) -> tuple[ConfigText, Settings]:
    """The config text and the settings in it. Raises ConfigError."""
    config = read(path or default_path())
    return config, config.settings()
