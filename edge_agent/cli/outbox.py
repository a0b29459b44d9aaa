"""``edge-agent outbox``: show, export and delete messages that wait for delivery, and dead letters.

Reading works while the agent runs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge_agent.cli.common import ConfigOption, JsonOption, configuration, say, tell
from edge_agent.cli.streams import emit, print_json, to_json
from edge_agent.cli.terminal import show
from edge_agent.delivery.outbox import directory
from edge_agent.delivery.service import outbox_folder

app = typer.Typer(help="Show, export and delete messages that wait for delivery.", no_args_is_help=True)

DeadOption = Annotated[bool, typer.Option("--dead", help="Dead letters only: messages the broker refused for good.")]


@app.command()
def stats(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Print the counters, the pending messages, and the gaps in what was delivered."""
    figures = directory.figures(_folder(config))
    if json:
        print_json(figures)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name in ("produced", "acked", "pending", "merged_away", "dropped", "dead_lettered"):
        table.add_row(name.replace("_", " "), str(figures[name]))
    if figures["pending"]:
        table.add_row("reaches from", f"{_time(figures['oldest'])} to {_time(figures['newest'])}")
    table.add_row("size", f"{figures['bytes'] / 1e6:.1f} MB")
    if figures["salvages"]:
        table.add_row("salvages", str(figures["salvages"]))
    show(table)
    for gap in figures["gaps"]:
        say(f"gap: {gap['count']} messages, {gap['reason']}{_span(gap)}")


@app.command()
def export(config: ConfigOption = None, dead: DeadOption = False) -> None:
    """Print all messages that wait for delivery, oldest first, one JSON object per line. Nothing is deleted."""
    for record in directory.export(_folder(config), dead=dead):
        emit(to_json(record))


@app.command()
def purge(
    config: ConfigOption = None,
    dead: DeadOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete messages that wait for delivery (counted as dropped) and dead letters. Stop the agent first."""
    folder = _folder(config)
    if not yes:
        waiting = directory.figures(folder)
        what = f"{waiting['dead_letters']} dead letters"
        if not dead:
            what = f"{waiting['pending']} messages that were never delivered, and {what}"
        typer.confirm(f"Delete {what}?", abort=True, err=True)
    letters, rows = directory.purge(folder, dead_only=dead)
    if json:
        print_json({"dead_letters": letters, "dropped": rows})
    else:
        tell(f"deleted {rows} messages and {letters} dead letters")


def _folder(config: Path | None) -> Path:
    return outbox_folder(configuration(config)[1])


def _time(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(gap: dict[str, Any]) -> str:
    return f", {_time(gap['start'])} to {_time(gap['end'])}" if gap["end"] else ""
