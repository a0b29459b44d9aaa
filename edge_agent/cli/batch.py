"""``edge-agent batch``: hand recordings in, look after the jobs, fetch their results, and work on the queue.

Jobs are those of this machine's queue, with or without a running agent, or with ``--url`` those of another machine.
"""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge_agent.batch.clients import Jobs, LocalJobs, RemoteJobs
from edge_agent.batch.jobs import (
    MODELS,
    BatchError,
    BatchRequest,
    JobQuery,
    JobStatus,
    RequestError,
)
from edge_agent.cli.common import ConfigOption, JsonOption, configuration, pull_showing_progress, say, tell
from edge_agent.cli.streams import emit, print_json
from edge_agent.cli.terminal import positions, show
from edge_agent.domain.errors import MediaError
from edge_agent.domain.files import read_secret
from edge_agent.runtime.logs import configure

app = typer.Typer(help="Queue recordings, and fetch what was found in them.", no_args_is_help=True)

UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Address of another machine's web side. Default: the queue of this machine."),
]
TokenOption = Annotated[Path | None, typer.Option("--token-file", help="File with the web side's token, with --url.")]
_ENDED = (JobStatus.COMPLETED, JobStatus.FAILED)
_POLL_S = 0.5


@contextlib.contextmanager
def _jobs(config: Path | None, url: str | None, token_file: Path | None) -> Iterator[Jobs]:
    if url is not None:
        yield RemoteJobs(url, None if token_file is None else read_secret(token_file, "the token"))
        return
    from edge_agent.batch.queue import open_queue

    queue = open_queue(configuration(config)[1])
    try:
        yield LocalJobs(queue)
    finally:
        queue.close()


# ---------------------------------------------------------------------- commands


@app.command()
def submit(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Films, sounds, pictures, texts or archives of them.", show_default=False),
    ] = None,
    models: Annotated[
        str | None, typer.Option("--models", help=f"Comma-separated: {', '.join(MODELS[:4])}. Default: all there are.")
    ] = None,
    custom: Annotated[
        str | None, typer.Option("--custom", help="Judge by this custom model alone: NAME, or NAME@VERSION.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", help="Analyse this text; may be repeated.")] = None,
    request: Annotated[
        str | None,
        typer.Option("--request", help='More of Hume\'s request as JSON: {"models": {"face": {"fps_pred": 0}}}.'),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
) -> None:
    """Hand recordings in as one job, and print its name."""
    asked = _request(models, custom, text, request)
    for path in files or []:
        if not path.is_file():
            raise MediaError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    with _jobs(config, url, token_file) as jobs:
        name = jobs.submit(asked, files or [])
        emit(name)
        if wait and _await(jobs, name)["state"]["status"] == JobStatus.FAILED:
            raise BatchError(f"job {name} has failed: {jobs.one(name)['state']['message']}")


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most jobs to list.")] = 50,
    status: Annotated[list[JobStatus] | None, typer.Option("--status", help="Only jobs in this state.")] = None,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Newest last.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
) -> None:
    """List jobs, the newest first."""
    with _jobs(config, url, token_file) as jobs:
        found = jobs.all(JobQuery(limit=limit, status=tuple(status or ()), ascending=oldest_first))
    if json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("job", no_wrap=True)
    for column in ("status", "created", "done", "recordings", "predictions", "errors"):
        table.add_column(column)
    for job in found:
        state, request = job["state"], job["request"]
        count = sum(len(request.get(part) or ()) for part in ("files", "urls", "text"))
        figures = (str(state.get(name, "")) for name in ("num_predictions", "num_errors"))
        done = f"{100 * job.get('progress', 0):.0f} %"
        table.add_row(job["job_id"], state["status"], _time(state), done, str(count), *figures)
    show(table)


@app.command("show")
def show_job(
    job: Annotated[str, typer.Argument(help="Name of the job.")],
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
) -> None:
    """Show one job."""
    with _jobs(config, url, token_file) as jobs:
        found = jobs.one(job)
    if json:
        print_json(found)
        return
    state = found["state"]
    say(f"{found['job_id']}: {state['status']}, {100 * found.get('progress', 0):.0f} % done, created {_time(state)}")
    for file in found["request"].get("files") or ():
        say(f"  {file['filename'] or '-'}")
    if "message" in state:
        say(f"  {state['message']}")


