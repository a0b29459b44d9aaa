"""``edge-agent analyze``: recordings in, the same summaries and events out that the daemon would publish."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.app import Analysis, PipelineBuilder
from edge_agent.app import analyze as analyze_file
from edge_agent.app.offline import DEFAULT_FPS, EVERY_FRAME
from edge_agent.capture import read_media
from edge_agent.cli import results
from edge_agent.cli.common import ConfigOption, configuration
from edge_agent.cli.output import emit, out, print_json, tell
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
    failures: list[MediaError] = []
    try:
        for path in files:
            try:
                found = _one(path, PipelineBuilder(text, settings, recorded=True), rate)
            except MediaError as error:  # one damaged file does not cost the others' results
                failures.append(error)
                continue
            done.append(found)
            if form is Format.JSONL:
                _print(form, [found], settings.device.id)
    finally:  # also after Ctrl-C: minutes of work are not lost
        if done:
            _hand_over(done, form, html, settings.device.id, several=len(files) > 1)
    if failures:
        raise MediaError("\n".join(map(str, failures)))


def _one(path: Path, assembly: PipelineBuilder, rate: float) -> Analysis:
    """The analysis of one recording. Analyzers keep state between calls, so every recording gets fresh ones."""
    assembly.pull_missing(pull_showing_progress)
    assembly.require_models()  # an answer without them would say that nobody was there
    assembly.activate()
    try:
        with positions(path.name) as progress:
            return analyze_file(path, assembly, rate, progress, assembly.settings.microphone.channel)
    finally:
        assembly.close()


def _hand_over(done: list[Analysis], form: Format | None, html: Path | None, device: str, *, several: bool) -> None:
    """The report, then what is printed; a report that cannot be written is printed as JSON instead of being lost."""
    problem = None
    if html is not None:
        try:
            _write(html, done)
        except MediaError as error:
            problem, form = error, form or Format.JSON
    if form is not None and form is not Format.JSONL:
        _print(form, done, device, several=several)
    if problem is not None:
        raise problem


def _write(path: Path, done: list[Analysis]) -> None:
    try:
        path.write_text(page(done), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise MediaError(f"{path}: the report cannot be written: {error.strerror}") from error
    tell(f"{path}: written")


def _print(form: Format, done: list[Analysis], device: str, *, several: bool = False) -> None:
    if form is Format.JSON:
        documents = [results.document(a, device) for a in done]
        print_json(documents if several else documents[0])
    elif form is Format.JSONL:
        for analysis in done:
            for line in results.lines(analysis, device):
                emit(line)
    elif form is Format.CSV:
        emit(results.to_csv(done), end="")
    else:
        for analysis in done:
            results.show(analysis, out())
