"""Register the commands, and turn expected errors into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from edge_agent import __version__
from edge_agent.cli import analyze, config, demo, doctor, models, outbox, plugins, run, watch
from edge_agent.cli.common import OutputError, emit, give_up_output, prepare_streams, tell
from edge_agent.domain.distribution import foreign_distribution
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.text import mask_addresses

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
        emit(f"edge-agent {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version  # handled by its callback
    if (problem := foreign_distribution()) is not None:
        tell(("edge-agent:", "yellow"), f" {problem}")


def main() -> None:
    """Run the command line; entry point of the console script."""
    prepare_streams()
    code = _run(app)
    # Writing what is still buffered may fail, too.
    sys.exit(_run(sys.stdout.flush) or code)


def _run(step: Callable[[], object]) -> int | str | None:
    """Run ``step`` and return the exit code; print an expected error in one line."""
    try:
        step()
    except SystemExit as exit_:
        return exit_.code
    except OutputError as error:
        give_up_output()
        return error.exit_code if error.closed else _told(error)
    except EdgeAgentError as error:
        return _told(error)
    except KeyboardInterrupt:
        return 130
    return 0


def _told(error: EdgeAgentError) -> int:
    for text in str(error).splitlines() or [type(error).__name__]:
        tell(("edge-agent:", "red"), f" {mask_addresses(text)}")
    return error.exit_code
