"""``edge-agent run`` as a process of its own: a recording as its devices, a real broker, a real subscriber."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_agent.payloads.schemas import schema
from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.soak import NotifySocket

WITHIN_S = 60.0


def wait_for(condition: Callable[[], bool], what: str, within: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(0.1)


Start = Callable[..., subprocess.Popen[str]]


@dataclass
class MosquittoSub:
    """``mosquitto_sub`` writing every message to a file, one line each: retain flag, topic, payload."""

    process: subprocess.Popen[bytes]
    file: Path

    def messages(self, topic: str) -> list[str]:
        lines = self.file.read_text(encoding="utf-8").splitlines()
        rows = [line.split(" ", 2) for line in lines]
        return [row[2] if len(row) > 2 else "" for row in rows if row[1] == topic]


@contextmanager
def subscribed(port: int, file: Path) -> Iterator[MosquittoSub]:
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", "edge-agent/#", "-F", "%r %t %p"]
    with file.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink)
    try:
        yield MosquittoSub(process, file)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if not Mosquitto.available() or shutil.which("mosquitto_sub") is None:
        pytest.skip("needs the Debian packages mosquitto and mosquitto-clients")
    with Mosquitto(tmp_path / "mosquitto") as running:
        yield running


@pytest.fixture
def subscriber(broker: Mosquitto, tmp_path: Path) -> Iterator[MosquittoSub]:
    with subscribed(broker.port, tmp_path / "received") as found:
        yield found


def configure(tmp_path: Path, port: int, media: Path | str, **more: str) -> str:
    path = tmp_path / "config.toml"
    tables = {
        "device": 'id = "kiosk-1"',
        "camera": f'source = "{media}"\nloop = true',
        "microphone": f'source = "{media}"\nloop = true',
        "summary": "window_s = 4",
        "mqtt": f'host = "127.0.0.1"\nport = {port}',
        **more,
    }
    path.write_text("".join(f"[{name}]\n{body}\n" for name, body in tables.items()))
    return str(path)


@pytest.fixture
def running(cli: Cli) -> Iterator[Start]:
    """Starts agents that end with the test, each once it has told its service manager that it is ready."""
    started: list[subprocess.Popen[str]] = []
    sockets: list[NotifySocket] = []

    def start(config: str, *, ready: bool = True) -> subprocess.Popen[str]:
        state, notify = Path(config).with_name("state"), NotifySocket(Path(config).with_name(f"notify-{len(sockets)}"))
        sockets.append(notify)
        environment = {"EDGE_AGENT__DEVICE__STATE_DIR": str(state), "NOTIFY_SOCKET": str(notify.path)}
        process = cli.start("run", "--config", config, **environment)
        started.append(process)
        if ready:
            wait_for(lambda: notify.ready or process.poll() is not None, "the agent is ready")
            assert process.poll() is None, process.communicate()[0]
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)
    for notify in sockets:
        notify.close()


def test_pictures_and_sound_reach_a_subscriber(
    running: Start,
    broker: Mosquitto,
    subscriber: MosquittoSub,
    tmp_path: Path,
    media: Path,
) -> None:
    agent = running(configure(tmp_path, broker.port, media / "kiosk.mp4"))
    base = "edge-agent/kiosk-1"

    def summaries() -> list[dict[str, Any]]:
        return [json.loads(text) for text in subscriber.messages(f"{base}/summary")]

    def with_two_faces() -> bool:
        return any(s["faces"]["max"] == 2 and s["emotion"] is not None for s in summaries())

    wait_for(with_two_faces, "a summary with two faces and an emotion")
    wait_for(lambda: bool(subscriber.messages(f"{base}/event/burst")), "the first cough")
    for summary in summaries():
        jsonschema.validate(summary, schema("summary", closed=True))
    for text in subscriber.messages(f"{base}/event/burst"):
        event = json.loads(text)
        jsonschema.validate(event, schema("event", closed=True))
        assert event["label"] == "cough"
    keys = [(s["boot_id"], s["seq"]) for s in summaries()]
    assert len(set(keys)) == len(keys)
    assert subscriber.messages(f"{base}/status")[-1] == "online"
    info = json.loads(subscriber.messages(f"{base}/info")[-1])
    assert info["analyzers"]["face"] == "enabled"
    health = json.loads(subscriber.messages(f"{base}/health")[-1])
    assert health["status"] == "ok", health["problems"]
    agent.kill()
    wait_for(lambda: subscriber.messages(f"{base}/status")[-1] == "offline", "the last will")


def test_sigterm_ends_within_five_seconds_and_flushes_the_open_window(
    running: Start, broker: Mosquitto, subscriber: MosquittoSub, tmp_path: Path
) -> None:
    """Row 30, connected: exit 0 within 5 s, the open window delivered, `offline` said."""
    agent = running(configure(tmp_path, broker.port, "demo", summary="window_s = 600"))
    status = "edge-agent/kiosk-1/status"
    wait_for(lambda: subscriber.messages(status) == ["online"], "online")
    time.sleep(2)
    began = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(20) == 0
    assert time.monotonic() - began < 5 * overload()
    wait_for(lambda: subscriber.messages(status)[-1] == "offline", "goodbye", 5)
    (text,) = subscriber.messages("edge-agent/kiosk-1/summary")
    assert 1 < json.loads(text)["seconds"] < 600


def test_sigterm_offline_ends_within_five_seconds_and_keeps_the_open_window(
    running: Start, cli: Cli, tmp_path: Path
) -> None:
    """Row 30, offline and busy: nobody answers at the broker's address, other processes take every processor: exit 0
    within 5 s, the open window is in the outbox.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = configure(tmp_path, silent.getsockname()[1], "demo", summary="window_s = 600")
        agent = running(config)
        wait_for((tmp_path / "state" / "outbox" / "outbox.db").exists, "the outbox")
        with busy_machine():
            time.sleep(2)
            began = time.monotonic()
            agent.send_signal(signal.SIGTERM)
            output, _ = agent.communicate(timeout=20)
            spent = time.monotonic() - began
    assert agent.returncode == 0, output
    assert spent < 5 * overload()
    exported = cli("outbox", "export", "--config", config, EDGE_AGENT__DEVICE__STATE_DIR=str(tmp_path / "state"))
    rows = [json.loads(line) for line in exported.stdout.splitlines()]
    (summary,) = [row["payload"] for row in rows if row["kind"] == "summary"]
    assert 1 < summary["seconds"] < 600


