"""Assembles the command line and turns expected errors into one line and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markup import escape

from edge_agent import __version__
from edge_agent.cli import analyze, config, demo, doctor, models, outbox, plugins, run, watch
from edge_agent.cli.common import err
from edge_agent.domain.distribution import foreign_distribution
from edge_agent.domain.errors import EdgeAgentError

EXIT_CODES = """Exit codes: 0 done, 1 failure, 2 bad usage or configuration, 3 media or device, 4 model, 5 plugin,
6 delivery, 7 another agent is running on the same state directory, 130 interrupted."""

app = typer.Typer(
    name="edge-agent",
    help="Private, offline emotion sensing: camera and microphone in, compact MQTT summaries out.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("analyze")(analyze.analyze)
app.command("watch")(watch.watch)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(plugins.app, name="plugins")
app.add_typer(config.app, name="config")
app.add_typer(outbox.app, name="outbox")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-agent {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version  # handled by its callback
    if (problem := foreign_distribution()) is not None:
        err().print(f"[yellow]edge-agent:[/yellow] {escape(problem)}", soft_wrap=True, highlight=False)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except EdgeAgentError as error:
        for line in str(error).splitlines() or [type(error).__name__]:
            err().print(f"[red]edge-agent:[/red] {escape(line)}", soft_wrap=True, highlight=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
