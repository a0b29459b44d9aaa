"""Tables, coloured lines and progress bars. Imports the terminal library, so import this only where one is drawn.

Names, payloads and error texts come from outside: they are never treated as markup, and control characters in them are
escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from edge_agent.domain.text import printable

if TYPE_CHECKING:
    from edge_agent.models import ModelStore, Pulled, Transfer


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


def show(renderable: RenderableType) -> None:
    """Print a table."""
    out().print(renderable)


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


def pull(store: ModelStore, names: Sequence[str], source_dir: Path | None = None) -> tuple[Pulled, ...]:
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
