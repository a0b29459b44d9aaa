"""``edge-agent doctor``: check this installation and print what to do about each problem."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from edge_agent.cli.common import ConfigOption, JsonOption, say
from edge_agent.cli.streams import print_json
from edge_agent.cli.terminal import show
from edge_agent.domain.text import printable
from edge_agent.settings import default_path

if TYPE_CHECKING:
    from edge_agent.doctor import CheckResult

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    config: ConfigOption = None,
    json: JsonOption = False,
    devices: Annotated[bool, typer.Option(help="Open the camera and the microphone for two seconds each.")] = True,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="FILE", help="Write a support bundle (tar.gz), too: no secrets, no media."),
    ] = None,
) -> None:
    """Check camera, microphone, models, broker, disk, clock, heat and permissions. Exit code 1: a check failed."""
    from edge_agent.doctor import CheckStatus, documents, examine, worst, write_bundle  # slow to import

    found = examine(config or default_path(), try_devices=devices)
    if bundle is not None:
        write_bundle(bundle, documents(found.settings, found.results), found.redactor)
    if json:
        print_json({"status": worst(found.results).value, "checks": [result.as_dict() for result in found.results]})
    else:
        show(table_of(found.results))
        if bundle is not None:
            say(f"wrote {bundle}; look through it before you send it")
    if worst(found.results) is CheckStatus.FAIL:
        raise typer.Exit(1)


def table_of(results: tuple[CheckResult, ...]) -> Table:
    """Make a table of check results, each with its remedy."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for result in results:
        detail = Text(printable(result.detail))
        if result.remedy:
            detail.append(printable(f"\n→ {result.remedy}"), style="bold")
        table.add_row(Text(result.status.value, style=_STYLES[result.status.value]), result.name, detail)
    return table
