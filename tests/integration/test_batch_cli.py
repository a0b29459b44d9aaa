"""``edge-agent batch`` as a user calls it: on this machine without an agent, with one, and on another machine."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from edge_agent.batch.jobs import JobStatus
from edge_agent.batch.queue import LocalQueue
from edge_agent.settings import BatchSettings
from tests.support.cli import Cli
from tests.support.recordings import write
from tests.support.web_agent import WebAgent

Eventually = Callable[..., None]


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("batch") / "face.jpg"
    Image.fromarray(pictures.astronaut()).save(path)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Its worker has the priority of other programs: the machine that tests is busy."""
    path = tmp_path / "config.toml"
    path.write_text(f'[batch]\nfolder = "{tmp_path / "queue"}"\npriority = "normal"\nattempts = 2\n')
    return path


def run(cli: Cli, *arguments: object, ok: bool = True) -> str:
    done = cli("batch", *map(str, arguments))
    assert (done.returncode == 0) is ok, done.stderr
    return (done.stdout if ok else done.stderr).strip()


def test_a_job_from_hand_in_to_results_without_an_agent(cli: Cli, config: Path, face: Path, tmp_path: Path) -> None:
    name = run(cli, "submit", face, "--models", "face", "--text", "hello", "-c", config)
    assert "QUEUED" in run(cli, "list", "-c", config)
    assert "no results yet" in run(cli, "fetch", name, "-c", config, ok=False)
    run(cli, "work", "--until-done", "-c", config)
    told = json.loads(run(cli, "show", name, "--json", "-c", config))
    assert told["state"]["status"] == "COMPLETED"
    assert told["progress"] == 1
    run(cli, "fetch", name, "-o", tmp_path / "out", "-c", config)
    (row,) = csv.DictReader((tmp_path / "out/file-0-face.jpg/csv/face.jpg/face.csv").open())
    assert float(row["Joy"]) > 0.9
    assert json.loads((tmp_path / "out/predictions.json").read_text())[0]["source"]["filename"] == "face.jpg"
    run(cli, "delete", name, "-c", config)
    assert json.loads(run(cli, "list", "--json", "-c", config)) == []
    assert "no job" in run(cli, "show", name, "-c", config, ok=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("submit", "missing.mp4"), "no such file"),
        (("submit", "--text", "a", "--models", "smell"), "'smell'"),
        (("list", "--url", "ftp://kiosk"), "http or https"),
        (("list", "--url", "http://127.0.0.1:1"), "127.0.0.1:1"),
    ],
)
def test_mistakes_are_told_in_one_line(cli: Cli, config: Path, arguments: tuple[str, ...], words: str) -> None:
    told = run(cli, *arguments, "-c", config, ok=False)
    assert words in told
    assert len(told.splitlines()) == 1


def test_a_place_where_emotions_must_not_be_inferred_has_no_batch_jobs(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    reason = 'override_reason = "emotion analysis is off on this device"'
    path.write_text(f'[privacy]\ncontext = "workplace"\n{reason}\n')
    assert "privacy.context" in run(cli, "submit", "--text", "a", "-c", path, ok=False)
    path.write_text(f'[privacy]\ncontext = "workplace"\n{reason}\n[batch]\nenabled = true\n')
    assert "exclude each other" in cli("config", "check", "-c", str(path)).stderr


# ---------------------------------------------------------------------- kills


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film whose analysis takes long enough to be interrupted."""
    image = np.ascontiguousarray(pictures.astronaut()[:256, 96:352])
    path = tmp_path_factory.mktemp("batch") / "long.mp4"
    return write(path, ((k / 30, image) for k in range(30 * 20)), fps=30, preset="ultrafast")


class Working:
    """``edge-agent batch work`` in the background, in a process group of its own."""

    def __init__(self, cli: Cli, config: Path) -> None:
        self.process = subprocess.Popen(
            [str(cli.script), "batch", "work", "-c", str(config)],
            env=cli.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def child(self) -> int | None:
        """The worker itself."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(text[0]) if text else None

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def start(cli: Cli, config: Path) -> Iterator[Callable[[], Working]]:
    running: list[Working] = []

    def make() -> Working:
        running.append(Working(cli, config))
        return running[-1]

    yield make
    for one in running:
        one.process.kill()
        one.process.wait(20)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], object], within: float = 90.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_that_is_killed_in_mid_file_is_replaced_and_the_file_analysed(
    cli: Cli, config: Path, long_film: Path, face: Path, tmp_path: Path, start: Callable[[], Working]
) -> None:
    """The worker first, then the one that watches over it: nothing is lost, and nobody is left behind."""
    request = '{"models": {"face": {"fps_pred": 30}}}'
    name = run(cli, "submit", long_film, face, "--request", request, "-c", config)
    queue = LocalQueue(tmp_path / "queue", BatchSettings(attempts=2))
    working = start()
    wait_for(lambda: queue.job(name).sources[0].progress > 0)
    first = working.child()
    assert first is not None
    working.process.kill()  # the power is cut, as it were
    working.process.wait(20)
    wait_for(lambda: not alive(first))
    assert queue.job(name).sources[0].attempts == 1
    again = start()
    wait_for(lambda: queue.job(name).sources[0].attempts == 2)
    assert "another worker" in run(cli, "work", "-c", config, ok=False)
    wait_for(lambda: again.child() not in (None, first))
    second = again.child()
    assert second is not None
    os.kill(second, signal.SIGKILL)  # this film is poison now: two workers have died of it
    wait_for(lambda: queue.job(name).status is JobStatus.COMPLETED)
    poisoned, good = queue.job(name).sources
    assert (poisoned.status, good.status) == (JobStatus.FAILED, JobStatus.COMPLETED)
    assert "died" in poisoned.error
    again.end()
    queue.close()


# ---------------------------------------------------------------------- with an agent


def test_an_agent_works_on_jobs_below_its_own_priority(cli: Cli, face: Path, tmp_path: Path) -> None:
    agent = WebAgent(
        cli, tmp_path, camera='source = "none"', microphone='source = "none"', mqtt="enabled = false",
        batch="enabled = true",
    )  # fmt: skip
    agent.start()
    try:
        wait_for(lambda: (agent.state / "web-token").exists() and (agent.state / "batch" / "jobs.db").exists())
        remote = ("--url", f"http://127.0.0.1:{agent.port}", "--token-file", agent.state / "web-token")
        wait_for(lambda: cli("batch", "list", *map(str, remote)).returncode == 0)
        assert "token" in run(cli, "list", "--url", f"http://127.0.0.1:{agent.port}", ok=False)
        name = run(cli, "submit", face, "--models", "face", *remote)
        assert agent.process is not None
        pid = agent.process.pid
        niceness: set[str] = set()

        def ended() -> bool:
            for text in Path(f"/proc/{pid}/task").glob("*/children"):
                for child in text.read_text().split():
                    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                    niceness.add(f"{fields[16]} {fields[38]}")
            return bool(json.loads(run(cli, "show", name, "--json", *remote))["state"]["status"] == "COMPLETED")

        wait_for(ended, within=240)
        assert f"19 {os.SCHED_IDLE}" in niceness
        run(cli, "fetch", name, "-o", tmp_path / "out", *remote)
        assert (tmp_path / "out/file-0-face.jpg/csv/face.jpg/face.csv").exists()
        run(cli, "delete", name, *remote)
        assert json.loads(run(cli, "list", "--json", *remote)) == []
    finally:
        agent.end()
