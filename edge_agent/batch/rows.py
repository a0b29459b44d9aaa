"""The tables of the queue of one machine: jobs, their sources, and transactions over both.

Several processes and threads may use the same database at once; a connection is shared by the threads of a process.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from edge_agent.batch.jobs import (
    ENDED,
    BatchError,
    BatchRequest,
    BatchSource,
    Job,
    JobStatus,
    QueueFullError,
    Task,
    status_of,
)
from edge_agent.domain.database import SQLITE_ERRORS, Schema, StoreFullError, classify

SCHEMA = Schema(
    "batch queue",
    1,
    """
CREATE TABLE jobs (
  id TEXT PRIMARY KEY, request TEXT NOT NULL, created REAL NOT NULL, started REAL, ended REAL,
  status TEXT NOT NULL, called INTEGER NOT NULL   -- whether its callback was sent
) WITHOUT ROWID;
CREATE TABLE sources (
  job TEXT NOT NULL REFERENCES jobs(id), number INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  content_type TEXT NOT NULL, md5 TEXT NOT NULL, size INTEGER NOT NULL, status TEXT NOT NULL,
  attempts INTEGER NOT NULL, progress REAL NOT NULL, error TEXT NOT NULL, predictions INTEGER NOT NULL,
  errors INTEGER NOT NULL, PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE INDEX waiting ON sources (status);
""",
)
_COLUMNS = "kind, name, content_type, md5, size, status, attempts, progress, error, predictions, errors"


class Rows:
    """Statements and transactions of the open database at ``path``. All methods raise BatchError."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._db.close()

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a query and return all its rows."""
        try:
            with self._lock:
                return self._db.execute(statement, values).fetchall()
        except SQLITE_ERRORS as error:
            raise BatchError(f"{self._path}: the batch queue cannot be read: {classify(error)}") from error

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement inside a transaction and return the number of rows changed."""
        return self._db.execute(statement, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction; an error rolls it back."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except SQLITE_ERRORS as error:
                why = classify(error)
                kind = QueueFullError if isinstance(why, StoreFullError) else BatchError
                raise kind(f"{self._path}: the batch queue cannot be written: {why}") from error

    def jobs(self, condition: str = "", values: Sequence[Any] = ()) -> list[Job]:
        """Read the jobs that meet ``condition``, in no order."""
        with self._lock:
            found = []
            columns = "id, request, created, status, started, ended"
            for name, request, created, status, started, ended in self.all(
                f"SELECT {columns} FROM jobs {condition}", values
            ):
                query = f"SELECT {_COLUMNS} FROM sources WHERE job = ? ORDER BY number"
                sources = tuple(_source(row) for row in self.all(query, (name,)))
                asked = BatchRequest.model_validate_json(request)
                found.append(Job(name, asked, created, JobStatus(status), started, ended, sources))
            return found

    def insert(self, job: Job) -> None:
        """Store a new job."""
        with self.transaction():
            request = job.request.model_dump_json(exclude_none=True)
            row = (job.id, request, job.created, job.started, job.ended, str(job.status))
            self.run("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, 0)", row)
            for number, source in enumerate(job.sources):
                values = [str(value) if isinstance(value, JobStatus) else value for value in astuple(source)]
                self.run(f"INSERT INTO sources VALUES (?, ?{', ?' * len(values)})", (job.id, number, *values))

    def claim(self, most: int, now: float) -> tuple[Task, bool] | None:
        """Take the next recording of the oldest job and count the attempt; None: no work.

        The second value is False for one that was tried ``most`` times already: it is not taken.
        """
        with self.transaction():
            rows = self.all(
                "SELECT job, number FROM sources JOIN jobs ON id = job WHERE sources.status = ?"
                " ORDER BY created, job, number LIMIT 1",
                (JobStatus.QUEUED,),
            )
            if not rows:
                return None
            name, number = rows[0]
            (job,) = self.jobs("WHERE id = ?", (name,))
            task = Task(name, number, job.sources[number], job.request)
            if task.source.attempts >= most:
                return task, False
            self.run(
                "UPDATE sources SET status = ?, attempts = attempts + 1 WHERE job = ? AND number = ?",
                (JobStatus.IN_PROGRESS, name, number),
            )
            self.run(
                "UPDATE jobs SET status = ?, started = coalesce(started, ?) WHERE id = ?",
                (JobStatus.IN_PROGRESS, now, name),
            )
            return task, True

    def end(self, task: Task, source: BatchSource, now: float) -> bool:
        """Write a source's end, and the job's when it was the last one; False when the job was deleted meanwhile."""
        with self.transaction():
            self.run(
                "UPDATE sources SET status = ?, progress = 1, error = ?, predictions = ?, errors = ?"
                " WHERE job = ? AND number = ?",
                (source.status, source.error, source.predictions, source.errors, task.job, task.index),
            )
            found = self.jobs("WHERE id = ?", (task.job,))
            if found:
                status = status_of(found[0].sources)
                self.run(
                    "UPDATE jobs SET status = ?, started = coalesce(started, created), ended = ? WHERE id = ?",
                    (status, now if status in ENDED else None, task.job),
                )
            return bool(found)

    def delete(self, name: str) -> None:
        """Delete a job."""
        with self.transaction():
            self.run("DELETE FROM sources WHERE job = ?", (name,))
            self.run("DELETE FROM jobs WHERE id = ?", (name,))

    def requeue(self, task: Task | None = None, *, counted: bool) -> int:
        """Queue again what is in progress, or ``task`` alone, with or without ``counted`` attempt; the number."""
        chosen, values = (" AND job = ? AND number = ?", (task.job, task.index)) if task else ("", ())
        statement = "UPDATE sources SET status = ?, progress = 0, attempts = max(0, attempts - ?) WHERE status = ?"
        with self.transaction():
            return self.run(
                statement + chosen,
                (JobStatus.QUEUED, 0 if counted else 1, JobStatus.IN_PROGRESS, *values),
            )


def _source(row: Sequence[Any]) -> BatchSource:
    kind, name, content_type, checksum, size, status, *rest = row
    return BatchSource(kind, name, content_type, checksum, size, JobStatus(status), *rest)
