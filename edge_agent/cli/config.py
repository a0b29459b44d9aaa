"""``edge-agent config``: check the config file, show the settings in effect, write a commented sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tomlkit
import typer

from edge_agent.app.builder import PipelineBuilder
from edge_agent.cli.common import ConfigOption, JsonOption, configuration, say
from edge_agent.cli.streams import emit, print_json
from edge_agent.domain.errors import ConfigError
from edge_agent.settings import ConfigText, Settings
from edge_agent.settings.reference import sample
from edge_agent.settings.secrets import shown_settings

app = typer.Typer(help="Check, show and write the config file.", no_args_is_help=True)


@app.command()
def check(config: ConfigOption = None) -> None:
    """Check the config file, the environment variables and the options of every plugin."""
    text, settings = configuration(config)
    PipelineBuilder(text, settings).check()
    say(f"{text.name}: ok")


@app.command()
def show(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Print the settings in effect, environment variables included. Possible secrets are masked."""
    text, settings = configuration(config)
    builder = PipelineBuilder(text, settings)
    tables = shown_settings(settings, builder.plugin_settings())
    if json:
        print_json(tables)
    else:
        emit(tomlkit.dumps(_without_none(tables)), end="")


@app.command()
def init(
    path: Annotated[Path | None, typer.Argument(help="File to write. Default: print it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a sample config file: every option with its default and description, commented out."""
    defaults = ConfigText("defaults", "")
    builder = PipelineBuilder(defaults, defaults.settings())
    analyzers = {name: type(model) for name, model in builder.plugins.analyzer_settings().items()}
    text = sample(Settings, analyzers, builder.device_tables())
    if path is None or str(path) == "-":
        emit(text, end="")
        return
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} exists; --force replaces it") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    say(f"wrote {path}; check it with 'edge-agent config check -c {path}'")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value
