"""``edge-agent bench``: what each stage of the pipeline costs on this machine, and where the time goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge_agent.app.bench import BOUNDS_MS, BenchReport
from edge_agent.app.bench import bench as measure
from edge_agent.app.builder import PipelineBuilder
from edge_agent.cli.common import ConfigOption, JsonOption, configuration, pull_showing_progress, say, tell
from edge_agent.cli.streams import print_json
from edge_agent.cli.terminal import show
from edge_agent.domain.errors import ConfigError


def bench(
    recording: Annotated[
        Path, typer.Argument(help="Film, with sound or without, that is analysed as a camera's picture.")
    ],
    config: ConfigOption = None,
    json: JsonOption = False,
    seconds: Annotated[float, typer.Option(min=1.0, help="Seconds of the recording.")] = 60.0,
    profile: Annotated[
        Path | None, typer.Option("--profile", metavar="FILE.svg", help="Write a flame graph, too; needs py-spy.")
    ] = None,
) -> None:
    """Measure what each stage costs on this machine: processor time, histogram, allocations. Nothing is sent."""
    text, settings = configuration(config)
    builder = PipelineBuilder(text, settings)
    builder.pull_missing(pull_showing_progress)
    try:
        with _flame_graph(profile):
            report = measure(builder, recording, seconds)
    finally:
        builder.close()
    if json:
        print_json(document(report))
        return
    show(_table(report))
    say(
        f"{report.seconds:.0f} s, {report.pictures} pictures, {report.looks} looks: {report.share:.1%} of one core; "
        f"{report.look_kb:.0f} kB allocated in a look, {report.look_blocks} blocks left after it; "
        f"summaries of {report.summary_bytes or 0} bytes"
    )


@contextmanager
def _flame_graph(file: Path | None) -> Iterator[None]:
    """Let py-spy watch this process meanwhile, and write a flame graph to ``file``.

    Raises:
        ConfigError: it is not installed, or may not watch.
    """
    if file is None:
        yield
        return
    spy = shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if spy is None:
        raise ConfigError("--profile needs py-spy: install it with pip install py-spy, or do without --profile")
    command = [spy, "record", "--pid", str(os.getpid()), "--output", str(file), "--format", "flamegraph"]
    with subprocess.Popen(
        [*command, "--duration", "3600"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            yield
        finally:
            process.send_signal(2)
            _, complaint = process.communicate(timeout=60)
    if not file.exists():
        raise ConfigError(f"py-spy wrote no flame graph: {complaint.decode(errors='replace').strip()}")
    tell(f"flame graph: {file}")


def document(report: BenchReport) -> dict[str, Any]:
    """Return the report as JSON values; the bins of the histograms are those of ``bounds_ms``, and one above."""
    return {
        "seconds": round(report.seconds, 3),
        "pictures": report.pictures,
        "looks": report.looks,
        "share_of_core": round(report.share, 4),
        "look_kb": round(report.look_kb, 1),
        "look_blocks": report.look_blocks,
        "summary_bytes": report.summary_bytes,
        "bounds_ms": BOUNDS_MS,
        "stages": {
            stage.name: {
                "calls": len(stage.calls),
                "p50_ms": round(stage.quantile(0.5), 4),
                "p99_ms": round(stage.quantile(0.99), 4),
                "total_ms": round(sum(stage.calls), 1),
                "histogram": stage.histogram(),
            }
            for stage in report.stages
        },
    }


def _table(report: BenchReport) -> Table:
    caption = f"milliseconds of processor time; bars: up to {', '.join(f'{b:g}' for b in BOUNDS_MS)} ms and above"
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    for column in ("stage", "calls", "p50", "p99", "total", "share"):
        table.add_column(column, justify="left" if column == "stage" else "right", no_wrap=True)
    table.add_column("histogram", no_wrap=True)
    whole = sum(sum(stage.calls) for stage in report.stages) or 1.0
    for stage in report.stages:
        total = sum(stage.calls)
        figures = (f"{stage.quantile(0.5):.3f}", f"{stage.quantile(0.99):.3f}", f"{total:.0f}", f"{total / whole:.0%}")
        table.add_row(stage.name, str(len(stage.calls)), *figures, _bars(stage.histogram()))
    return table


def _bars(counts: list[int]) -> str:
    most = max(counts) or 1
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * count // most)] for count in counts)
