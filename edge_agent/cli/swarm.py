"""``edge-agent-swarm N``: play N devices against a broker, through the real delivery stack, and print figures.

A load generator for brokers, collectors and dashboards. Point it at a broker of your own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_agent.cli.common import ConfigOption, JsonOption, configuration, tell
from edge_agent.cli.main import run_as_program
from edge_agent.cli.streams import emit, print_json
from edge_agent.domain.errors import ConfigError, DeliveryError
from edge_agent.fleet.swarm import Plan, Swarm, SwarmFigures
from edge_agent.runtime.lifecycle import Stop, stop_on_signals
from edge_agent.settings.mqtt import with_address


def swarm(
    devices: Annotated[int, typer.Argument(min=1, max=100_000, help="How many devices.")],
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Host of the broker. Default: mqtt.host.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the broker. Default: mqtt.port.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long.")] = 60.0,
    window: Annotated[float, typer.Option("--window", min=1, help="Length of a window in seconds.")] = 10.0,
    processes: Annotated[int, typer.Option("--processes", min=1, help="How many processes.")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same scenes and faults.")] = 0,
    outages: Annotated[
        float, typer.Option("--outages", min=0, max=0.9, help="Share of the time that the uplink of a site is down.")
    ] = 0.0,
    restarts: Annotated[float, typer.Option("--restarts", min=0, help="Restarts per device and hour.")] = 0.0,
    kills: Annotated[float, typer.Option("--kills", min=0, help="SIGKILLs of a process per minute.")] = 0.0,
    wrong_clocks: Annotated[
        float, typer.Option("--wrong-clocks", min=0, max=1, help="Share of devices with a wrong clock.")
    ] = 0.0,
    drain: Annotated[float, typer.Option("--drain", min=0, help="Longest wait for empty outboxes at the end.")] = 30.0,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", help="File for (device, boot_id, seq, digest) of each delivered row.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder of the outboxes, kept. Default: a temporary one.")
    ] = None,
    lean: Annotated[bool, typer.Option("--lean", help="Devices subscribe to nothing: one thread less each.")] = False,
    json: JsonOption = False,
) -> None:
    """Play DEVICES devices against a broker through the real delivery stack, and print figures."""
    _, settings = configuration(config)
    mqtt = with_address(settings.mqtt, host, port)
    if lean:
        mqtt = mqtt.model_copy(update={"detect_namesakes": False})
    if outages and (mqtt.tls.enabled or mqtt.transport != "tcp"):
        raise ConfigError("--outages cuts plain TCP connections: use a broker without TLS and WebSockets")
    with tempfile.TemporaryDirectory(prefix="edge-agent-swarm-") as folder:
        plan = Plan(
            devices=devices,
            seconds=seconds,
            mqtt=mqtt,
            state_dir=(state or Path(folder)).resolve(),
            processes=min(processes, -(-devices // 10)),
            seed=seed,
            window_s=window,
            outages=outages,
            restarts=restarts,
            kills=kills,
            wrong_clocks=wrong_clocks,
            drain_s=drain,
            lean=lean,
            ledger=None if ledger is None else ledger.resolve(),
        )
        report = _play(plan)
    print_json(report) if json else _print(report)
    if report["connections"] == 0:
        raise DeliveryError(f"no device could connect to {mqtt.brokers[0].address}: is the broker running?")


def _play(plan: Plan) -> dict[str, Any]:
    figures, stop, told = SwarmFigures(), Stop(), 0.0
    with stop_on_signals(stop), Swarm(plan) as swarm:
        for figures in swarm.run():
            if stop.requested:
                swarm.stop()
            if time.monotonic() > told + 5 and sys.stderr.isatty():
                told = time.monotonic()
                tell(f"{figures.connected} of {figures.devices} connected, {figures.pending} rows wait")
        return report_document(plan, swarm, figures)


def report_document(plan: Plan, swarm: Swarm, figures: SwarmFigures) -> dict[str, Any]:
    """The figures of a run as one document. Times in seconds, sizes in bytes unless named otherwise."""
    tally, seconds = figures.tally, max(swarm.seconds, 1e-3)
    return {
        "devices": plan.devices,
        "processes": plan.processes,
        "seconds": round(seconds, 1),
        "window_s": plan.window_s,
        "seed": plan.seed,
        "messages": tally.messages,
        "messages_per_s": round(tally.messages / seconds, 1),
        "messages_per_device_hour": round(tally.messages / seconds / plan.devices * 3600),
        "bytes": tally.bytes,
        "bytes_per_message": round(tally.bytes / max(tally.messages, 1)),
        "bytes_per_device_hour": round(tally.bytes / seconds / plan.devices * 3600),
        "rows": tally.rows,
        "bytes_per_row": round(tally.row_bytes / max(tally.rows, 1)),
        "topics": dict(tally.topics.most_common()),
        "late": tally.late,
        "delay_p50_s": _rounded(tally.quantile(0.5)),
        "delay_p95_s": _rounded(tally.quantile(0.95)),
        "delay_max_s": _rounded(tally.quantile(1.0)),
        "backlog_peak": swarm.backlog_peak,
        "pending": figures.pending,
        "outbox": dict(figures.sums),
        "connections": tally.connections,
        "outages": figures.outages,
        "restarts": figures.restarts,
        "kills": swarm.kills,
        "window_closed_late_s": round(figures.late_s, 2),
        "cpu_cores": round(figures.cpu_s / seconds, 2),
        "cpu_ms_per_message": round(1000 * figures.cpu_s / max(tally.messages, 1), 2),
        "memory_mb_per_device": round((figures.rss_mb - figures.base_mb) / plan.devices, 2),
        "memory_mb": round(figures.rss_mb),
        "threads": figures.threads,
        "descriptors": figures.descriptors,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _print(report: dict[str, Any]) -> None:
    for name, value in report.items():
        shown = ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else value
        emit(f"{name.replace('_', ' '):26}{'–' if shown is None else shown}")


def main() -> None:
    """Run the command; entry point of the console script."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name="edge-agent-swarm")(swarm)
    run_as_program(app)
