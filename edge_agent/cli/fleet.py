"""``edge-agent fleet``: list many devices, command groups of them, compare their configs, and retire them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_agent.cli.common import ConfigOption, JsonOption, configuration, say, tell
from edge_agent.cli.streams import print_json
from edge_agent.delivery import topics
from edge_agent.domain.errors import ConfigError
from edge_agent.domain.text import printable
from edge_agent.fleet.operations import (
    DONE,
    CommandAnswer,
    Difference,
    command_value,
    config_differences,
    send_command,
)
from edge_agent.fleet.operations import (
    retire as clear,
)
from edge_agent.fleet.registry import DeviceReport, choose, parse_group, read_fleet
from edge_agent.fleet.station import Station
from edge_agent.runtime.logs import configure
from edge_agent.settings import MqttSettings, Settings
from edge_agent.settings.mqtt import with_address

app = typer.Typer(
    help="List many devices, command groups of them, compare their configs, retire them.", no_args_is_help=True
)
config_app = typer.Typer(help="Compare the configs of devices.", no_args_is_help=True)
app.add_typer(config_app, name="config")

HostOption = Annotated[str | None, typer.Option("--host", help="Host of the broker. Default: that of the config.")]
PortOption = Annotated[int | None, typer.Option("--port", help="Port of the broker. Default: that of the config.")]
GroupArgument = Annotated[
    str,
    typer.Argument(
        metavar="GROUP",
        help="Devices: all, an id, or conditions as site=Köln,floor=2,version=0.2.*; * and ? stand for any text.",
    ),
]

STYLES = {"online": "green", "silent": "yellow", "offline": "red", "ok": "green", "degraded": "yellow"}


@app.command("list")
def list_devices(
    group: GroupArgument = "all",
    host: HostOption = None,
    port: PortOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List devices: where they stand, version, when they were heard of, health, backlog, problems."""
    wanted = parse_group(group)
    with _station(config, host, port) as (station, settings):
        found = read_fleet(station, settings.mqtt, time.time())
    found = [report for report in found if wanted.holds(report)]
    if json:
        print_json([report.as_dict() for report in found])
    elif found:
        _show_devices(found)
    if not found:
        tell(f"the broker tells of no device of {group!r} under {settings.mqtt.prefix}/")


