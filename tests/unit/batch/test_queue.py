"""The durable queue of one machine."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from edge_agent.batch.jobs import (
    BatchError,
    BatchRequest,
    Findings,
    JobQuery,
    JobStatus,
    NewSource,
    QueueFullError,
    RequestError,
    Task,
    UnknownJobError,
)
from edge_agent.batch.queue import DATABASE, LocalQueue
from edge_agent.domain.database import NewerSchemaError
from edge_agent.settings import BatchSettings

LIMITS = BatchSettings(max_file_mb=0.01, max_gb=0.00015, max_files=3, keep_hours=1, attempts=2)
RESULTS = {"predictions": [{"file": "a", "models": {}}], "errors": []}


class Wall:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def queue(tmp_path: Path, wall: Wall) -> LocalQueue:
    return LocalQueue(tmp_path / "batch", LIMITS, wall)


def put(queue: LocalQueue, *contents: bytes, **request: Any) -> str:
    sources = [NewSource("file", f"{k}.bin", io.BytesIO(content)) for k, content in enumerate(contents)]
    return queue.submit(BatchRequest.of(request), sources)


def take(queue: LocalQueue) -> Task:
    task = queue.claim()
    assert task is not None
    return task


def found(queue: LocalQueue) -> str:
    name = put(queue, b"a")
    queue.complete(take(queue), Findings(RESULTS, 1, 0))
    return name


def media(queue: LocalQueue) -> list[str]:
    return sorted(path.name for path in queue.folder.glob("*.media"))


def test_a_job_passes_through_its_states(queue: LocalQueue, wall: Wall) -> None:
    name = put(queue, b"first", b"second", models={"face": {"fps_pred": 0}})
    assert queue.waiting()
    assert queue.job(name).status is JobStatus.QUEUED
    wall.now += 1
    task = take(queue)
    with queue.content(task) as path:
        assert path.read_bytes() == b"first"
    assert task.source.md5 == "8b04d5e3775d298e78455efc5ca404d5"
    assert task.request.asked == ("face",)
    assert queue.progress(task, 0.5)
    job = queue.job(name)
    assert (job.status, job.progress, job.started) == (JobStatus.IN_PROGRESS, 0.25, wall.now)
    queue.complete(task, Findings(RESULTS, 1, 0))
    assert media(queue) == [f"{name}-1.media"], "a recording is deleted as soon as it is analysed"
    assert queue.result(name, 0) == RESULTS
    wall.now += 1
    queue.fail(take(queue), "damaged")
    job = queue.job(name)
    assert (job.status, job.ended) == (JobStatus.COMPLETED, wall.now)
    assert [source.error for source in job.sources] == ["", "damaged"]
    assert queue.claim() is None
    assert not queue.waiting()
    assert media(queue) == []


def test_jobs_are_worked_on_in_their_order_and_survive_a_new_start(queue: LocalQueue, wall: Wall) -> None:
    first = put(queue, b"a")
    wall.now += 1
    second = put(queue, b"b")
    queue.close()
    again = LocalQueue(queue.folder, LIMITS, wall)
    assert [take(again).job, take(again).job] == [first, second]


def test_a_recording_at_which_workers_die_fails_and_the_others_go_on(queue: LocalQueue) -> None:
    name = put(queue, b"poison", b"good")
    for _ in range(LIMITS.attempts):
        assert take(queue).index == 0
        assert queue.recover() == 1  # the worker is gone
    assert take(queue).index == 1
    source = queue.job(name).sources[0]
    assert source.status is JobStatus.FAILED
    assert "died" in source.error


def test_an_ordered_stop_costs_no_attempt(queue: LocalQueue) -> None:
    put(queue, b"long")
    for _ in range(5):
        queue.release(take(queue))
        take(queue)
        queue.recover(counted=False)
    assert take(queue).source.attempts == 0


def test_a_deleted_job_is_gone_even_while_it_is_worked_on(queue: LocalQueue) -> None:
    name = put(queue, b"a")
    task = take(queue)
    queue.delete(name)
    assert not queue.progress(task, 0.5)
    queue.complete(task, Findings(RESULTS, 1, 0))
    assert [path.name for path in queue.folder.iterdir() if not path.name.startswith(DATABASE)] == []
    for ask in (queue.job, queue.delete, lambda n: queue.result(n, 0)):
        with pytest.raises(UnknownJobError, match="no job"):
            ask(name)


@pytest.mark.parametrize(
    ("contents", "words"),
    [((), "nothing to analyse"), ((b"x",) * 4, "max_files"), ((bytes(10_001),), "max_file_mb"),
     ((b"a", bytes(10_001)), "max_file_mb")],
)  # fmt: skip
def test_what_is_too_much_is_refused_and_leaves_nothing(
    queue: LocalQueue, contents: tuple[bytes, ...], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        put(queue, *contents)
    assert media(queue) == []
    assert queue.jobs(JobQuery()) == []


def test_old_results_make_room_for_new_jobs_and_waiting_ones_do_not(queue: LocalQueue, wall: Wall) -> None:
    done = found(queue)
    waiting = []
    refusal = ""
    while not refusal and len(waiting) < 20:
        try:
            waiting.append(put(queue, bytes(9_000)))
        except QueueFullError as error:
            refusal = str(error)
        wall.now += 1
    assert "max_gb" in refusal
    assert len(waiting) > 1
    with pytest.raises(UnknownJobError):
        queue.job(done)
    assert [job.id for job in queue.jobs(JobQuery(ascending=True))] == waiting
    assert len(media(queue)) == len(waiting)


def test_ended_jobs_are_deleted_after_their_time_and_strays_after_an_hour(queue: LocalQueue, wall: Wall) -> None:
    done, waiting = found(queue), put(queue, b"a")
    stray = queue.folder / "6a3bd5b5-0000-4000-8000-000000000000-0.media"
    for path in (stray, queue.folder / "upload-x"):
        path.write_bytes(b"x")
        os.utime(path, (wall.now, wall.now))
    wall.now += 3599
    assert queue.sweep() == 0
    assert stray.exists()
    wall.now += 2
    assert queue.sweep() == 1
    assert [job.id for job in queue.jobs(JobQuery())] == [waiting]
    assert not stray.exists()
    assert not (queue.folder / "upload-x").exists()
    assert media(queue) == [f"{waiting}-0.media"]
    assert done


def test_a_damaged_database_is_moved_aside_and_made_anew(queue: LocalQueue, wall: Wall) -> None:
    done, waiting, lost = found(queue), put(queue, b"wait", text=["t"]), put(queue, b"lost")
    queue.close()
    (queue.folder / f"{lost}-0.media").unlink()
    for path in queue.folder.glob(f"{DATABASE}-*"):
        path.unlink()
    (queue.folder / DATABASE).write_bytes(b"no database at all, but long enough to be read as one" * 100)
    again = LocalQueue(queue.folder, LIMITS, wall)
    assert len(list(queue.folder.glob(f"{DATABASE}.damaged-*"))) == 1
    assert again.job(done).status is JobStatus.COMPLETED
    assert again.result(done, 0) == RESULTS
    assert take(again).job == waiting
    assert again.job(waiting).request.text == ("t",)
    assert again.job(lost).status is JobStatus.FAILED


def test_a_database_of_a_newer_version_is_left_alone(queue: LocalQueue) -> None:
    queue.close()
    with sqlite3.connect(queue.folder / DATABASE) as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(NewerSchemaError, match="newer edge-agent"):
        LocalQueue(queue.folder, LIMITS)


def test_a_folder_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BatchError, match=r"batch\.folder"):
        LocalQueue(tmp_path / "file" / "batch", LIMITS)


def test_a_full_disk_refuses_the_job(queue: LocalQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(QueueFullError, match="No space left"):
        put(queue, b"a")
    monkeypatch.undo()
    assert media(queue) == []
    assert put(queue, b"a")


def test_two_processes_share_a_queue(queue: LocalQueue, wall: Wall) -> None:
    other = LocalQueue(queue.folder, LIMITS, wall)
    names = [put(queue, b"a"), put(other, b"b")]
    assert sorted(job.id for job in queue.jobs(JobQuery())) == sorted(names)
    assert {take(queue).job, take(other).job} == set(names)


def test_callbacks_are_told_once(queue: LocalQueue, wall: Wall) -> None:
    limits = LIMITS.model_copy(update={"allow_callbacks": True})
    calling = LocalQueue(queue.folder, limits, wall)
    name = put(calling, b"a", callback_url="https://example.com/hook")
    put(calling, b"b")
    for _ in range(2):
        calling.complete(take(calling), Findings(RESULTS, 1, 0))
    assert calling.waiting()
    assert [job.id for job in calling.callbacks()] == [name]
    assert list(calling.callbacks()) == []
    assert not calling.waiting()


def test_names_of_recordings_are_no_paths(queue: LocalQueue) -> None:
    name = queue.submit(BatchRequest(), [NewSource("file", "../../x\0y", io.BytesIO(b"a"))])
    assert media(queue) == [f"{name}-0.media"]
    assert json.loads((queue.folder / f"{name}.job.json").read_bytes())["sources"][0]["name"] == "../../x\0y"
    shutil.rmtree(queue.folder)
