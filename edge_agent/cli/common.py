"""Options, output and progress bars shared by the commands.

Results go to standard output, messages and progress to standard error. Names, payloads and error texts come from
outside: they are never treated as markup, control characters in them are escaped, and so is what the locale cannot
encode. An output that cannot be written is a one-line error.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.text import printable
from edge_agent.settings import ConfigText, Settings, default_path, read

if TYPE_CHECKING:
    from edge_agent.models import ModelStore, Pulled, Transfer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Config file. Default: $EDGE_AGENT_CONFIG, else /etc/edge-agent/config.toml if it exists.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

_BEYOND_JSON = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that JSON allows in a string but that disturb terminals or cannot be encoded."""


def configuration(path: Path | None) -> tuple[ConfigText, Settings]:
    """Read the config file and the settings in it. Raises ConfigError."""
    config = read(path or default_path())
    return config, config.settings()


class OutputError(EdgeAgentError):
    """Standard output cannot be written. ``closed``: its reader is gone, which is not reported."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output cannot be written: {error.strerror}")
        self.closed = error.errno == errno.EPIPE


class _Output(io.TextIOWrapper):
    """Standard output that escapes what the locale cannot encode. Raises OutputError."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputError(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputError(error) from None


class _Messages(io.TextIOWrapper):
    """Standard error whose write failures are ignored: what cannot be written is lost."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def prepare_streams() -> None:
    """Replace standard output and standard error by the streams above. Called once, at the start."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by the caller: no other file may get its number
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _wrapped(_Output, sys.stdout)
    sys.stderr = _wrapped(_Messages, sys.stderr)


def _wrapped(kind: type[io.TextIOWrapper], stream: Any) -> Any:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    encoding, interactive = stream.encoding, stream.line_buffering
    if kind is _Messages:
        # A descriptor of its own: descriptor 2 is redirected while native libraries' lines are captured.
        raw = os.fdopen(os.dup(2), "wb", buffering=0)
        return kind(io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=True)
    return kind(stream.detach(), encoding=encoding, errors="backslashreplace", line_buffering=interactive)


def give_up_output() -> None:
    """Discard buffered output, so that writing it is not tried again at exit."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


class _Console(Console):
    """A console that never interprets text as markup."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def out() -> Console:
    """Return a console on standard output, for tables."""
    return _Console(markup=False, emoji=False, highlight=False)


def err() -> Console:
    """Return a console on standard error, for progress and messages."""
    return _Console(stderr=True, markup=False, emoji=False, highlight=False)


def line(*parts: str | tuple[str, str]) -> Text:
    """Build one line from texts and (text, style) pairs, with control characters escaped."""
    fit = (printable(p, lines=False) if isinstance(p, str) else (printable(p[0], lines=False), p[1]) for p in parts)
    return Text.assemble(*fit)


def say(*parts: str | tuple[str, str]) -> None:
    """Print one line on standard output, never wrapped."""
    out().print(line(*parts), soft_wrap=True)


def tell(*parts: str | tuple[str, str]) -> None:
    """Print one line on standard error, never wrapped."""
    err().print(line(*parts), soft_wrap=True)


def show(renderable: RenderableType) -> None:
    """Print a table."""
    out().print(renderable)


def emit(text: str, end: str = "\n") -> None:
    """Write text for programs to standard output, as it is."""
    sys.stdout.write(f"{text}{end}")
    sys.stdout.flush()


def to_json(value: Any, indent: int | None = None) -> str:
    """Format ``value`` as JSON that standard output can encode; bytes that are not UTF-8 are escaped."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False, default=str)
    text = _BEYOND_JSON.sub(lambda match: _in_json(match.group()), text)
    if "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower():
        text = re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match.group())[1:-1], text)
    return text


def _in_json(character: str) -> str:
    if "\ud800" <= character <= "\udfff":  # a lone surrogate: most parsers refuse its escape as well
        return json.dumps(printable(character))[1:-1]
    return json.dumps(character)[1:-1]


def print_json(value: Any) -> None:
    """Print one indented JSON document on standard output."""
    emit(to_json(value, indent=2))


@contextmanager
def positions(title: str) -> Iterator[Callable[[float, float], None]]:
    """Show a bar over a recording; call what it yields with position and duration in seconds."""
    console = err()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f} s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(printable(title, lines=False), total=None)

        def show(position: float, duration: float) -> None:
            bars.update(task, completed=position, total=duration or None)

        yield show


def pull_showing_progress(
    store: ModelStore, names: Sequence[str], source_dir: Path | None = None
) -> tuple[Pulled, ...]:
    """Pull models with a progress bar for each download, on standard error if it is a terminal."""
    console = err()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        return store.pull(names, source_dir, Bars(bars))


class Bars:
    """Download progress: one row for each model and source."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __call__(self, transfer: Transfer) -> None:
        key = (transfer.name, transfer.source)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(f"{transfer.name} from {transfer.source}", total=transfer.total)
        self._bars.update(self._tasks[key], completed=transfer.done, total=transfer.total)
