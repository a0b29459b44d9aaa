"""``edge-agent plugins``: list the installed plugins and the status of each."""

from __future__ import annotations

import typer
from rich.table import Table

from edge_agent.app.builder import PipelineBuilder
from edge_agent.cli.common import ConfigOption, JsonOption, configuration, line, show
from edge_agent.cli.streams import print_json

app = typer.Typer(help="List analyzer, source and sink plugins.", no_args_is_help=True)

_COLOURS = {"enabled": "green", "disabled": "dim"}


@app.command("list")
def list_plugins(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Load all allowed plugins, run each analyzer once, and print the status of every plugin."""
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
