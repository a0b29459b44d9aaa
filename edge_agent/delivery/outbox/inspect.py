"""Looking into an outbox from outside, for the command line. Reading works beside a running agent, purging does not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from edge_agent.delivery.outbox.database import SCHEMA_VERSION, NewerSchemaError
from edge_agent.delivery.outbox.records import Origin
from edge_agent.delivery.outbox.vault import FILE, Vault
from edge_agent.domain.errors import DeliveryError
from edge_agent.domain.summary import Summary

T = TypeVar("T")


def figures(directory: Path) -> dict[str, Any]:
    """Counters, what is pending, gaps and dead letters. Raises DeliveryError."""
    return _read(directory, _figures)


def export(directory: Path, *, dead: bool = False) -> Iterator[dict[str, Any]]:
    """What is stored, oldest first, as ``{"kind", "topic", "payload"}``; dead letters say why. Raises DeliveryError."""
    columns = "kind, topic, payload, consumer, reason" if dead else "kind, topic, payload, NULL, NULL"
    table = "dead" if dead else "items"
    with closing(_connect(directory)) as db:
        try:
            for kind, topic, payload, consumer, reason in db.execute(f"SELECT {columns} FROM {table} ORDER BY id"):
                record = {"kind": kind, "topic": topic, "payload": _parsed(payload)}
                yield record | ({"consumer": consumer, "reason": reason} if dead else {})
        except sqlite3.Error as error:
            raise DeliveryError(f"{directory / FILE}: cannot be read to its end: {error}") from error


def purge(directory: Path, *, dead_only: bool = False) -> tuple[int, int]:
    """Delete dead letters and, unless ``dead_only``, all pending rows (counted as dropped): how many of each.

    Raises:
        AlreadyRunningError: an agent uses the outbox.
        DeliveryError: there is none, or it cannot be written.
    """
    if not (directory / FILE).exists():
        raise DeliveryError(f"{directory / FILE}: no outbox here")
    vault = Vault(directory, Origin("purge", "purge", _no_merge))
    try:
        store = vault.open()
    except (OSError, sqlite3.Error) as error:
        raise DeliveryError(f"{directory / FILE}: cannot be changed: {error}") from error
    try:
        return store.purge(dead_only=dead_only)
    finally:
        vault.close(store)


def _parsed(payload: Any) -> Any:
    try:
        return json.loads(payload)
    except ValueError:  # damaged: as much as can be shown
        return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else str(payload)


def _no_merge(_first: Summary, _second: Summary) -> Summary:
    raise DeliveryError("purging merges nothing")


def _figures(db: sqlite3.Connection) -> dict[str, Any]:
    names = ("produced", "acked", "merged_away", "dropped", "dead_lettered", "salvages")
    counters = db.execute(f"SELECT {', '.join(names)} FROM counters").fetchone()
    pending = db.execute(
        "SELECT count(*), coalesce(sum(kind = 'summary'), 0), coalesce(sum(kind = 'event'), 0),"
        " coalesce(sum(merged), 0), min(start), max(start + seconds) FROM items"
    ).fetchone()
    gaps = db.execute("SELECT boot_id, first_seq, last_seq, start, end, count, reason FROM gaps ORDER BY id").fetchall()
    pages, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    page = db.execute("PRAGMA page_size").fetchone()[0]
    return {
        **dict(zip(names, counters, strict=True)),
        **dict(zip(("pending", "summaries", "events", "windows", "oldest", "newest"), pending, strict=True)),
        "bytes": (pages - free) * page,
        "dead_letters": db.execute("SELECT count(*) FROM dead").fetchone()[0],
        "gaps": [
            dict(zip(("boot_id", "first_seq", "last_seq", "start", "end", "count", "reason"), gap, strict=True))
            for gap in gaps
        ],
    }


def _connect(directory: Path) -> sqlite3.Connection:
    path = directory / FILE
    if not path.exists():
        raise DeliveryError(f"{path}: no outbox here; give the state directory with --config or device.state_dir")
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5.0, isolation_level=None)
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise DeliveryError(f"{path}: cannot be read: {error}") from error
    if version > SCHEMA_VERSION:
        db.close()
        raise NewerSchemaError(f"{path}: written by a newer edge-agent (schema {version})")
    return db


def _read(directory: Path, query: Callable[[sqlite3.Connection], T]) -> T:
    with closing(_connect(directory)) as db:
        try:
            return query(db)
        except sqlite3.Error as error:
            raise DeliveryError(f"{directory / FILE}: cannot be read: {error}") from error
