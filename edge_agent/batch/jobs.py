"""Jobs, their recordings and their requests in Hume's shapes, and the interface that every queue has.

Pure: the queues (:mod:`edge_agent.batch.queue` on this machine, :mod:`edge_agent.batch.engine` over Redis) store what
is defined here. Times are Unix seconds; Hume's documents have them in milliseconds.
"""

from __future__ import annotations

import hashlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.batch.custom import CustomModelChoice
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.text import printable

MODELS = ("face", "burst", "prosody", "language", "ner", "facemesh")
"""Every model that a job may ask for, by Hume's names."""


class BatchError(EdgeAgentError):
    """The queue cannot do what is asked."""


class RequestError(BatchError):
    """A job cannot be accepted as it is; says what to change."""

    exit_code = 2


class QueueFullError(BatchError):
    """The queue has no room for a job."""


class UnknownJobError(BatchError):
    """There is no such job, or it is no longer kept."""


# ---------------------------------------------------------------------- requests


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class FaceOptions(_Part):
    """``models.face``. ``fps_pred`` 0: every picture. ``facs``, ``descriptions`` and ``save_faces`` have no effect."""

    fps_pred: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] | None = None
    prob_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    identify_faces: bool | None = None
    min_face_size: Annotated[float, Field(ge=0, le=1e6)] | None = None


class SpeechOptions(_Part):
    """``models.prosody`` and ``models.language``."""

    granularity: Literal["word", "sentence", "utterance", "conversational_turn"] | None = None
    identify_speakers: bool | None = None
    sentiment: dict[str, Any] | None = None
    toxicity: dict[str, Any] | None = None


class ModelOptions(_Part):
    """``models``: which are asked for, and their options."""

    face: FaceOptions | None = None
    burst: dict[str, Any] | None = None
    prosody: SpeechOptions | None = None
    language: SpeechOptions | None = None
    ner: dict[str, Any] | None = None
    facemesh: dict[str, Any] | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of those that are asked for."""
        return tuple(name for name in MODELS if getattr(self, name) is not None)


class TranscriptionOptions(_Part):
    """``transcription``: the language that is spoken, and how sure a transcript must be."""

    language: Annotated[str, Field(max_length=20)] | None = None
    identify_speakers: bool | None = None
    confidence_threshold: Annotated[float, Field(ge=0, le=1)] | None = None


class BatchRequest(_Part):
    """What a client asks for. Without ``models``: all that this device has; with ``custom_model``: that one alone."""

    models: ModelOptions | None = None
    custom_model: CustomModelChoice | None = None
    transcription: TranscriptionOptions | None = None
    urls: tuple[Annotated[str, Field(max_length=4096)], ...] = ()
    text: tuple[Annotated[str, Field(max_length=1_000_000)], ...] = ()
    callback_url: Annotated[str, Field(max_length=4096)] | None = None
    notify: bool | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the models that are asked for by name; empty: all."""
        return self.models.asked if self.models else ()

    @classmethod
    def of(cls, value: object) -> BatchRequest:
        """Check a request's JSON document. Raises RequestError."""
        if value is None:
            return cls()
        if not isinstance(value, Mapping):
            raise RequestError("the request must be a JSON object")
        known = {name: item for name, item in value.items() if item is not None}
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            first = error.errors()[0]
            raise RequestError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


# ---------------------------------------------------------------------- jobs


class JobStatus(StrEnum):
    """State of a job or of one of its recordings."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


ENDED = (JobStatus.COMPLETED, JobStatus.FAILED)


@dataclass(frozen=True, slots=True)
class BatchSource:
    """One recording, address or text of a job. ``name`` is as the client told it: never part of a path."""

    kind: Literal["file", "url", "text"]
    name: str = field(default="", repr=False)
    content_type: str = ""
    md5: str = ""
    size: int = 0
    status: JobStatus = JobStatus.QUEUED
    attempts: int = 0
    progress: float = 0.0
    error: str = ""
    predictions: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A job and what has become of it."""

    id: str
    request: BatchRequest
    created: float
    status: JobStatus = JobStatus.QUEUED
    started: float | None = None
    ended: float | None = None
    sources: tuple[BatchSource, ...] = ()

    @property
    def progress(self) -> float:
        """Share of the recordings that are done, 0 to 1."""
        done = sum(1.0 if s.status in ENDED else s.progress for s in self.sources)
        return done / len(self.sources) if self.sources else 1.0

    @property
    def message(self) -> str:
        """Why it has failed."""
        errors = [source.error for source in self.sources if source.error]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return f"{errors[0]}{more}" if errors else ""


