"""The batch queue after a power cut: every job whose name was told is there, with its recordings and results."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.batch.jobs import JobStatus
from edge_agent.batch.queue import LocalQueue
from edge_agent.settings import BatchSettings
from tests.support.powercut import PowerCut

CLIENT = """
import io, os, sys
from pathlib import Path
from edge_agent.batch.jobs import BatchRequest, Findings, NewSource
from edge_agent.batch.queue import LocalQueue
from edge_agent.settings import BatchSettings

queue = LocalQueue(Path(sys.argv[1]), BatchSettings())
while True:
    sources = [NewSource("file", f"{k}.bin", io.BytesIO(os.urandom(9000))) for k in range(2)]
    name = queue.submit(BatchRequest(), sources)
    print("stored", name, flush=True)
    task = queue.claim()
    queue.complete(task, Findings({"predictions": [{"file": name}], "errors": []}, 1, 0))
    print("done", task.job, task.index, flush=True)
"""


@pytest.mark.parametrize("chance", [False, True], ids=["nothing unsynced survives", "random blocks survive"])
def test_a_power_cut_loses_no_job_and_no_result(tmp_path: Path, chance: bool) -> None:
    if not PowerCut.available():
        pytest.skip("needs a C compiler for the library that forgets unsynced writes")
    folder = tmp_path / "batch"
    folder.mkdir()
    cut, rng = PowerCut(folder, tmp_path / "workshop"), random.Random(7)
    stored: list[str] = []
    done: list[tuple[str, int]] = []
    for lines in (9, 6, 12):
        cut.begin()
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(folder)], stdout=subprocess.PIPE, text=True, env=cut.environment()
        )
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.read().splitlines(keepends=True)
        process.wait(20)
        for words in (line.split() for line in told if line.endswith("\n")):
            if words[0] == "stored":
                stored.append(words[1])
            else:
                done.append((words[1], int(words[2])))
        cut.strike(rng if chance else None)
        queue = LocalQueue(folder, BatchSettings())
        queue.recover()
        for name in stored:
            for index, source in enumerate(queue.job(name).sources):
                if source.status is JobStatus.QUEUED:
                    content = (folder / f"{name}-{index}.media").read_bytes()
                    assert hashlib.md5(content).hexdigest() == source.md5
        for name, index in done:
            assert queue.job(name).sources[index].status is JobStatus.COMPLETED
            assert (queue.result(name, index) or {})["predictions"]
        assert not list(folder.glob("*.damaged-*"))
        queue.close()
    assert len(stored) > 10
    assert len(done) > 10
