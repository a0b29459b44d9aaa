"""The queue of several machines: Dramatiq over Redis, both existing engines, behind the extra ``batch``.

Dramatiq hands each recording to one worker and gives it to another when that one is gone: a worker whose heartbeat
stays away for ``LEASE_S`` has died, or hangs. Jobs, recordings and results are kept in the same Redis, so they are as
durable as that is (``appendonly yes``). An attempt is counted before the work, so a recording that kills workers fails.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
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
from edge_agent.domain.errors import ConfigError
from edge_agent.settings.batch import BatchSettings

log = logging.getLogger(__name__)

LEASE_S = 60.0
PREFIX = "edge-agent:batch"
QUEUE = "edge-agent-batch"
_FORGOTTEN_S = 60.0
"""Age after which a queued recording that no message speaks of is announced again."""
MISSING = "a shared queue needs {name}: install it with pip install 'edge-emotion-agent[batch]'"


class RedisQueue(JobQueue):
    """The queue in the Redis that ``limits`` names. ``lease_s``: a worker silent for so long is gone.

    Raises:
        ConfigError: the extra is not installed.
        BatchError: Redis cannot be reached.
    """

    def __init__(self, limits: BatchSettings, wall: Callable[[], float] = time.time, lease_s: float = LEASE_S) -> None:
        os.environ.setdefault("dramatiq_queue_prefetch", "1")  # a recording does not wait behind a long one
        try:
            import dramatiq
            import redis
            from dramatiq.brokers.redis import RedisBroker
        except ModuleNotFoundError as error:
            raise ConfigError(MISSING.format(name=error.name)) from None
        assert limits.redis_url is not None
        self._limits, self._wall = limits, wall
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, dramatiq.DramatiqError)
        self._redis: Any = redis.Redis.from_url(limits.redis_url.get_secret_value(), socket_timeout=30.0)
        self._broker: Any = RedisBroker(
            client=redis.Redis.from_url(limits.redis_url.get_secret_value()),
            middleware=[],
            namespace=PREFIX,
            heartbeat_timeout=round(1000 * lease_s),
            maintenance_chance=1_000_000 if lease_s < LEASE_S else 10_000,
        )
        self._dramatiq: Any = dramatiq
        self._broker.declare_queue(QUEUE)
        with self._reached():
            self._redis.ping()

    def close(self) -> None:
        """Close the connections."""
        self._broker.close()
        self._redis.close()

    # ------------------------------------------------------------------ clients

    def submit(self, request: BatchRequest, sources: Sequence[NewSource]) -> str:
        """Store a job, and announce its recordings to the workers."""
        if not sources:
            raise RequestError("there is nothing to analyse: give files, urls or text")
        if len(sources) > self._limits.max_files:
            raise RequestError(f"{len(sources)} recordings: a job may have {self._limits.max_files} (batch.max_files)")
        name = new_id()
        with self._reached():
            try:
                stored = [self._store(name, index, source) for index, source in enumerate(sources)]
                told = {"request": request.model_dump_json(exclude_none=True), "created": self._wall(), "called": 0}
                with self._redis.pipeline(transaction=True) as pipe:
                    for index, source in enumerate(stored):
                        pipe.hset(_key("source", name, index), mapping=_mapping(source))
                    pipe.hset(_key("job", name), mapping={**told, "sources": len(stored)})
                    pipe.zadd(_key("jobs"), {name: told["created"]})
                    pipe.execute()
            except BaseException:
                self._remove(name, len(sources))
                raise
            for index in range(len(stored)):
                self._announce(name, index)
        return name

    def jobs(self, query: JobQuery) -> list[Job]:
        """The jobs that ``query`` selects."""
        with self._reached():
            names = [raw.decode() for raw in self._redis.zrange(_key("jobs"), 0, -1)]
        found = []
        for name in names:
            with contextlib.suppress(UnknownJobError):
                found.append(self.job(name))
        return query.select(found)

    def job(self, name: str) -> Job:
        """One job."""
        with self._reached():
            told = {k.decode(): v.decode() for k, v in self._redis.hgetall(_key("job", name)).items()}
            if not is_id(name) or "sources" not in told:
                raise UnknownJobError(f"there is no job {name[:60]!r}, or it is no longer kept")
            sources = tuple(
                _source(self._redis.hgetall(_key("source", name, index))) for index in range(int(told["sources"]))
            )
        times = {key: float(told[key]) for key in ("started", "ended") if key in told}
        request = BatchRequest.model_validate_json(told["request"])
        return Job(name, request, float(told["created"]), status_of(sources), sources=sources, **times)

    def result(self, name: str, index: int) -> dict[str, Any] | None:
        """What was found in a source."""
        self.job(name)
        with self._reached():
            raw = self._redis.get(_key("result", name, index))
        return None if raw is None else json.loads(raw)

    def delete(self, name: str) -> None:
        """Delete a job, its recordings and results."""
        self._remove(name, len(self.job(name).sources))

    # ------------------------------------------------------------------ workers

    def serve(self, work: Callable[[Task], object], stop: threading.Event, idle: Callable[[], object]) -> None:
        """Work until ``stop`` is set; ``idle`` is called about once a second. Raises BatchError."""

        def analyse(name: str, index: int) -> None:
            task = self.begin(name, index)
            if task is not None:
                work(task)

        self._dramatiq.actor(analyse, queue_name=QUEUE, broker=self._broker, actor_name="analyse")
        worker = self._dramatiq.Worker(self._broker, queues={QUEUE}, worker_threads=1, worker_timeout=200)
        worker.start()
        try:
            while not stop.wait(1.0):
                idle()
        finally:
            worker.stop(timeout=5000)

    def begin(self, name: str, index: int) -> Task | None:
        """Take a recording that Dramatiq handed to this worker, and count the attempt; None: nothing is left to do."""
        try:
            job = self.job(name)
        except UnknownJobError:
            return None
        source = job.sources[index]
        task = Task(name, index, source, job.request)
        if source.status in ENDED:
            return None
        with self._reached():
            attempts = self._redis.hincrby(_key("source", name, index), "attempts", 1)
            if attempts > self._limits.attempts:
                self.fail(task, poison(self._limits.attempts))
                return None
            self._redis.hset(_key("source", name, index), "status", str(JobStatus.IN_PROGRESS))
            self._redis.hsetnx(_key("job", name), "started", self._wall())
        return task

    @contextmanager
    def content(self, task: Task) -> Iterator[Path]:
        """The recording as a file, for reading, until the block ends."""
        with self._reached():
            raw = self._redis.get(_key("media", task.job, task.index))
        if raw is None:
            raise BatchError("this recording is no longer kept")
        with tempfile.NamedTemporaryFile(prefix="upload-") as file:
            file.write(raw)
            file.flush()
            del raw
            yield Path(file.name)

    def progress(self, task: Task, share: float) -> bool:
        """Note how much is done, and that this worker lives; False when the job was deleted meanwhile."""
        with self._reached():
            self._broker.do_qsize(QUEUE)  # every call of a broker is its heartbeat; a busy consumer makes none
            if not self._redis.exists(_key("job", task.job)):
                return False
            self._redis.hset(_key("source", task.job, task.index), "progress", min(1.0, max(0.0, share)))
        return True

    def release(self, task: Task) -> None:
        """Give a recording back to the queue; this attempt does not count."""
        with self._reached():
            key = _key("source", task.job, task.index)
            self._redis.hset(key, mapping={"status": str(JobStatus.QUEUED), "progress": 0.0})
            self._redis.hincrby(key, "attempts", -1)
            self._announce(task.job, task.index)

    def complete(self, task: Task, outcome: Findings) -> None:
        """Store what was found, and forget the recording."""
        with self._reached():
            self._redis.set(_key("result", task.job, task.index), json.dumps(outcome.results))
        done = replace(task.source, status=JobStatus.COMPLETED, predictions=outcome.predictions, errors=outcome.errors)
        self._end(task, done)

    def fail(self, task: Task, why: str) -> None:
        """Note that this recording cannot be analysed, and forget it."""
        self._end(task, replace(task.source, status=JobStatus.FAILED, error=why[:1000], errors=1))

    def sweep(self) -> int:
        """Delete jobs that ended too long ago; announce again what was stored by a client that died then."""
        now, oldest, deleted = self._wall(), self._wall() - 3600 * self._limits.keep_hours, 0
        with self._reached():
            forgotten = self._broker.do_qsize(QUEUE) == 0
        for job in self.jobs(JobQuery(limit=1_000_000)):
            if job.ended is not None and job.ended < oldest:
                self.delete(job.id)
                deleted += 1
            elif forgotten and job.status not in ENDED and now - job.created > _FORGOTTEN_S:
                for index, source in enumerate(job.sources):
                    if source.status not in ENDED:
                        self._announce(job.id, index)
        return deleted

    def callbacks(self) -> Iterator[Job]:
        """Yield ended jobs whose callback has not been sent; one worker at a time takes each."""
        if not self._limits.allow_callbacks:
            return
        for job in self.jobs(JobQuery(limit=1_000_000)):
            if job.ended is not None and job.request.callback_url:
                with self._reached():
                    first = self._redis.hincrby(_key("job", job.id), "called", 1) == 1
                if first:
                    yield job

    # ------------------------------------------------------------------ keys

    def _announce(self, name: str, index: int) -> None:
        self._broker.enqueue(
            self._dramatiq.Message(queue_name=QUEUE, actor_name="analyse", args=(name, index), kwargs={}, options={})
        )

    def _store(self, name: str, index: int, new: NewSource) -> BatchSource:
        source = BatchSource(new.kind, new.name[:1000], new.content_type[:200])
        if new.content is None:
            return source
        most = round(min(self._limits.max_file_mb, 500.0) * 1e6)  # Redis keeps at most 512 MB under a key
        content = new.content.read(most + 1)
        if len(content) > most:
            raise RequestError(f"a recording may have {most / 1e6:g} MB (batch.max_file_mb)")
        used = int(self._redis.get(_key("used")) or 0)
        if used + len(content) > 1e9 * self._limits.max_gb:
            raise QueueFullError(f"no room: the queue may have {self._limits.max_gb:g} GB (batch.max_gb); try later")
        checksum = md5()
        checksum.update(content)
        self._redis.set(_key("media", name, index), content)
        self._redis.incrby(_key("used"), len(content))
        return replace(source, md5=checksum.hexdigest(), size=len(content))

    def _end(self, task: Task, source: BatchSource) -> None:
        key = _key("source", task.job, task.index)
        with self._reached():
            if not self._redis.exists(_key("job", task.job)):  # deleted meanwhile
                self._redis.delete(_key("result", task.job, task.index))
                return
            told = {k: v for k, v in _mapping(source).items() if k in ("status", "error", "predictions", "errors")}
            self._redis.hset(key, mapping={**told, "progress": 1.0})
            self._forget_media(task.job, task.index)
            if self.job(task.job).status in ENDED:
                self._redis.hsetnx(_key("job", task.job), "started", self._wall())
                self._redis.hset(_key("job", task.job), "ended", self._wall())

    def _forget_media(self, name: str, index: int) -> None:
        size = self._redis.strlen(_key("media", name, index))
        if self._redis.delete(_key("media", name, index)):
            self._redis.decrby(_key("used"), size)

    def _remove(self, name: str, count: int) -> None:
        with self._reached():
            self._redis.zrem(_key("jobs"), name)
            self._redis.delete(_key("job", name))
            for index in range(count):
                self._forget_media(name, index)
                self._redis.delete(_key("source", name, index), _key("result", name, index))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise BatchError(f"the shared queue (batch.redis_url) cannot be used: {error}") from None


def _key(*parts: object) -> str:
    return ":".join((PREFIX, *map(str, parts)))


def _mapping(source: BatchSource) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, JobStatus) else value for key, value in asdict(source).items()}


def _source(raw: dict[bytes, bytes]) -> BatchSource:
    told: dict[str, Any] = {key.decode(): value.decode("utf-8", "replace") for key, value in raw.items()}
    for key in ("size", "attempts", "predictions", "errors"):
        told[key] = int(told.get(key, 0))
    return BatchSource(**told | {"progress": float(told.get("progress", 0)), "status": JobStatus(told["status"])})
