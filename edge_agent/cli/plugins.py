"""``edge-agent plugins``: list the installed plugins with the status of each, and make a new one from a template."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from collections.abc import Mapping
from enum import Enum
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated

import typer
from rich.table import Table

from edge_agent import __version__
from edge_agent.cli.common import ConfigOption, JsonOption, configuration, say
from edge_agent.cli.streams import print_json
from edge_agent.cli.terminal import line, show
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.plugin.spec import PROJECT

app = typer.Typer(help="List analyzer, source and sink plugins, and make new ones.", no_args_is_help=True)

_COLOURS = {"enabled": "green", "disabled": "dim"}


@app.command("list")
def list_plugins(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Load all allowed plugins, run each analyzer once, and print the status of every plugin."""
    from edge_agent.app.builder import PipelineBuilder

    text, settings = configuration(config)
    builder = PipelineBuilder(text, settings)
    builder.activate(try_out=True)
    reports = builder.plugins.reports()
    builder.close()
    if json:
        print_json(
            [
                {
                    "name": r.name,
                    "plugin": r.plugin,
                    "kind": r.kind,
                    "status": r.status.value,
                    "detail": r.detail,
                    "where": r.where,
                    "distribution": r.distribution,
                }
                for r in reports
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "kind", "status", "from", "detail"):
        table.add_column(column, overflow="fold")
    for r in reports:
        colour = _COLOURS.get(r.status.value, "red")
        table.add_row(r.name, r.kind, line((r.status.value, colour)), r.distribution, r.told)
    show(table)


# ---------------------------------------------------------------------- a new plugin


class NewKind(Enum):
    """Kinds of plugin that there is a template for; what each does before its author changes it."""

    SCENE = "scene"
    FACE = "face"
    DETECTOR = "detector"
    AUDIO = "audio"
    SPEECH = "speech"
    TEXT = "text"
    SOURCE = "source"
    SINK = "sink"


_SUMMARIES: Mapping[NewKind, str] = {
    NewKind.SCENE: "Brightness of the picture, and when it gets dark or light.",
    NewKind.FACE: "How near faces are, and when somebody comes close.",
    NewKind.DETECTOR: "Finds a face by the colour of skin.",
    NewKind.AUDIO: "Level of the sound, and knocks.",
    NewKind.SPEECH: "Reads the tones of telephone keys as words.",
    NewKind.TEXT: "Counts the questions among what is said.",
    NewKind.SOURCE: "Camera that leaves its picture in a file.",
    NewKind.SINK: "Rows of an SQLite database.",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_LONGEST_NAME = 40


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name in the config: lower-case letters, digits and single underscores.")],
    kind: Annotated[NewKind, typer.Option("--kind", "-k", help="What it is given and gives back.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder to make. Default: ./edge-agent-NAME.", show_default=False)
    ] = None,
) -> None:
    """Make a package with a working plugin, its tests and its types, to change into your own."""
    check_name(name)
    target = folder or Path(_distribution(name))
    write_package(target, package_files(name, kind))
    say(f"{target} holds a working plugin of kind {kind.value}. Install and try it:")
    say(f"  pip install -e {target}")
    say(f"  add {name!r} to plugins.allow in the config, then: edge-agent plugins list")


def check_name(name: str) -> None:
    """Check that a new plugin may be called ``name``.

    Raises:
        typer.BadParameter: it cannot be a table of the config, or an installed plugin or module has it.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        fit = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_").lstrip("0123456789_")[:_LONGEST_NAME].strip("_")
        hint = f", such as {fit!r}" if fit else ""
        raise typer.BadParameter(
            f"{name!r} cannot be a plugin's name: use up to {_LONGEST_NAME} lower-case letters, digits and single "
            f"underscores, a letter first{hint}"
        )
    for entry_point in importlib.metadata.entry_points(group=PROJECT):
        if entry_point.name == name:
            by = f" by {entry_point.dist.name}" if entry_point.dist else ""
            raise typer.BadParameter(f"a plugin {name!r} is installed already{by}: choose another name")
    if find_spec(_package(name)) is not None:
        raise typer.BadParameter(f"a module {_package(name)!r} is installed already: choose another name")


def package_files(name: str, kind: NewKind) -> dict[str, str]:
    """Fill in the templates of ``kind``: text of each file by its path in the new folder."""
    templates = files("edge_agent.plugin") / "templates"
    values = {
        "name": name,
        "package": _package(name),
        "distribution": _distribution(name),
        "camel": "".join(part.capitalize() for part in name.split("_")),
        "kind": kind.value,
        "summary": _SUMMARIES[kind],
        "config": _config(name, kind),
        "version": ".".join(__version__.split(".")[:2]),
    }
    made = {
        "pyproject.toml": "pyproject.toml.tmpl",
        "README.md": "README.md.tmpl",
        f"{_package(name)}/__init__.py": f"{kind.value}/plugin.py.tmpl",
        f"tests/test_{name}.py": f"{kind.value}/test.py.tmpl",
    }
    texts = {path: (templates / source).read_text(encoding="utf-8") for path, source in made.items()}
    return {path: Template(text).substitute(values) for path, text in texts.items()} | {
        f"{_package(name)}/py.typed": ""
    }


def write_package(target: Path, contents: Mapping[str, str]) -> None:
    """Write ``contents`` into the new folder ``target``: all of it, or nothing.

    Raises:
        typer.BadParameter: there is such a file or folder.
        EdgeAgentError: it cannot be written.
    """
    try:
        target.mkdir(parents=True)
    except FileExistsError:
        raise typer.BadParameter(f"{target} exists already: choose another --folder, or remove it") from None
    except OSError as error:
        raise EdgeAgentError(f"cannot make {target}: {error.strerror}") from None
    try:
        for path, text in contents.items():
            (target / path).parent.mkdir(exist_ok=True)
            (target / path).write_text(text, encoding="utf-8")
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise EdgeAgentError(f"cannot write {target}: {error.strerror}") from None


def _config(name: str, kind: NewKind) -> str:
    if kind is NewKind.SOURCE:
        return f'[plugins]\nallow = ["face", "emotion", "{name}"]\n\n[camera]\nsource = "plugin:{name}"'
    table = "sinks" if kind is NewKind.SINK else "analyzers"
    return f'[plugins]\nallow = ["face", "emotion", "{name}"]\n\n[{table}.{name}]\nenabled = true'


def _package(name: str) -> str:
    return f"edge_agent_{name}"


def _distribution(name: str) -> str:
    return f"edge-agent-{name.replace('_', '-')}"