def overload() -> float:
    """By how much longer things may take than they should: this machine's load beyond two processes a processor."""
    return max(1.0, os.getloadavg()[0] / (2 * (os.cpu_count() or 1)))


@contextmanager
def busy_machine() -> Iterator[None]:
    """A process for every processor that only computes."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


def test_an_unreachable_broker_is_waited_for_and_the_buffer_drains(running: Start, tmp_path: Path) -> None:
    port = free_port()
    config = configure(tmp_path, port, "demo", summary="window_s = 1", microphone='source = "none"')
    agent = running(config)
    time.sleep(22)  # what is older than 15 s is late
    assert agent.poll() is None, agent.communicate()[0]
    with Mosquitto(tmp_path / "late", port=port), subscribed(port, tmp_path / "received") as late:
        topic = "edge-agent/kiosk-1/backfill/summary"
        wait_for(lambda: len(late.messages(topic)) >= 3, "the buffered windows")
        backlog = [json.loads(text) for text in late.messages(topic)]
        assert all(s["replayed"] for s in backlog)
        assert [s["seq"] for s in backlog] == sorted(s["seq"] for s in backlog)


def test_a_second_agent_on_the_same_state_is_refused(
    running: Start, broker: Mosquitto, subscriber: MosquittoSub, tmp_path: Path
) -> None:
    config = configure(tmp_path, broker.port, "demo", microphone='source = "none"')
    running(config)
    wait_for(lambda: subscriber.messages("edge-agent/kiosk-1/status") == ["online"], "online")
    second = running(config, ready=False)
    output, _ = second.communicate(timeout=30)
    assert second.returncode == 7, output
    assert output.strip().splitlines()[-1].startswith("edge-agent: ")


def test_a_changed_config_is_reloaded_and_a_bad_one_is_not(
    running: Start, broker: Mosquitto, subscriber: MosquittoSub, tmp_path: Path
) -> None:
    """Row 32, reloading: a bad config (SIGHUP) or an empty one is told on the health topic and the old one stays in
    force; a good one is taken once it is written, without a signal, and what it loosens is told.
    """
    config = configure(tmp_path, broker.port, "demo", microphone='source = "none"', summary="window_s = 600")
    agent = running(config)
    base = "edge-agent/kiosk-1"
    wait_for(lambda: subscriber.messages(f"{base}/status") == ["online"], "online")
    good = Path(config).read_text()
    Path(config).write_text(good.replace("window_s = 600", "window_s = 0"))
    agent.send_signal(signal.SIGHUP)

    def problems(part: str = "problems") -> list[str]:
        texts = subscriber.messages(f"{base}/health")
        return json.loads(texts[-1]).get(part, []) if texts else []

    # At once, not with the next regular one.
    wait_for(lambda: "summary.window_s" in str(problems()), "the refused config on the health topic", 10)
    assert agent.poll() is None
    Path(config).write_text("")
    wait_for(lambda: "is empty" in str(problems()), "the refused empty file on the health topic", 10)
    assert agent.poll() is None
    Path(config).write_text(good.replace("window_s = 600", "window_s = 1") + "[commands]\nenabled = true\n")
    wait_for(
        lambda: any(json.loads(t)["seconds"] == 1 for t in subscriber.messages(f"{base}/summary")),
        "windows of one second",
    )
    wait_for(lambda: "commands.enabled is on" in str(problems("notices")), "that it obeys others now")


def test_roll_ups_are_the_windows_they_are_made_of(
    running: Start, broker: Mosquitto, subscriber: MosquittoSub, tmp_path: Path
) -> None:
    """Retained, the latest only; their figures are the sums of their windows, and a late subscriber gets them."""
    summary = "window_s = 1\nrollups = [3, 6]"
    running(configure(tmp_path, broker.port, "demo", microphone='source = "none"', summary=summary))
    base = "edge-agent/kiosk-1"
    wait_for(lambda: bool(subscriber.messages(f"{base}/rollup/6")), "six seconds")
    shorter = [json.loads(text) for text in subscriber.messages(f"{base}/rollup/3")]
    assert [roll["seq"] for roll in shorter] == list(range(1, len(shorter) + 1))
    for roll in [*shorter, json.loads(subscriber.messages(f"{base}/rollup/6")[0])]:
        jsonschema.validate(roll, schema("summary", closed=True))
        count, number = round(roll["seconds"]), roll["seq"]
        windows = [json.loads(text) for text in subscriber.messages(f"{base}/summary")]
        parts = windows[count * (number - 1) : count * number]
        assert len(parts) == count
        together = sum(part["faces"]["person_seconds"] or 0.0 for part in parts)
        assert roll["faces"]["person_seconds"] == pytest.approx(together, abs=0.01)
    with subscribed(broker.port, tmp_path / "late") as late:
        wait_for(lambda: bool(late.messages(f"{base}/rollup/6")), "the retained one", 5)
        assert f"1 {base}/rollup/6 " in late.file.read_text(encoding="utf-8")
