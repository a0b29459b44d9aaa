"""The command ``edge-agent-collect``: store what a fleet publishes in PostgreSQL."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.common import JsonOption, say
from edge_agent.cli.main import run_as_program
from edge_agent.cli.streams import emit
from edge_agent.domain.errors import ConfigError, DeliveryError

if TYPE_CHECKING:
    from edge_agent.collect.settings import CollectSettings

EXIT_CODES = """Exit codes: 0 done, 1 failure, 2 bad usage, configuration or schema, 6 broker or database not usable,
130 interrupted."""

SYSTEM_FILE = Path("/etc/edge-agent/collect.toml")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="EDGE_AGENT_COLLECT_CONFIG",
        help=f"Config file. Default: {SYSTEM_FILE} if it exists.",
        show_default=False,
    ),
]

app = typer.Typer(
    name="edge-agent-collect",
    help="Store what a fleet of agents publishes in PostgreSQL, every message exactly once.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _settings(path: Path | None) -> CollectSettings:
    from edge_agent.collect.settings import load
    from edge_agent.runtime.logs import configure

    settings = load(path or (SYSTEM_FILE if SYSTEM_FILE.exists() else None))
    configure(settings.log.level, settings.log.format)
    return settings


@app.command()
def run(config: ConfigOption = None) -> None:
    """Collect until SIGTERM or Ctrl-C. Waits for a broker or database that is away; nothing is lost meanwhile."""
    _collect(config)


@app.command()
def retire(config: ConfigOption = None) -> None:
    """Take a collector that was stopped out of its group: store what the broker holds for it, end its session."""
    _collect(config, retiring=True)


def _collect(config: Path | None, *, retiring: bool = False) -> None:
    _needs_psycopg()
    from edge_agent.collect.collector import Collector
    from edge_agent.collect.metrics import exposition, serve
    from edge_agent.runtime.lifecycle import Notifier, Stop, stop_on_signals

    settings = _settings(config)
    stop = Stop()
    collector = Collector(settings, stop, Notifier(), retiring=retiring)
    server = None
    if settings.reading.metrics is not None:
        server = serve(settings.reading.metrics, lambda: exposition(collector.figures, collector.waiting))
    try:
        with stop_on_signals(stop):
            collector.run()
    finally:
        if server is not None:
            server.shutdown()


@app.command()
def migrate(config: ConfigOption = None) -> None:
    """Make the tables and views, or bring them up to date. Can be repeated, and run beside collectors."""
    _needs_psycopg()
    from edge_agent.collect import database

    settings = _settings(config)
    try:
        with database.connect(settings.database) as connection:
            steps = database.migrate(connection, settings.database.partition)
            database.write_timezones(connection, settings.timezones.items())
            database.Partitions(settings.database.partition).ahead(connection)
    except database.Error as error:
        raise database.storage_failure(error) from None
    for step in steps:
        say(f"applied {step.number:04d} {step.name}")
    if not steps:
        say("the schema is up to date")


@app.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check configuration, database, schema and broker. Exit code 2 or 6: something cannot be used."""
    _needs_psycopg()
    from edge_agent.collect import database
    from edge_agent.collect.collector import check_broker

    settings = _settings(config)
    try:
        with database.connect(settings.database) as connection:
            database.check_schema(connection, settings.database.partition)
            facts = {"database": database.describe(connection)}
    except database.Error as error:
        raise database.storage_failure(error) from None
    facts["broker"] = check_broker(settings)
    if as_json:
        emit(json.dumps(facts))
    else:
        for name, text in facts.items():
            say(f"{name}: {text}")


@app.command()
def prune(config: ConfigOption = None) -> None:
    """Delete what is older than the retention now; a running collector does so every hour."""
    _needs_psycopg()
    from edge_agent.collect import database
    from edge_agent.collect.writer import BatchWriter

    settings = _settings(config)
    try:
        with database.connect(settings.database) as connection:
            database.check_schema(connection, settings.database.partition)
            writer = BatchWriter(
                connection, database.Partitions(settings.database.partition), settings.database.rejected_rows
            )
            dropped = writer.prune(datetime.now(UTC), settings.database)
    except database.Error as error:
        raise database.storage_failure(error) from None
    say(
        f"dropped {dropped} partitions"
        if settings.database.retention_days
        else "database.retention_days is 0: all kept"
    )


@app.command()
def forget(device: str, config: ConfigOption = None) -> None:
    """Delete everything of a device. What it publishes afterwards is stored again."""
    _needs_psycopg()
    from edge_agent.collect import database

    settings = _settings(config)
    try:
        with database.connect(settings.database) as connection:
            database.check_schema(connection, settings.database.partition)
            rows = database.forget(connection, device)
    except database.Error as error:
        raise database.storage_failure(error) from None
    if not rows:
        raise DeliveryError(f"there is nothing of a device {device!r}")
    say(f"deleted {rows} rows")


def _needs_psycopg() -> None:
    if find_spec("psycopg") is None:
        raise ConfigError("needs psycopg: pip install 'edge-emotion-agent[collect]'")
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise ConfigError("psycopg needs libpq: apt install libpq5, or pip install 'psycopg[binary]'") from None


def main() -> None:
    """Run the command line; entry point of the console script."""
    run_as_program(app, "edge-agent-collect")
