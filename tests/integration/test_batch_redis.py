"""The queue of several machines: Dramatiq over a real Redis, and real workers that are killed in mid-file."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.batch.engine import RedisQueue
from edge_agent.batch.jobs import (
    BatchError,
    BatchRequest,
    JobQuery,
    JobStatus,
    NewSource,
    RequestError,
    UnknownJobError,
)
from edge_agent.settings import BatchSettings

LEASE_S = 2.0

WORKER = """
import sys, threading, time
from edge_agent.batch.analysis import Analyser
from edge_agent.batch.engine import RedisQueue
from edge_agent.batch.jobs import Findings
from edge_agent.batch.worker import Worker, share
from edge_agent.settings import BatchSettings

limits = BatchSettings(redis_url=sys.argv[1], attempts=2)

class Slow(Analyser):
    def analyse(self, path, task, progress=lambda share: None):
        content = path.read_bytes()
        for k in range(int(content.decode())):
            progress(0.01 * (k + 1))
            time.sleep(0.05)
        return Findings({"predictions": [{"file": task.source.name, "models": {}}], "errors": []}, 1, 0)

import edge_agent.batch.worker as module
module.PROGRESS_S = 0.05
queue = RedisQueue(limits, lease_s=float(sys.argv[2]))
share(queue, Worker(queue, Slow(limits), limits), threading.Event())
"""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("needs a Redis server (Debian: apt install redis-server)")
    pytest.importorskip("dramatiq", reason="needs the extra batch: pip install 'edge-emotion-agent[batch]'")
    folder = tmp_path_factory.mktemp("redis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes"]
    process = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)
    wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close() or True)
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait(20)


def wait_for(condition: Callable[[], object], within: float = 200.0) -> None:
    deadline = time.monotonic() + within
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def queue(redis_url: str) -> Iterator[RedisQueue]:
    opened = RedisQueue(BatchSettings(redis_url=redis_url, max_files=3, max_file_mb=0.01), lease_s=LEASE_S)
    yield opened
    opened._redis.flushall()
    opened.close()


@pytest.fixture
def start(redis_url: str) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []

    def make() -> subprocess.Popen[bytes]:
        running.append(subprocess.Popen([sys.executable, "-c", WORKER, redis_url, str(LEASE_S)], cwd=Path.cwd()))
        return running[-1]

    yield make
    for process in running:
        process.kill()
        process.wait(20)


def put(queue: RedisQueue, *contents: str) -> str:
    sources = [NewSource("file", f"{k}.txt", io.BytesIO(content.encode())) for k, content in enumerate(contents)]
    return queue.submit(BatchRequest(), sources)


def test_the_work_of_a_worker_that_is_killed_in_mid_file_is_done_by_the_other(
    queue: RedisQueue, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    workers = [start(), start()]
    name = put(queue, "60", "60", "1")
    wait_for(lambda: sum(s.progress > 0 for s in queue.job(name).sources) >= 2)
    os.kill(workers[0].pid, signal.SIGKILL)
    wait_for(lambda: queue.job(name).status is JobStatus.COMPLETED)
    sources = queue.job(name).sources
    assert [source.status for source in sources] == [JobStatus.COMPLETED] * 3
    assert sorted(source.attempts for source in sources) == [1, 1, 2]
    assert [(queue.result(name, k) or {})["predictions"][0]["file"] for k in range(3)] == ["0.txt", "1.txt", "2.txt"]
    assert queue._redis.keys("edge-agent:batch:media:*") == []


def test_a_recording_that_kills_its_workers_fails(
    queue: RedisQueue, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    name = put(queue, "400")
    for attempt in (1, 2):
        worker = start()
        wait_for(lambda attempt=attempt: queue.job(name).sources[0].attempts == attempt)  # type: ignore[misc]
        worker.kill()
        worker.wait(20)
    start()
    wait_for(lambda: queue.job(name).status is JobStatus.FAILED)
    assert "died" in queue.job(name).sources[0].error


def test_it_has_the_interface_of_the_other_queue(queue: RedisQueue) -> None:
    first, second = put(queue, "1"), put(queue, "2")
    assert [job.id for job in queue.jobs(JobQuery(ascending=True))] == [first, second]
    task = queue.begin(first, 0)
    assert task is not None
    with queue.content(task) as path:
        assert path.read_bytes() == b"1"
    assert queue.job(first).status is JobStatus.IN_PROGRESS
    queue.release(task)
    assert (queue.job(first).status, queue.job(first).sources[0].attempts) == (JobStatus.QUEUED, 0)
    queue.delete(second)
    with pytest.raises(UnknownJobError):
        queue.job(second)
    assert queue.begin(second, 0) is None
    assert not queue.progress(task.__class__(second, 0, task.source, task.request), 0.5)
    with pytest.raises(RequestError, match="max_file_mb"):
        put(queue, "1", "1" * 10_001)
    assert len(queue.jobs(JobQuery())) == 1


def test_what_a_client_stored_and_could_not_announce_is_found(queue: RedisQueue) -> None:
    name = put(queue, "1")
    queue._redis.delete(*queue._redis.keys("edge-agent:batch:edge-agent-batch*"))
    queue._wall = lambda: time.time() + 120
    queue.sweep()
    assert queue._broker.do_qsize("edge-agent-batch") == 1
    queue._wall = lambda: time.time() + 365 * 86_400
    task = queue.begin(name, 0)
    assert task is not None
    queue.fail(task, "x")
    queue._wall = lambda: time.time() + 2 * 365 * 86_400
    assert queue.sweep() == 1


def test_without_a_redis_the_error_is_one_line() -> None:
    pytest.importorskip("dramatiq")
    with pytest.raises(BatchError, match=r"batch\.redis_url"):
        RedisQueue(BatchSettings(redis_url="redis://127.0.0.1:1/0"))
