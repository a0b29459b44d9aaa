"""Open an outbox as the delivery service does, and query its database directly."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edge_agent.delivery.outbox import Origin, Outbox
from edge_agent.domain.clock import Clock, ManualClock
from edge_agent.settings.schema import OutboxSettings
from edge_agent.summary.summariser import merge_summaries

MQTT = "mqtt"


def make_outbox(
    folder: Path,
    *,
    clock: Clock | None = None,
    boot_id: str = "b1",
    max_mb: float = 64.0,
    max_age_days: float = 60.0,
    consumers: Sequence[str] = (MQTT,),
    hold_s: float = 0.5,
) -> Outbox:
    """Make and open an outbox in ``folder``."""
    outbox = Outbox(
        folder,
        Origin("kiosk-1", boot_id, merge_summaries),
        clock or ManualClock(),
        OutboxSettings(max_mb=max_mb, max_age_days=max_age_days, hold_s=hold_s),
        consumers,
    )
    outbox.open()
    return outbox


def query(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    """Run ``statement`` on the database file."""
    with closing(sqlite3.connect(folder / "outbox.db")) as db:
        return db.execute(statement).fetchall()


def assert_balanced(outbox: Outbox, folder: Path | None = None) -> None:
    """Assert that the counters add up and, with ``folder``, agree with the rows in the file."""
    stats = outbox.stats()
    assert stats.balanced, stats
    if folder is not None and stats.degraded is None:
        assert query(folder, "SELECT count(*) FROM items")[0][0] == stats.pending
