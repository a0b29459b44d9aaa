"""``edge-agent text``: which emotions a text expresses, sentence by sentence; also text files for ``analyze``."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge_agent.app.builder import PipelineBuilder
from edge_agent.app.offline import TextAnalysis, UtteranceRow, analyze_text
from edge_agent.cli.common import ConfigOption, JsonOption, configuration, pull_showing_progress
from edge_agent.cli.streams import emit, print_json, to_json
from edge_agent.cli.terminal import out
from edge_agent.domain.errors import MediaError
from edge_agent.domain.observation import LANGUAGE_EMOTIONS
from edge_agent.domain.summary import FEW, NAMED
from edge_agent.domain.text import printable
from edge_agent.plugin.spec import Kind
from edge_agent.runtime.logs import configure
from edge_agent.settings import ConfigText, Settings

SUFFIXES = (".txt", ".text", ".md")
"""Endings of the names of text files."""

MOST_BYTES = 16_000_000
"""Size of the largest text that is read."""

_CSV_HEAD = ("source", "sentence", "text", "unknown", *LANGUAGE_EMOTIONS)


def text(
    words: Annotated[str, typer.Argument(help="The text; -: read standard input.", show_default=False)],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Tell which emotions a text expresses. Nothing is sent or stored."""
    settings_text, settings = configuration(config)
    configure("warning", "text")
    given = _decoded(sys.stdin.buffer.read(MOST_BYTES + 1), "standard input") if words == "-" else words
    (found,) = run([("text", given)], settings_text, settings)
    if json:
        print_json(document(found))
    else:
        show(found, out())


def read(path: Path) -> str:
    """Read a text file. Raises MediaError."""
    try:
        with path.open("rb") as file:
            return _decoded(file.read(MOST_BYTES + 1), str(path))
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from error


def _decoded(data: bytes, name: str) -> str:
    if len(data) > MOST_BYTES:
        raise MediaError(f"{name}: larger than {MOST_BYTES // 1_000_000} MB: split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MediaError(f"{name}: no UTF-8 text: byte {error.start} is not valid; convert it first") from None


def run(texts: Sequence[tuple[str, str]], config: ConfigText, settings: Settings) -> list[TextAnalysis]:
    """Analyse named texts with the analyzers of text alone. Raises ModelError and PluginError."""
    builder = PipelineBuilder(config, settings, kinds={kind: kind is Kind.TEXT for kind in Kind})
    builder.pull_missing(pull_showing_progress)
    builder.require_models()
    builder.activate()
    try:
        builder.require(Kind.TEXT)
        return [analyze_text(words, builder, name) for name, words in texts]
    finally:
        builder.close()


def files(paths: Sequence[Path], form: str, config: ConfigText, settings: Settings) -> None:
    """Analyse text files and print them as ``table``, ``json``, ``jsonl`` or ``csv``."""
    found = run([(str(path), read(path)) for path in paths], config, settings)
    if form == "json":
        documents = [document(analysis) for analysis in found]
        print_json(documents if len(found) > 1 else documents[0])
    elif form == "jsonl":
        for line in (line for analysis in found for line in _json_lines(analysis)):
            emit(line)
    elif form == "csv":
        emit(_csv(found), end="")
    else:
        for analysis in found:
            out().rule(analysis.source)
            show(analysis, out())


def document(analysis: TextAnalysis) -> dict[str, Any]:
    """Make ``{"source", "emotions", "sentences"}``, with probabilities of all 28 classes."""
    return {
        "source": analysis.source,
        "emotions": _rounded(analysis.emotions),
        "sentences": [row_document(row, timed=False) for row in analysis.sentences],
    }


def row_document(row: UtteranceRow, *, timed: bool = True) -> dict[str, Any]:
    """Make ``{"start", "end", "text", "confidence", "emotions", "unknown"}``; what is not known is left out."""
    told: dict[str, Any] = {"start": round(row.start, 3), "end": round(row.end, 3)} if timed else {}
    told["text"] = row.text
    if row.confidence is not None:
        told["confidence"] = round(row.confidence, 3)
    if row.emotions is not None:
        told["emotions"] = _rounded(row.emotions)
    return told | ({"unknown": row.unknown} if row.unknown else {})


def dominant(emotions: Mapping[str, float]) -> str:
    """Name the most probable class and others that stand out, ``joy 0.81, love 0.34``."""
    order = sorted(emotions.items(), key=lambda item: -item[1])
    named = [(name, p) for n, (name, p) in enumerate(order) if n == 0 or (p >= NAMED and name != "neutral")]
    return ", ".join(f"{name} {p:.2f}" for name, p in named[:FEW])


def told(row: UtteranceRow) -> str:
    """Name what a row expresses, or why that is unknown."""
    return dominant(row.emotions) if row.emotions else f"cannot tell: {row.unknown.replace('_', ' ') or 'no analyzer'}"


def show(analysis: TextAnalysis, console: Console) -> None:
    """Print each sentence with its emotions, and the mean."""
    table = Table(box=None, pad_edge=False)
    table.add_column("emotions")
    table.add_column("sentence")
    for row in analysis.sentences:
        table.add_row(told(row), row.text)
    console.print(table)
    if len(analysis.sentences) > 1 and analysis.emotions:
        console.print(f"all: {dominant(analysis.emotions)}")


def _json_lines(analysis: TextAnalysis) -> Iterator[str]:
    whole = document(analysis)
    source = {"source": whole["source"]}
    for row in whole["sentences"]:
        yield to_json({"type": "sentence", **source, **row})
    yield to_json({"type": "text", **source, "emotions": whole["emotions"]})


def _csv(analyses: Sequence[TextAnalysis]) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(_CSV_HEAD)
    for analysis in analyses:
        for number, row in enumerate(analysis.sentences, 1):
            p = [round(row.emotions[name], 4) for name in LANGUAGE_EMOTIONS] if row.emotions else [""] * 28
            writer.writerow((printable(analysis.source), number, printable(row.text), row.unknown, *p))
    return lines.getvalue()


def _rounded(emotions: Mapping[str, float]) -> dict[str, float]:
    return {name: round(p, 3) for name, p in emotions.items()}
