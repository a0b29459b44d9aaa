"""Not watched is not nobody, over a real broker: the running agent says that it does not know, and why (row A7)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto
from tests.support.payloads import validated
from tests.support.subscriber import Received, Subscriber

BASE = "edge-agent/kiosk-1"
CONFIG = """
[device]
id = "kiosk-1"
[camera]
source = "{camera}"
[microphone]
source = "none"
[summary]
window_s = 2
[commands]
enabled = true
[mqtt]
host = "127.0.0.1"
port = {port}
{more}
"""
Start = Callable[..., subprocess.Popen[str]]
NOTHING = dict.fromkeys(("max", "mean", "person_seconds", "tracks"))


@pytest.fixture
def start(cli: Cli, broker: Mosquitto, tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def run(camera: str, more: str = "") -> subprocess.Popen[str]:
        config = tmp_path / "config.toml"
        config.write_text(CONFIG.format(camera=camera, port=broker.port, more=more))
        state = str(tmp_path / "state")
        running.append(cli.start("run", "--config", str(config), EDGE_AGENT__DEVICE__STATE_DIR=state))
        return running[-1]

    yield run
    for process in running:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=20)


def wait(heard: Subscriber, topic: str, condition: Callable[[Any], Any], timeout: float = 60.0) -> Received:
    """The first message on ``topic`` whose document meets ``condition``."""

    def found(messages: list[Received]) -> Received | None:
        return next((m for m in messages if m.topic == f"{BASE}/{topic}" and condition(m.json)), None)

    message: Received = heard.wait(found, timeout)
    return message


def test_a_camera_that_is_missing(start: Start, subscriber: Subscriber) -> None:
    start("/dev/video97")
    summary = wait(subscriber, "summary", lambda s: list(s["unknown"]["people"]) == ["missing"])
    document = validated(summary.payload)
    assert document["faces"] == NOTHING
    assert document["unknown"]["sounds"].keys() == {"none"}
    assert wait(subscriber, "presence", lambda p: p["unknown"] == "missing").json["count"] is None
    state = wait(subscriber, "state", lambda s: s["camera"] == "missing").json
    assert state["unknown"] == {"people": "missing", "sounds": "none"}
    health = wait(subscriber, "health", lambda h: h["problems"]).json
    assert health["sources"]["camera"]["unknown"] == "missing"
    early = [m.json for m in subscriber.on(f"{BASE}/health") if m.json["sources"]["camera"]["unknown"] == "starting"]
    assert [h["status"] for h in early] == ["starting"] * len(early)


def test_without_a_face_detector_the_number_of_people_is_unknown(start: Start, subscriber: Subscriber) -> None:
    """M2: faces.max 0 and coverage 1 while somebody sat there."""
    start("demo", '[plugins]\nallow = ["quality"]')
    document = validated(wait(subscriber, "summary", lambda s: "no_detector" in s["quality"]["flags"]).payload)
    assert document["faces"] == NOTHING
    assert document["quality"]["coverage"]["video"] == 0
    assert "no_detector" in document["unknown"]["people"]
    assert wait(subscriber, "presence", lambda p: p["unknown"] == "no_detector").json["occupied"] is None


def test_presence_follows_arrivals_and_pauses_at_once(start: Start, subscriber: Subscriber) -> None:
    """C5: occupancy waited for the end of the window."""
    agent = start("demo")
    arrival = wait(subscriber, "event/arrival", lambda _e: True)
    here = wait(subscriber, "presence", lambda p: p["count"] == 1)
    assert here.json == {"v": 1, "device": "kiosk-1", "count": 1, "occupied": True, "unknown": None}
    assert abs(here.at - arrival.at) < 1.0
    wait(subscriber, "health", lambda h: h["status"] == "ok")
    subscriber.publish(f"{BASE}/cmd/pause", "60")
    done = wait(subscriber, "cmd/pause/response", lambda a: a["status"] == "done")
    paused = wait(subscriber, "presence", lambda p: p["unknown"] == "paused")
    assert paused.at - done.at < 2.0
    refusal = ask(subscriber, "camera", "ON")
    assert refusal["status"] == "refused"
    assert "end the pause first" in refusal["reason"]
    told = wait(subscriber, "state", lambda s: (s["last_command"] or {}).get("command") == "camera").json
    assert told["last_command"]["reason"] == refusal["reason"]
    document = validated(wait(subscriber, "summary", lambda s: s["faces"]["max"] is None).payload)
    assert document["unknown"]["people"].keys() == {"paused"}
    before = len(subscriber.on(f"{BASE}/presence"))
    assert ask(subscriber, "resume", "{}")["status"] == "done"
    subscriber.wait(lambda _m: any(m.json["count"] == 1 for m in subscriber.on(f"{BASE}/presence")[before:]), 30)
    agent.terminate()
    agent.communicate(timeout=20)
    assert subscriber.on(f"{BASE}/presence")[-1].json["unknown"] == "stopped"


def ask(heard: Subscriber, name: str, value: str) -> dict[str, Any]:
    heard.publish(f"{BASE}/cmd/{name}", value)
    answer: dict[str, Any] = heard.wait_for(f"{BASE}/cmd/{name}/response").json
    return answer
