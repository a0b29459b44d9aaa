"""``edge-agent analyze``: recordings in, the same summaries and events out that the daemon would publish."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge_agent.app import Analysis, Assembly
from edge_agent.app import analyze as analyze_file
from edge_agent.app.recording import DEFAULT_FPS, EVERY_FRAME
from edge_agent.capture import read_media
from edge_agent.cli import results
from edge_agent.cli.common import ConfigOption, configuration, err
from edge_agent.cli.progress import positions, pull_showing_progress
from edge_agent.cli.report import page
from edge_agent.domain.errors import MediaError
from edge_agent.runtime.logs import configure


class Format(Enum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


def analyze(
    files: Annotated[list[Path], typer.Argument(help="Videos, sound files or pictures.", show_default=False)],
    form: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Default: table on a terminal, else json.", show_default=False),
    ] = None,
    fps: Annotated[
        float, typer.Option("--fps", min=0.1, help="Analysed frames per second; 0.1 or more.")
    ] = DEFAULT_FPS,
    every_frame: Annotated[bool, typer.Option("--every-frame", help="Look at every frame.")] = False,
    window: Annotated[
        float | None, typer.Option("--window", min=1, help="Window length in seconds. Default: the config's.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page with timelines; then --format alone prints.", show_default=False),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Analyze recordings offline; nothing is sent, nothing but the result is written."""
    if html is not None and not html.absolute().parent.is_dir():
        raise typer.BadParameter(f"{html.parent} is no folder: make it first", param_hint="--html")
    text, settings = configuration(config)
    if window is not None:
        settings = settings.model_copy(update={"summary": settings.summary.model_copy(update={"window_s": window})})
    configure("warning", "text")
    if html is None:
        form = form or (Format.TABLE if sys.stdout.isatty() else Format.JSON)
    rate = EVERY_FRAME if every_frame else fps
    for path in files:  # fail before a long run rather than in the middle of it
        read_media(path)
    done: list[Analysis] = []
    for path in files:
        # Analyzers keep state between calls, so every recording gets fresh ones.
        assembly = Assembly(text, settings, recorded=True)
        assembly.pull_missing(pull_showing_progress)
        assembly.require_models()  # an answer without them would say that nobody was there
        assembly.activate()
        try:
            with positions(path.name) as progress:
                done.append(analyze_file(path, assembly, rate, progress, settings.microphone.channel))
        finally:
            assembly.close()
    if form is not None:
        _print(form, done, settings.device.id)
    if html is not None:
        _write(html, done)


def _write(path: Path, done: list[Analysis]) -> None:
    try:
        path.write_text(page(done), encoding="utf-8")
    except OSError as error:
        raise MediaError(f"{path}: the report cannot be written: {error.strerror}") from error
    err().print(f"{path}: written", highlight=False, soft_wrap=True)


def _print(form: Format, done: list[Analysis], device: str) -> None:
    if form is Format.JSON:
        documents = [results.document(a, device) for a in done]
        typer.echo(results.to_json(documents[0] if len(documents) == 1 else documents))
    elif form is Format.JSONL:
        for analysis in done:
            for line in results.lines(analysis, device):
                typer.echo(line)
    elif form is Format.CSV:
        typer.echo(results.to_csv(done), nl=False)
    else:
        console = Console()
        for analysis in done:
            results.show(analysis, console)
