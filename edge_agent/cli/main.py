"""Register the commands, and turn expected errors into one line and an exit code.

Only the module of the command that was asked for is imported: a Raspberry Pi needs seconds to import them all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Annotated

import typer

from edge_agent import __version__
from edge_agent.cli.streams import OutputError, emit, give_up_output, prepare_streams
from edge_agent.domain.distribution import foreign_distribution
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.text import mask_addresses

EXIT_CODES = """Exit codes: 0 done, 1 failure, 2 bad usage or configuration, 3 media or device, 4 model, 5 plugin,
6 delivery, 7 another agent is running on the same state directory, 130 interrupted."""

COMMANDS: Mapping[str, str] = {
    "run": "Run the agent until SIGTERM or Ctrl-C. SIGHUP or a change of the config file reloads the config.",
    "setup": "Ask a few questions, try the devices and the broker, write the config, start the service if root.",
    "demo": "Try the agent without configuration: embedded broker, a film, real models, live summaries.",
    "analyze": "Analyse recordings offline. Nothing is sent; only the result is written.",
    "text": "Tell which emotions a text expresses. Nothing is sent or stored.",
    "watch": "Show what agents publish over MQTT, until Ctrl-C.",
    "doctor": "Check camera, microphone, models, broker, disk, clock, heat and permissions. Exit code 1: "
    "a check failed.",
    "bench": "Measure what each stage costs on this machine: processor time, histogram, allocations. Nothing is sent.",
    "models": "List, download, check and time the model files.",
    "plugins": "List analyzer, source and sink plugins, and make new ones.",
    "config": "Check, show and write the config file.",
    "outbox": "Show, export and delete messages that wait for delivery.",
    "people": "Enroll people who agreed to be recognised, and forget them.",
    "batch": "Queue recordings, and fetch what was found in them.",
    "fleet": "List many devices, command groups of them, compare their configs, retire them.",
    "custom": "Train, try and delete models of your own.",
}
"""Help of each command. Its module is ``edge_agent.cli.<command>``: the group ``app`` or the function of that name."""


def build(arguments: Sequence[str]) -> typer.Typer:
    """Make the command line; of the commands, only the one that ``arguments`` name can be run."""
    app = typer.Typer(
        name="edge-agent",
        help="Private, offline emotion sensing: camera and microphone in, compact MQTT summaries out.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain help: the styled one takes twice as long
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, text in COMMANDS.items():
        if name != wanted:
            app.command(name, help=text)(_not_imported)
            continue
        module = import_module(f"edge_agent.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app


def _not_imported() -> None:
    """Stand for a command that was not asked for, in the list of commands."""


def _version(wanted: bool) -> None:
    if wanted:
        emit(f"edge-agent {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version  # handled by its callback
    if (problem := foreign_distribution()) is not None:
        _tell("yellow", problem)


def main() -> None:
    """Run the command line; entry point of the console script."""
    run_as_program(_command)


def run_as_program(command: Callable[[], object], name: str = "edge-agent") -> None:
    """Run the command line ``command`` and exit: expected errors become one line, after ``name``, and an exit code."""
    prepare_streams()
    code = _run(command, name)
    # Writing what is still buffered may fail, too.
    sys.exit(_run(sys.stdout.flush, name) or code)


def _command() -> None:
    try:
        build(sys.argv[1:])()
    except ImportError:
        # An import that fails because another project overwrote this package has an explanation.
        if (problem := foreign_distribution()) is None:
            raise
        sys.exit(f"edge-agent: {problem}")


def _run(step: Callable[[], object], name: str) -> int | str | None:
    """Run ``step`` and return the exit code; print an expected error in one line."""
    try:
        step()
    except SystemExit as exit_:
        return exit_.code
    except OutputError as error:
        give_up_output()
        return error.exit_code if error.closed else _told(error, name)
    except EdgeAgentError as error:
        return _told(error, name)
    except KeyboardInterrupt:
        return 130
    return 0


def _told(error: EdgeAgentError, name: str) -> int:
    for text in str(error).splitlines() or [type(error).__name__]:
        _tell("red", mask_addresses(text), name)
    return error.exit_code


def _tell(colour: str, text: str, name: str = "edge-agent") -> None:
    from edge_agent.cli.common import tell  # imports the terminal library, which most starts do not need

    tell((f"{name}:", colour), f" {text}")
