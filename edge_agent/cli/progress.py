"""Progress bars on stderr; silent when stderr is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from edge_agent.cli.common import err
from edge_agent.models import ModelStore, Transfer


@contextmanager
def downloads() -> Iterator[Callable[[Transfer], None]]:
    """A bar for every model and source; call what it yields with each transfer."""
    console = err()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    tasks: dict[tuple[str, str], TaskID] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def show(transfer: Transfer) -> None:
            key = (transfer.name, transfer.source)
            if key not in tasks:
                tasks[key] = bars.add_task(f"{transfer.name} from {transfer.source}")
            bars.update(tasks[key], completed=transfer.done, total=transfer.total)

        yield show


@contextmanager
def positions(title: str) -> Iterator[Callable[[float, float], None]]:
    """One bar over a recording; call what it yields with position and duration in seconds."""
    console = err()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(title, total=None)

        def show(position: float, duration: float) -> None:
            bars.update(task, completed=position, total=duration or None)

        yield show


def pull_with_progress(store: ModelStore, names: Sequence[str]) -> None:
    """Fetch models, showing how far each has come."""
    with downloads() as progress:
        store.pull(names, progress=progress)