def status_of(sources: Sequence[BatchSource]) -> JobStatus:
    """State of a job by those of its recordings: it has failed when all of them have."""
    states = [source.status for source in sources]
    if all(state is JobStatus.QUEUED for state in states) and states:
        return JobStatus.QUEUED
    if any(state not in ENDED for state in states):
        return JobStatus.IN_PROGRESS
    return JobStatus.COMPLETED if JobStatus.COMPLETED in states else JobStatus.FAILED


def new_id() -> str:
    """Name of a new job, a UUID as Hume's are."""
    return str(uuid.uuid4())


def is_id(text: str) -> bool:
    """Whether ``text`` is written as the name of a job: safe as a part of a file's name."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Filters of a list of jobs, as Hume's. ``timestamp``: Unix seconds; jobs without the time sorted by come last."""

    limit: int = 50
    status: tuple[JobStatus, ...] = ()
    when: Literal["created_before", "created_after"] = "created_before"
    timestamp: float | None = None
    sort_by: Literal["created", "started", "ended"] = "created"
    ascending: bool = False

    def select(self, jobs: Sequence[Job]) -> list[Job]:
        """Apply the filters."""
        found = [job for job in jobs if not self.status or job.status in self.status]
        if self.timestamp is not None:
            limit, later = _milliseconds(self.timestamp), self.when == "created_after"
            found = [job for job in found if (_milliseconds(job.created) > limit) is later]
        timed = [job for job in found if getattr(job, self.sort_by) is not None]
        timed.sort(key=lambda job: (getattr(job, self.sort_by), job.id), reverse=not self.ascending)
        return [*timed, *(job for job in found if getattr(job, self.sort_by) is None)][: self.limit]


# ---------------------------------------------------------------------- Hume's documents


def job_document(job: Job) -> dict[str, Any]:
    """A job as Hume's ``UnionJob``; ``progress`` (0 to 1) is ours."""
    files = [
        {"filename": s.name, "content_type": s.content_type, "md5sum": s.md5} for s in job.sources if s.kind == "file"
    ]
    request = job.request.model_dump(mode="json", exclude_none=True)
    return {
        "type": "INFERENCE" if job.request.custom_model is None else "TL_INFERENCE",
        "job_id": job.id,
        "user_id": "",
        "request": {**request, "files": files, "notify": bool(job.request.notify)},
        "state": {"status": str(job.status), **_times(job), **_figures(job)},
        "progress": round(job.progress, 3),
    }


def _times(job: Job) -> dict[str, int]:
    times = {"created": job.created, "started": job.started, "ended": job.ended}
    return {f"{name}_timestamp_ms": _milliseconds(time) for name, time in times.items() if time is not None}


def _milliseconds(time: float) -> int:
    return round(1000 * time)


def _figures(job: Job) -> dict[str, Any]:
    if job.status is JobStatus.COMPLETED:
        return {
            "num_predictions": sum(s.predictions for s in job.sources),
            "num_errors": sum(s.errors for s in job.sources),
        }
    return {"message": job.message} if job.status is JobStatus.FAILED else {}


def source_document(source: BatchSource) -> dict[str, Any]:
    """Where predictions come from, as Hume's ``source``."""
    if source.kind == "url":
        return {"type": "url", "url": source.name}
    if source.kind == "text":
        return {"type": "text"}
    return {
        "type": "file",
        "filename": source.name or None,
        "content_type": source.content_type or None,
        "md5sum": source.md5,
    }


