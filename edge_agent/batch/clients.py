"""The jobs of a queue that this machine reaches itself, or of another machine over HTTP, as Hume's documents."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from edge_agent.batch.artifacts import write_archive
from edge_agent.batch.jobs import (
    ENDED,
    BatchError,
    BatchRequest,
    JobQuery,
    JobQueue,
    NewSource,
    RequestError,
    job_document,
    predictions_of,
)

_TIMEOUT_S = 60.0


class Jobs(ABC):
    """The jobs of a machine, as Hume's documents."""

    @abstractmethod
    def submit(self, request: dict[str, Any], files: Sequence[Path]) -> str:
        """Hand recordings in and return the name of the job."""

    @abstractmethod
    def all(self, query: JobQuery) -> list[dict[str, Any]]:
        """The jobs that ``query`` selects."""

    @abstractmethod
    def one(self, name: str) -> dict[str, Any]:
        """One job."""

    @abstractmethod
    def archive(self, name: str, file: BinaryIO) -> None:
        """Write the artifacts of a job, a zip."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a job."""


class LocalJobs(Jobs):
    """The jobs of a queue that this machine reaches itself."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def submit(self, request: dict[str, Any], files: Sequence[Path]) -> str:
        """Hand recordings in and return the name of the job."""
        asked = BatchRequest.of(request)
        with contextlib.ExitStack() as stack:
            sources = [NewSource("file", path.name, stack.enter_context(path.open("rb"))) for path in files]
            sources += [NewSource("url", url) for url in asked.urls]
            sources += [NewSource("text", "", io.BytesIO(text.encode())) for text in asked.text]
            return self._queue.submit(asked, sources)

    def all(self, query: JobQuery) -> list[dict[str, Any]]:
        """The jobs that ``query`` selects."""
        return [job_document(job) for job in self._queue.jobs(query)]

    def one(self, name: str) -> dict[str, Any]:
        """One job."""
        return job_document(self._queue.job(name))

    def archive(self, name: str, file: BinaryIO) -> None:
        """Write the artifacts of a job, a zip."""
        job = self._queue.job(name)
        if job.status not in ENDED:
            raise BatchError(f"this job is {job.status}: there are no results yet")
        write_archive(predictions_of(self._queue, name), file)

    def delete(self, name: str) -> None:
        """Delete a job."""
        self._queue.delete(name)


class RemoteJobs(Jobs):
    """The jobs of another machine, by its web side at ``url``."""

    def __init__(self, url: str, token: str | None) -> None:
        self._at = urlsplit(url)
        if self._at.scheme not in ("http", "https") or not self._at.hostname:
            raise RequestError("--url: the address of a web side is needed, with http or https and its port")
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}

    def submit(self, request: dict[str, Any], files: Sequence[Path]) -> str:
        """Hand recordings in and return the name of the job."""
        boundary = "edge-agent-0f6b3d1c9a7e"
        with tempfile.TemporaryFile() as body:  # its length must be known, and it may not fit into memory
            _part(body, boundary, 'name="json"', io.BytesIO(json.dumps(request).encode()))
            for path in files:
                with path.open("rb") as file:
                    name = quote(path.name, safe=" !#$&'()+,-.;=@[]^_`{}~")
                    _part(body, boundary, f'name="file"; filename="{name}"', file)
            body.write(f"--{boundary}--\r\n".encode())
            size = body.tell()
            body.seek(0)
            headers = {"content-type": f"multipart/form-data; boundary={boundary}", "content-length": str(size)}
            return str(self._json("POST", "", body, headers)["job_id"])

    def all(self, query: JobQuery) -> list[dict[str, Any]]:
        """The jobs that ``query`` selects."""
        direction = "asc" if query.ascending else "desc"
        asked = [("limit", query.limit), ("sort_by", query.sort_by), ("direction", direction)]
        found: list[dict[str, Any]] = self._json(
            "GET", f"?{urlencode([*asked, *(('status', str(status)) for status in query.status)])}"
        )
        return found

    def one(self, name: str) -> dict[str, Any]:
        """One job."""
        found: dict[str, Any] = self._json("GET", f"/{quote(name, safe='')}")
        return found

    def archive(self, name: str, file: BinaryIO) -> None:
        """Write the artifacts of a job, a zip."""
        with self._exchange("GET", f"/{quote(name, safe='')}/artifacts", None, {}) as answer:
            shutil.copyfileobj(answer, file)

    def delete(self, name: str) -> None:
        """Delete a job."""
        with self._exchange("DELETE", f"/{quote(name, safe='')}", None, {}):
            pass

    def _json(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        with self._exchange(method, path, body, headers or {}) as answer:
            return json.loads(answer.read())

    @contextlib.contextmanager
    def _exchange(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._at.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._at.hostname or "", self._at.port, timeout=_TIMEOUT_S)
        try:
            connection.request(
                method, f"{self._at.path.rstrip('/')}/v0/batch/jobs{path}", body, {**self._headers, **headers}
            )
            answer = connection.getresponse()
            if not 200 <= answer.status < 300:
                raise BatchError(f"{self._at.netloc}: {_detail(answer)}")
            yield answer
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise BatchError(f"{self._at.netloc}: {getattr(error, 'strerror', None) or error}") from None
        finally:
            connection.close()


def _part(body: BinaryIO, boundary: str, head: str, content: BinaryIO) -> None:
    kind = "application/octet-stream" if "filename" in head else "application/json"
    body.write(f"--{boundary}\r\ncontent-disposition: form-data; {head}\r\ncontent-type: {kind}\r\n\r\n".encode())
    shutil.copyfileobj(content, body)
    body.write(b"\r\n")


def _detail(answer: http.client.HTTPResponse) -> str:
    text = answer.read(4096).decode("utf-8", "replace")
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(text)["detail"])
    return f"answered {answer.status}"
