"""Options and one-line messages shared by the commands.

Results go to standard output, messages and progress to standard error. The terminal library is imported only to colour
a line or to draw a bar: it costs a short command more than the command itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.streams import emit
from edge_agent.domain.text import printable
from edge_agent.settings import ConfigText, Settings, default_path, read

if TYPE_CHECKING:
    from edge_agent.models import ModelStore, Pulled

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Config file. Default: $EDGE_AGENT_CONFIG, else /etc/edge-agent/config.toml if it exists.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def configuration(path: Path | None) -> tuple[ConfigText, Settings]:
    """Read the config file and the settings in it. Raises ConfigError."""
    config = read(path or default_path())
    return config, config.settings()


def say(*parts: str | tuple[str, str]) -> None:
    """Print one line of texts and (text, style) pairs on standard output, never wrapped."""
    plain = [part for part in parts if isinstance(part, str)]
    if len(plain) == len(parts):
        emit("".join(printable(part, lines=False) for part in plain))
        return
    from edge_agent.cli import terminal

    terminal.out().print(terminal.line(*parts), soft_wrap=True)


def tell(*parts: str | tuple[str, str]) -> None:
    """Print one line of texts and (text, style) pairs on standard error, never wrapped."""
    from edge_agent.cli import terminal

    terminal.err().print(terminal.line(*parts), soft_wrap=True)


def pull_showing_progress(
    store: ModelStore, names: Sequence[str], source_dir: Path | None = None
) -> tuple[Pulled, ...]:
    """Pull models, with progress bars if standard error is a terminal."""
    if not sys.stderr.isatty():
        return store.pull(names, source_dir)
    from edge_agent.cli import terminal

    return terminal.pull(store, names, source_dir)