def prediction_documents(job: Job, results: Sequence[Mapping[str, Any] | None]) -> list[dict[str, Any]]:
    """The answer to ``GET …/predictions``: one document for each source, with what was found in it and what failed."""
    found = []
    for source, result in zip(job.sources, results, strict=True):
        failed = [{"message": source.error, "file": file_name(source)}] if source.error else []
        told: dict[str, Any] = {
            "source": source_document(source),
            "results": dict(result) if result else {"predictions": [], "errors": failed},
        }
        found.append(told | ({"error": source.error} if source.error else {}))
    return found


def file_name(source: BatchSource) -> str:
    """Name of a source in its predictions: the last part of a path or of an address, made fit to show."""
    name = source.name
    if source.kind == "url":
        name = name.partition("?")[0].partition("#")[0].rstrip("/").rpartition("/")[2]
    return printable(name.replace("\\", "/").rpartition("/")[2], lines=False)[:200] or source.kind


# ---------------------------------------------------------------------- queues


@dataclass(frozen=True, slots=True)
class NewSource:
    """A recording to hand in: ``content`` holds a file's bytes or a text; an address is its ``name`` alone."""

    kind: Literal["file", "url", "text"]
    name: str = field(repr=False)
    content: BinaryIO | None = None
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One recording that a worker has taken from the queue."""

    job: str
    index: int
    source: BatchSource
    request: BatchRequest


@dataclass(frozen=True, slots=True)
class Findings:
    """What a worker found: Hume's ``results`` of one source and the numbers of predictions and errors in it."""

    results: dict[str, Any] = field(repr=False)
    predictions: int = 0
    errors: int = 0


class JobQueue(ABC):
    """A durable queue of jobs. Safe to use from several threads and processes at once."""

    @abstractmethod
    def submit(self, request: BatchRequest, sources: Sequence[NewSource]) -> str:
        """Store a job, durably, and return its name. Raises RequestError, QueueFullError, BatchError."""

    @abstractmethod
    def jobs(self, query: JobQuery) -> list[Job]:
        """The jobs that ``query`` selects. Raises BatchError."""

    @abstractmethod
    def job(self, name: str) -> Job:
        """One job. Raises UnknownJobError."""

    @abstractmethod
    def result(self, name: str, index: int) -> dict[str, Any] | None:
        """What was found in a source; None while it is not done or when it failed. Raises UnknownJobError."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a job, its recordings and results; one in progress is given up. Raises UnknownJobError."""

    # -- for workers ----------------------------------------------------------------------------------------------

    @abstractmethod
    def content(self, task: Task) -> AbstractContextManager[Path]:
        """The recording as a file, for reading."""

    @abstractmethod
    def progress(self, task: Task, share: float) -> bool:
        """Note how much is done (0 to 1); False when the job was deleted meanwhile."""

    @abstractmethod
    def release(self, task: Task) -> None:
        """Give a recording back to the queue; this attempt does not count."""

    @abstractmethod
    def complete(self, task: Task, outcome: Findings) -> None:
        """Store what was found, and forget the recording."""

    @abstractmethod
    def fail(self, task: Task, why: str) -> None:
        """Note that this recording cannot be analysed, and forget it."""

    @abstractmethod
    def sweep(self) -> int:
        """Delete jobs that ended too long ago, and recordings of which no job knows; the number deleted."""

    @abstractmethod
    def callbacks(self) -> Iterator[Job]:
        """Yield ended jobs whose callback has not been sent; each is noted as sent when the next is asked for."""

    @abstractmethod
    def close(self) -> None:
        """Release what the queue holds."""


def poison(attempts: int) -> str:
    """Why a recording at which workers died is not tried again."""
    return f"the worker died while it analysed this recording ({attempts} of {attempts} attempts)"


def predictions_of(queue: JobQueue, name: str) -> list[dict[str, Any]]:
    """The predictions of a job. Raises UnknownJobError."""
    job = queue.job(name)
    return prediction_documents(job, [queue.result(name, index) for index in range(len(job.sources))])


def md5() -> Any:
    """The checksum by which Hume's clients recognise their files; not for security."""
    return hashlib.md5(usedforsecurity=False)
