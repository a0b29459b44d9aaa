"""Progress bars on stderr; silent when stderr is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from edge_agent.cli.output import err
from edge_agent.domain.text import printable
from edge_agent.models import ModelStore, Pulled, Transfer


@contextmanager
def positions(title: str) -> Iterator[Callable[[float, float], None]]:
    """One bar over a recording; call what it yields with position and duration in seconds."""
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
    """:meth:`ModelStore.pull` with a bar for each download on standard error when that is a terminal."""
    console = err()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        return store.pull(names, source_dir, Bars(bars))


class Bars:
    """Turns transfers into rows of a progress display, one for each model and source."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __call__(self, transfer: Transfer) -> None:
        key = (transfer.name, transfer.source)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(f"{transfer.name} from {transfer.source}", total=transfer.total)
        self._bars.update(self._tasks[key], completed=transfer.done, total=transfer.total)