@app.command()
def fetch(
    job: Annotated[str, typer.Argument(help="Name of the job.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the results. Default: the job's name.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
) -> None:
    """Fetch the results of a job: CSV and JSON for each recording and model."""
    folder = output or Path(job)
    with _jobs(config, url, token_file) as jobs, tempfile.TemporaryFile() as file:
        if wait:
            _await(jobs, job)
        jobs.archive(job, file)
        try:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder)
                count = len(archive.namelist())
        except (OSError, zipfile.BadZipFile) as error:
            raise BatchError(f"{folder}: the results cannot be written: {error}") from None
    tell(f"{folder}: {count} files written")


@app.command()
def delete(
    job: Annotated[str, typer.Argument(help="Name of the job.")],
    config: ConfigOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
) -> None:
    """Delete a job, its recordings and its results."""
    with _jobs(config, url, token_file) as jobs:
        jobs.delete(job)
    tell(f"{job}: deleted")


@app.command()
def work(
    until_done: Annotated[bool, typer.Option("--until-done", help="End when no recording waits any more.")] = False,
    child: Annotated[int | None, typer.Option("--child", hidden=True)] = None,
    config: ConfigOption = None,
) -> None:
    """Work on the queue until SIGTERM or Ctrl-C, where no agent does."""
    from edge_agent.app.builder import PipelineBuilder
    from edge_agent.batch import worker as batch
    from edge_agent.batch.queue import LocalQueue, open_queue

    text, settings = configuration(config)
    configure(settings.log.level, settings.log.format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    queue = open_queue(settings)
    try:
        if child is None:
            PipelineBuilder(text, settings).pull_missing(pull_showing_progress)
        if child is None and isinstance(queue, LocalQueue):
            _supervise(queue, batch.command_of(config), stop, until_done=until_done)
            return
        batch.behave(settings.batch.priority, child)
        analyser = batch.analyser_of(settings, config)
        worker = batch.Worker(queue, analyser, settings.batch, stop.is_set, settings.pacing.max_celsius)
        if isinstance(queue, LocalQueue):
            worker.drain(queue.claim)
        else:
            batch.share(queue, worker, stop, until_done=until_done)
    finally:
        queue.close()


def _supervise(queue: Any, command: list[str], stop: threading.Event, *, until_done: bool) -> None:
    from edge_agent.batch.worker import POLL_S, WorkerProcess

    process = WorkerProcess(queue, command)
    try:
        while not stop.is_set():
            process.tick(time.monotonic())
            if until_done and not process.busy and not queue.waiting():
                return
            stop.wait(POLL_S)
    finally:
        process.close()


def _request(models: str | None, custom: str | None, text: list[str] | None, request: str | None) -> dict[str, Any]:
    try:
        asked = json.loads(request) if request else {}
    except ValueError as error:
        raise RequestError(f"--request: this is no JSON: {error}") from None
    if not isinstance(asked, dict):
        raise RequestError("--request: a JSON object is needed")
    for name in models.split(",") if models else ():
        if name.strip() not in MODELS:
            raise RequestError(f"--models: {name.strip()!r} is none; there are: {', '.join(MODELS)}")
        asked.setdefault("models", {}).setdefault(name.strip(), {})
    if custom:
        asked["custom_model"] = {"version_id" if "@" in custom else "id": custom}
    if text:
        asked["text"] = [*asked.get("text", ()), *text]
    BatchRequest.of(asked)
    return asked


def _await(jobs: Jobs, name: str, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    with positions(name) as progress:
        while (job := jobs.one(name))["state"]["status"] not in _ENDED:
            progress(job.get("progress", 0.0), 1.0)
            sleep(_POLL_S)
    return job


def _time(state: dict[str, Any]) -> str:
    return datetime.fromtimestamp(state["created_timestamp_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
