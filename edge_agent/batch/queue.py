"""The queue of one machine: a SQLite database and a folder of files, durable against kills and power cuts.

A job exists once its row is committed, which is after its recordings and its description are on the disk; a result is
on the disk before its row says so. So a crash leaves at most files that no row knows, which :meth:`LocalQueue.sweep`
deletes. A damaged database is moved aside and made anew from the descriptions. Recordings are deleted as soon as they
are analysed. The folder is flat: ``JOB-INDEX.media``, ``JOB-INDEX.result.json``, ``JOB.job.json``.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.batch.jobs import (
    ENDED,
    BatchError,
    BatchRequest,
    BatchSource,
    Findings,
    Job,
    JobQuery,
    JobQueue,
    JobStatus,
    NewSource,
    QueueFullError,
    RequestError,
    Task,
    UnknownJobError,
    is_id,
    md5,
    new_id,
    poison,
    status_of,
)
from edge_agent.batch.rows import SCHEMA, Rows
from edge_agent.domain.database import StoreDamagedError, StoreError, connect
from edge_agent.domain.errors import ConfigError
from edge_agent.domain.files import replace_durably, sync_folder
from edge_agent.settings import Settings
from edge_agent.settings.batch import BatchSettings
from edge_agent.settings.privacy import FORBIDDEN

log = logging.getLogger(__name__)

DATABASE = "jobs.db"
_CHUNK = 1 << 20
_ORPHAN_S = 3600.0
"""Age after which a file that no row knows is deleted: one that is younger may belong to a job that is being stored."""


class LocalQueue(JobQueue):
    """The queue in ``folder``, which is made if it is missing. ``wall``: Unix time in seconds.

    Raises:
        BatchError: the folder cannot be used.
    """

    def __init__(self, folder: Path, limits: BatchSettings, wall: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._limits = limits
        self._wall = wall
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._rows = self._open()
        except OSError as error:
            raise BatchError(
                f"{folder}: {error.strerror}: give this user a folder to write to (batch.folder)"
            ) from None
        except StoreError as error:
            raise BatchError(f"{folder}: the batch queue cannot be opened: {error}") from None

    def close(self) -> None:
        """Close the database."""
        self._rows.close()

    # ------------------------------------------------------------------ clients

    def submit(self, request: BatchRequest, sources: Sequence[NewSource]) -> str:
        """Store a job, durably, and return its name."""
        if not sources:
            raise RequestError("there is nothing to analyse: give files, urls or text")
        if len(sources) > self._limits.max_files:
            raise RequestError(f"{len(sources)} recordings: a job may have {self._limits.max_files} (batch.max_files)")
        name = new_id()
        try:
            stored = tuple(self._store(name, index, source) for index, source in enumerate(sources))
            job = Job(name, request, self._wall(), sources=stored)
            self._make_room()
            replace_durably(self._path(f"{name}.job.json"), _description(job), mode=0o600)
            self._rows.insert(job)
        except BaseException as error:
            self._remove_files(name)
            if isinstance(error, OSError):
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                kind = QueueFullError if full else BatchError
                raise kind(f"the recordings cannot be stored: {error.strerror}") from None
            raise
        return name

    def jobs(self, query: JobQuery) -> list[Job]:
        """The jobs that ``query`` selects."""
        return query.select(self._rows.jobs())

    def job(self, name: str) -> Job:
        """One job."""
        found = self._rows.jobs("WHERE id = ?", (name,))
        if not found:
            raise UnknownJobError(f"there is no job {name[:60]!r}, or it is no longer kept")
        return found[0]

    def result(self, name: str, index: int) -> dict[str, Any] | None:
        """What was found in a source."""
        self.job(name)
        try:
            told: dict[str, Any] = json.loads(self._result(name, index).read_bytes())["results"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            raise BatchError(f"the result of job {name} cannot be read: {error}") from None
        return told

    def delete(self, name: str) -> None:
        """Delete a job, its recordings and results."""
        self.job(name)
        self._forget(name)

    # ------------------------------------------------------------------ workers

    def waiting(self) -> bool:
        """Whether there is work: a recording that waits, or a callback."""
        return bool(self._rows.all("SELECT 1 FROM sources WHERE status = ? LIMIT 1", (JobStatus.QUEUED,))) or bool(
            self._uncalled()
        )

    def recover(self, *, counted: bool = True) -> int:
        """Queue again what a worker had in hand that is gone; the number. Only with the worker's lock held.

        Without ``counted`` the attempt does not count: it was stopped in order.
        """
        return self._rows.requeue(counted=counted)

    def claim(self) -> Task | None:
        """Take the next recording of the oldest job, and count the attempt before anything is done with it."""
        while (found := self._rows.claim(self._limits.attempts, self._wall())) is not None:
            task, healthy = found
            if healthy:
                return task
            self.fail(task, poison(task.source.attempts))
        return None

    @contextmanager
    def content(self, task: Task) -> Iterator[Path]:
        """The recording as a file, for reading."""
        yield self._media(task.job, task.index)

    def progress(self, task: Task, share: float) -> bool:
        """Note how much is done; False when the job was deleted meanwhile."""
        with self._rows.transaction():
            key = (min(1.0, max(0.0, share)), task.job, task.index)
            return self._rows.run("UPDATE sources SET progress = ? WHERE job = ? AND number = ?", key) > 0

    def release(self, task: Task) -> None:
        """Give a recording back to the queue; this attempt does not count."""
        self._rows.requeue(task, counted=False)

    def complete(self, task: Task, outcome: Findings) -> None:
        """Store what was found, and forget the recording."""
        document = json.dumps(
            {"predictions": outcome.predictions, "errors": outcome.errors, "results": outcome.results}
        )
        try:
            replace_durably(self._result(task.job, task.index), document.encode(), mode=0o600)
        except OSError as error:
            self.fail(task, f"the result cannot be stored: {error.strerror}")
            return
        done = replace(
            task.source,
            status=JobStatus.COMPLETED,
            predictions=outcome.predictions,
            errors=outcome.errors,
            progress=1.0,
        )
        self._end(task, done)

    def fail(self, task: Task, why: str) -> None:
        """Note that this recording cannot be analysed, and forget it."""
        self._end(task, replace(task.source, status=JobStatus.FAILED, error=why[:1000], errors=1))

    def sweep(self) -> int:
        """Delete jobs that ended too long ago, and old files of which no job knows."""
        oldest = self._wall() - 3600 * self._limits.keep_hours
        late = [row[0] for row in self._rows.all("SELECT id FROM jobs WHERE ended < ?", (oldest,))]
        for name in late:
            self._forget(name)
        known = {row[0] for row in self._rows.all("SELECT id FROM jobs")}
        for entry in self._files():
            owner = entry.name[:36]
            stray = (is_id(owner) and owner not in known) or entry.name.startswith("upload-")
            with suppress(OSError):
                if stray and self._wall() - entry.stat().st_mtime > _ORPHAN_S:
                    os.unlink(entry.path)
        return len(late)

    def callbacks(self) -> Iterator[Job]:
        """Yield ended jobs whose callback has not been sent."""
        for name in self._uncalled():
            yield self.job(name)
            with self._rows.transaction():
                self._rows.run("UPDATE jobs SET called = 1 WHERE id = ?", (name,))

    # ------------------------------------------------------------------ files

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _media(self, name: str, index: int) -> Path:
        return self._path(f"{name}-{index}.media")

    def _result(self, name: str, index: int) -> Path:
        return self._path(f"{name}-{index}.result.json")

    def _store(self, name: str, index: int, new: NewSource) -> BatchSource:
        """Put a recording on the disk. Its name is nobody else's, so it need not be replaced atomically."""
        source = BatchSource(new.kind, new.name[:1000], new.content_type[:200])
        if new.content is None:
            return source
        most = round(self._limits.max_file_mb * 1e6)
        checksum, size = md5(), 0
        with open(self._media(name, index), "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            while chunk := new.content.read(_CHUNK):
                size += len(chunk)
                if size > most:
                    raise RequestError(f"a recording may have {self._limits.max_file_mb:g} MB (batch.max_file_mb)")
                checksum.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return replace(source, md5=checksum.hexdigest(), size=size)

    def _make_room(self) -> None:
        """Delete the results of the oldest jobs until the folder keeps to its limit. Raises QueueFullError."""
        most = self._limits.max_gb * 1e9
        for name in [row[0] for row in self._rows.all("SELECT id FROM jobs WHERE ended IS NOT NULL ORDER BY ended")]:
            if self.used() <= most:
                return
            log.info("batch: job %s is deleted, to make room", name)
            self._forget(name)
        if self.used() > most:
            raise QueueFullError(f"no room: the queue may have {self._limits.max_gb:g} GB (batch.max_gb); try later")

    def used(self) -> int:
        """Bytes of all files in the folder."""
        total = 0
        for entry in self._files():
            with suppress(OSError):  # gone meanwhile
                total += entry.stat().st_size
        return total

    def _files(self) -> list[os.DirEntry[str]]:
        with os.scandir(self.folder) as entries:
            return [entry for entry in entries if entry.is_file(follow_symlinks=False)]

    def _remove_files(self, name: str) -> None:
        for entry in self._files():
            if entry.name.startswith(name):
                with suppress(OSError):
                    os.unlink(entry.path)
        with suppress(OSError):
            sync_folder(self.folder)

    # ------------------------------------------------------------------ rows

    def _end(self, task: Task, source: BatchSource) -> None:
        kept = self._rows.end(task, source, self._wall())
        with suppress(OSError):
            self._media(task.job, task.index).unlink(missing_ok=True)
            if not kept:
                self._result(task.job, task.index).unlink(missing_ok=True)

    def _forget(self, name: str) -> None:
        self._rows.delete(name)
        self._remove_files(name)

    def _uncalled(self) -> list[str]:
        if not self._limits.allow_callbacks:
            return []
        rows = self._rows.all("SELECT id, request FROM jobs WHERE ended IS NOT NULL AND called = 0")
        return [name for name, request in rows if '"callback_url"' in request]

    # ------------------------------------------------------------------ a damaged database

    def _open(self) -> Rows:
        path = self._path(DATABASE)
        try:
            return Rows(connect(path, SCHEMA), self.folder)
        except StoreDamagedError as error:
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self._wall()))
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    shutil.move(f"{path}{suffix}", f"{path}.damaged-{stamp}{suffix}")
            log.error("%s: damaged (%s): moved aside, the jobs are read from their descriptions", path, error)
        rows = Rows(connect(path, SCHEMA), self.folder)
        for entry in self._files():
            if entry.name.endswith(".job.json") and is_id(entry.name[:36]):
                try:
                    rows.insert(self._salvaged(json.loads(Path(entry.path).read_bytes())))
                except (OSError, ValueError, KeyError, TypeError, BatchError) as problem:
                    log.error("%s: this job is lost: %s", entry.path, problem)
        return rows

    def _salvaged(self, told: dict[str, Any]) -> Job:
        """A job by its description and by what is in the folder of it."""
        name, sources = str(told["id"]), []
        for number, one in enumerate(told["sources"]):
            source = BatchSource(one["kind"], one["name"], one["content_type"], one["md5"], one["size"])
            try:
                done = json.loads(self._result(name, number).read_bytes())
                source = replace(
                    source, status=JobStatus.COMPLETED, predictions=done["predictions"], errors=done["errors"]
                )
            except (OSError, ValueError, KeyError):
                if source.kind != "url" and not self._media(name, number).exists():
                    lost = "its result was lost with a damaged database"
                    source = replace(source, status=JobStatus.FAILED, error=lost, errors=1)
            sources.append(source)
        status = status_of(sources)
        ended = self._wall() if status in ENDED else None
        started = None if status is JobStatus.QUEUED else told["created"]
        return Job(name, BatchRequest.of(told["request"]), told["created"], status, started, ended, tuple(sources))


def _description(job: Job) -> bytes:
    sources = [
        {name: getattr(s, name) for name in ("kind", "name", "content_type", "md5", "size")} for s in job.sources
    ]
    request = job.request.model_dump(mode="json", exclude_none=True)
    return json.dumps({"id": job.id, "created": job.created, "request": request, "sources": sources}).encode()


def folder_of(settings: Settings) -> Path:
    """Folder of the queue of this machine."""
    return settings.batch.folder or settings.device.state_dir / "batch"


def spool_of(settings: Settings) -> Path | None:
    """Folder for what is being received: that of the queue, or None, the system's, for a queue of several machines."""
    return folder_of(settings) if settings.batch.redis_url is None else None


def open_queue(settings: Settings) -> JobQueue:
    """The queue that the config names. Raises BatchError, ConfigError."""
    if settings.privacy.context in FORBIDDEN:
        raise ConfigError(f'batch jobs are not possible with privacy.context = "{settings.privacy.context}"')
    if settings.batch.redis_url is None:
        return LocalQueue(folder_of(settings), settings.batch)
    from edge_agent.batch.engine import RedisQueue  # needs the extra batch

    return RedisQueue(settings.batch)
