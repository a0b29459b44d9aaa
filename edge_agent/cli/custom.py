"""``edge-agent custom``: train models of your own on labelled recordings or texts, try them, and look after them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge_agent.app.custom import Judge, custom_store, train_files
from edge_agent.cli.common import ConfigOption, JsonOption, configuration, pull_showing_progress, say, tell
from edge_agent.cli.streams import emit, print_json
from edge_agent.cli.terminal import positions, show
from edge_agent.custom.examples import Medium, Task
from edge_agent.custom.store import About
from edge_agent.domain.errors import EdgeAgentError, ModelError
from edge_agent.runtime.logs import configure

app = typer.Typer(help="Train, try and delete models of your own.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
VersionOption = Annotated[int | None, typer.Option("--version", min=1, help="Default: the newest.")]


@app.command()
def train(
    name: NameArgument,
    examples: Annotated[
        Path, typer.Argument(help="Folder LABEL/SOURCE/FILE, or a CSV file: file or text, label, source.")
    ],
    on: Annotated[Medium | None, typer.Option("--on", help="What to train on; films have faces and sound.")] = None,
    task: Annotated[Task | None, typer.Option("--task", help="Default: regression if labels are numbers.")] = None,
    accept_labels: Annotated[
        bool, typer.Option("--accept-labels", help="Labels that look like typing errors are meant.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Store the model even if it is not good.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Train a model on labelled examples and score it on sources it has not seen. Exit code 4: it is not good."""
    text, settings = configuration(config)
    configure("warning", "text")
    with positions(f"training {name}") as progress:
        trained = train_files(
            name,
            examples,
            text,
            settings,
            medium=on,
            task=task,
            accept_labels=accept_labels,
            keep=keep,
            progress=lambda done, of: progress(float(done), float(of)),
            pull=pull_showing_progress,
        )
    about = trained.model.about
    if json:
        print_json({**about.document(), "stored": trained.stored})
    else:
        _tell(about)
    if not about.scores.good:
        kept = f"stored as version {about.version} all the same" if trained.stored else "not stored (--keep stores it)"
        raise ModelError(f"custom model {name!r} is not good: {about.scores.reason}; {kept}")


@app.command("list")
def list_models(json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the models."""
    store = custom_store(configuration(config)[1])
    found: list[About] = []
    for name in store.names():
        try:
            found.append(store.load(name).about)
        except EdgeAgentError as error:  # the others are still of interest
            tell(("edge-agent:", "yellow"), f" {error}")
    if json:
        print_json([about.document() for about in found])
        return
    table = Table("model", "version", "on", "task", "score on unseen sources", "good", "trained")
    for about in found:
        score = f"{about.scores.score:.2f} (baseline {about.scores.baseline:.2f})"
        good = "yes" if about.scores.good else "no"
        table.add_row(about.name, str(about.version), about.medium, about.task, score, good, about.created)
    show(table)


@app.command("show")
def show_model(
    name: NameArgument, version: VersionOption = None, json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show what a model was trained on, and its scores."""
    store = custom_store(configuration(config)[1])
    about = store.load(name, version).about
    if json:
        print_json({**about.document(), "versions": list(store.versions(name))})
        return
    _tell(about)
    say(f"versions: {', '.join(map(str, store.versions(name)))}")


@app.command()
def delete(name: NameArgument, config: ConfigOption = None) -> None:
    """Delete a model with all its versions."""
    custom_store(configuration(config)[1]).delete(name)
    say(f"{name} is deleted")


@app.command("try")
def try_model(
    name: NameArgument,
    file: Annotated[Path | None, typer.Argument(help="A picture, film, sound or text file.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="Judge this text.")] = None,
    version: VersionOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Judge a file or a text by a model."""
    if (file is None) == (text is None):
        raise typer.BadParameter("name one file, or give --text")
    configured, settings = configuration(config)
    configure("warning", "text")
    model = custom_store(settings).load(name, version)
    with closing(Judge(configured, settings, pull_showing_progress)) as judge:
        answer = judge.file(model, file) if file is not None else judge.text(model, text or "")
    if not model.about.scores.good:
        tell(("edge-agent:", "yellow"), f" this model is not good: {model.about.scores.reason}")
    if json:
        print_json(answer)
        return
    for label, value in sorted(answer.items(), key=lambda item: -item[1]):
        emit(f"{label}: {value:.3f}")


def _tell(about: About) -> None:
    """Print a model's description."""
    scores = about.scores
    say(f"{about.name}, version {about.version}: {about.task} on {about.medium}, trained {about.created}")
    if about.labels:
        say(f"labels: {', '.join(about.labels)}")
    say(
        f"{scores.measure} on unseen sources {scores.score:.2f} (5th percentile {scores.low:.2f}, baseline "
        f"{scores.baseline:.2f}), {scores.examples} examples of {scores.sources} sources"
    )
    for name, value in scores.details.items():
        say(f"  {name}: {value:.2f}")
    for warning in about.warnings:
        say(f"warning: {warning}")
    say("good" if scores.good else f"not good: {scores.reason}")