@app.command()
def command(
    group: GroupArgument,
    name: Annotated[str, typer.Argument(metavar="COMMAND", help="As in 'cmd/<name>': privacy, pause, reload …")],
    value: Annotated[str | None, typer.Argument(metavar="VALUE", help="Its value, as on or 900.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=0.5, max=600, help="Seconds to wait for answers.")] = 10.0,
    host: HostOption = None,
    port: PortOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Send a command to the devices of a group and gather their answers. Exit code 1: not all of them did it."""
    wanted, given = parse_group(group), command_value(name, value)
    with _station(config, host, port) as (station, settings):
        devices = choose(read_fleet(station, settings.mqtt, time.time()), wanted)
        answers = send_command(station, settings.mqtt.prefix, devices, name, given, wait)
    done = sum(answer.outcome in DONE for answer in answers)
    if json:
        print_json([answer.as_dict() for answer in answers])
    else:
        _show_answers(answers)
        say(f"{done} of {len(answers)} devices did it")
    if done < len(answers):
        raise typer.Exit(1)


@app.command()
def retire(
    devices: Annotated[list[str], typer.Argument(metavar="DEVICE", help="Ids of devices that are gone for good.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also a device that the broker takes for online.")] = False,
    host: HostOption = None,
    port: PortOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove what the broker keeps of devices: all retained topics, and their entities in Home Assistant."""
    for device in devices:
        if device == "+":
            raise ConfigError("+ stands for all devices: name those to retire")
        topics.of_device("edge-agent", device)
    if not yes:
        typer.confirm(f"Remove what the broker keeps of {', '.join(devices)}?", abort=True, err=True)
    for device in devices:
        with _station(config, host, port) as (station, settings):
            cleared = clear(station, settings.mqtt.prefix, settings.home_assistant.prefix, device, force=force)
        say(f"{device}: {len(cleared)} topics cleared" if cleared else f"{device}: the broker keeps nothing of it")


@config_app.command("diff")
def diff(
    group: GroupArgument = "all",
    host: HostOption = None,
    port: PortOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the options in which devices differ; secrets are neither shown nor compared. Exit code 1: they differ.

    Values are known of devices with device.publish_config; of others only which tables differ.
    """
    wanted = parse_group(group)
    with _station(config, host, port) as (station, settings):
        devices = choose(read_fleet(station, settings.mqtt, time.time()), wanted)
    differences = config_differences(devices)
    if json:
        hashes = {report.device: report.config_hash or None for report in devices}
        print_json({"hashes": hashes, "differences": [difference.as_dict() for difference in differences]})
    else:
        _show_differences(devices, differences)
    if differences:
        raise typer.Exit(1)


@contextmanager
def _station(config: Path | None, host: str | None, port: int | None) -> Iterator[tuple[Station, Settings]]:
    """Connect to the broker of the config or of the options."""
    _, settings = configuration(config)
    configure("error", "text")
    mqtt: MqttSettings = with_address(settings.mqtt, host, port)
    with Station(mqtt) as station:
        yield station, settings.model_copy(update={"mqtt": mqtt})


# -- tables -----------------------------------------------------------------------------------------------------------


def _show_devices(found: Sequence[DeviceReport]) -> None:
    from rich.table import Table
    from rich.text import Text

    from edge_agent.cli.terminal import show

    table = Table("device", "site", "labels", "version", "seen", "state", "health", "backlog", "problems", box=None)
    for report in found:
        problems = [*report.problems, *report.notices]
        more = f" (+{len(problems) - 1})" if len(problems) > 1 else ""
        labels = ", ".join(f"{key}={value}" for key, value in report.labels.items())
        table.add_row(
            Text(report.device),
            Text(printable(report.site)),
            Text(printable(labels)),
            Text(printable(report.version), style="yellow" if report.behind else ""),
            ago(report.seen_s),
            Text(report.state, style=STYLES[report.state]),
            Text(printable(report.health), style=STYLES.get(report.health, "")),
            Text("" if report.backlog is None else str(report.backlog), justify="right"),
            Text(printable(problems[0], lines=False) + more if problems else "", style="yellow" if problems else ""),
        )
    show(table)
    behind = sum(report.behind for report in found)
    states = ", ".join(f"{sum(r.state == s for r in found)} {s}" for s in ("online", "silent", "offline"))
    say(f"{len(found)} devices: {states}" + (f"; {behind} not on the newest version among them" if behind else ""))


def ago(seconds: float | None) -> str:
    """Format how long ago something was: ``now``, ``5 min``, ``3 h``, ``2 d``; empty: unknown."""
    if seconds is None:
        return ""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and unit == "min"):
            return f"{seconds / size:.0f} {unit}"
    return "now"


def _show_answers(answers: Sequence[CommandAnswer]) -> None:
    from rich.table import Table
    from rich.text import Text

    from edge_agent.cli.terminal import show

    table = Table("device", "site", "outcome", "after", "reason", box=None)
    for answer in sorted(answers, key=lambda answer: (answer.outcome not in DONE, answer.outcome, answer.device)):
        style = "green" if answer.outcome in DONE else "red"
        after = "" if answer.after_s is None else f"{answer.after_s:.1f} s"
        outcome = Text(printable(answer.outcome, lines=False), style=style)
        table.add_row(
            Text(answer.device),
            Text(printable(answer.site)),
            outcome,
            after,
            Text(printable(answer.reason, lines=False)),
        )
    show(table)


def _show_differences(devices: Sequence[DeviceReport], differences: Sequence[Difference]) -> None:
    from rich.table import Table
    from rich.text import Text

    from edge_agent.cli.terminal import show

    silent = [report.device for report in devices if not report.config_hash]
    if silent:
        tell(f"{len(silent)} devices do not tell of their config: {', '.join(silent[:5])}")
    if not differences:
        say(f"{len(devices) - len(silent)} devices are configured alike, but for secrets and what each has of its own")
        return
    table = Table("table" if differences[0].hashed else "option", "value", "devices", box=None)
    for difference in differences:
        groups: dict[str, list[str]] = {}
        for device, value in difference.values.items():
            groups.setdefault(_told(value), []).append(device)
        for n, (value, names) in enumerate(sorted(groups.items(), key=lambda item: -len(item[1]))):
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            table.add_row(difference.what if n == 0 else "", Text(printable(value)), Text(", ".join(names[:5]) + more))
    show(table)
    if differences[0].hashed:
        tell("values are known of devices with device.publish_config = true")


def _told(value: Any) -> str:
    from edge_agent.cli.streams import to_json

    return "(default)" if value is None else value if isinstance(value, str) else to_json(value)
