"""Commands to the daemon over a real broker: devices are really let go of, and nothing stale is obeyed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.domain.observation import EMOTIONS
from tests.support.cameras import MjpegCamera
from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto
from tests.support.sound_server import PACKAGES, SoundServer
from tests.support.subscriber import Subscriber

BASE = "edge-agent/kiosk-1"

CONFIG = """
[device]
id = "kiosk-1"
[camera]
source = "{camera}"
[microphone]
source = "{microphone}"
[summary]
window_s = 1
[mqtt]
host = "127.0.0.1"
port = {port}
[commands]
{commands}
"""


def wait_for(condition: Callable[[], Any], what: str, within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if not Mosquitto.available() or shutil.which("mosquitto_rr") is None:
        pytest.skip("needs the Debian packages mosquitto and mosquitto-clients")
    with Mosquitto(tmp_path / "mosquitto") as running:
        yield running


@pytest.fixture
def heard(broker: Mosquitto) -> Iterator[Subscriber]:
    with Subscriber(broker.port) as listening:
        yield listening


class Device:
    """A daemon that can be started again on the same state."""

    def __init__(self, cli: Cli, folder: Path, environment: dict[str, str]) -> None:
        self._cli = cli
        self._folder = folder
        self._environment = environment
        self.process: subprocess.Popen[str] | None = None

    def start(
        self, port: int, *, camera: str = "demo", microphone: str = "none", commands: str = "enabled = true"
    ) -> None:
        config = self._folder / "config.toml"
        config.write_text(CONFIG.format(port=port, camera=camera, microphone=microphone, commands=commands))
        state = {"EDGE_AGENT__DEVICE__STATE_DIR": str(self._folder / "state")}
        self.process = self._cli.start("run", "--config", str(config), **self._environment, **state)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.communicate(timeout=20)
            self.process = None


@pytest.fixture
def device(cli: Cli, tmp_path: Path) -> Iterator[Device]:
    device = Device(cli, tmp_path, {})
    yield device
    device.end()


def state(heard: Subscriber) -> dict[str, Any]:
    messages = heard.on(f"{BASE}/state")
    return dict(messages[-1].json) if messages else {}


def answer(heard: Subscriber, name: str, payload: str, id_: str) -> dict[str, Any]:
    """Send a command and wait for the answer with its id."""
    heard.publish(f"{BASE}/cmd/{name}", payload)

    def answered(messages: list[Any]) -> list[dict[str, Any]]:
        found = [m.json for m in messages if m.topic == f"{BASE}/cmd/{name}/response"]
        return [document for document in found if document["id"] == id_]

    document: dict[str, Any] = heard.wait(answered, 20)[0]
    return document


def ask(heard: Subscriber, name: str, value: object, id_: str) -> dict[str, Any]:
    return answer(heard, name, json.dumps({"id": id_, "value": value}), id_)


def test_privacy_lets_go_of_real_devices_and_survives_a_kill(
    cli: Cli, broker: Mosquitto, heard: Subscriber, tmp_path: Path
) -> None:
    if not SoundServer.available():
        pytest.skip(f"needs PulseAudio and its ALSA plugin ({PACKAGES})")
    sound, camera = SoundServer(tmp_path / "pulse"), MjpegCamera()
    sound.start()
    changed = {name: value for name, value in sound.environment.items() if os.environ.get(name) != value}
    device = Device(cli, tmp_path, changed)

    def recorded() -> str:
        command = ["pactl", "list", "short", "source-outputs"]
        return subprocess.run(command, env=sound.environment, capture_output=True, text=True, check=True).stdout

    def pictures_within(seconds: float) -> int:
        before = camera.sent
        time.sleep(seconds)
        return camera.sent - before

    try:
        device.start(broker.port, camera=camera.url, microphone="auto")
        wait_for(lambda: recorded() and camera.sent > 20, "both devices in use")
        done = ask(heard, "privacy", "ON", "p1")
        assert (done["status"], done["state"]["privacy"]) == ("done", "on")
        assert recorded() == ""
        pictures_within(0.5)  # one more goes into a connection that was just closed
        assert pictures_within(1.0) == 0
        wait_for(lambda: state(heard).get("privacy") == "on", "the confirmation", 10)
        confirmed = heard.on(f"{BASE}/state")[-1]
        assert confirmed.retain
        assert (confirmed.json["camera"], confirmed.json["microphone"]) == ("off", "off")
        refused = ask(heard, "camera", True, "p2")
        assert refused["status"] == "refused"
        assert "switch privacy off first" in refused["reason"]

        device.end(signal.SIGKILL)
        before = camera.sent
        device.start(broker.port, camera=camera.url, microphone="auto")
        wait_for(lambda: [m.payload for m in heard.on(f"{BASE}/status")].count(b"online") == 2, "the second start")
        assert ask(heard, "status", None, "p3")["state"]["privacy"] == "on"
        assert (recorded(), camera.sent) == ("", before)

        assert ask(heard, "privacy", "OFF", "p4")["state"]["microphone"] == "on"
        wait_for(lambda: recorded() and camera.sent > before, "both devices in use again")
    finally:
        device.end()
        camera.stop()
        sound.stop()


def test_requests_are_answered_on_their_response_topic_with_their_correlation(
    device: Device, broker: Mosquitto, heard: Subscriber
) -> None:
    device.start(broker.port)
    heard.wait_for(f"{BASE}/state", timeout=60)
    request = ["mosquitto_rr", "-h", "127.0.0.1", "-p", str(broker.port), "-V", "mqttv5", "-W", "20", "-q", "1"]
    request += ["-t", f"{BASE}/cmd/profile", "-e", "dashboard/answers", "-m", "detail"]
    request += ["-D", "publish", "correlation-data", "42-abc", "-F", "%D %p"]
    correlation, text = subprocess.run(request, capture_output=True, text=True, check=True).stdout.split(" ", 1)
    assert correlation == "42-abc"
    document = json.loads(text)
    assert (document["command"], document["status"], document["state"]["profile"]) == ("profile", "done", "detail")
    wait_for(lambda: state(heard)["profile"] == "detail", "the confirmation", 10)


def test_nothing_retained_stale_or_malformed_is_obeyed_and_everything_is_answered(
    device: Device, broker: Mosquitto, heard: Subscriber
) -> None:
    """Row 18: retained, malformed, huge, old, repeated and unknown commands to a running agent: each is refused with
    its reason and counted, and nothing changes.
    """
    heard.publish(f"{BASE}/cmd/privacy", "ON", retain=True)
    device.start(broker.port)
    heard.wait_for(f"{BASE}/state", timeout=60)
    answers = f"{BASE}/cmd/privacy/response"
    assert "retained" in heard.wait_for(answers).json["reason"]
    hostile = [
        b"",
        b"\xff\xfe\x00",
        b"[" * 3000,
        b"{" + b'"value":' * 400,
        b"x" * 5000,
        b'{"id": 7, "value": "ON"}',
        b'{"value": "ON", "extra": 1}',
        b'{"value": "ON", "sent": "yesterday"}',
        json.dumps({"value": "ON", "sent": time.time() - 3600}).encode(),
        b'{"value": NaN}',
        b'{"value": {"deep": [1, 2]}}',
    ]
    for payload in hostile:
        heard.publish(f"{BASE}/cmd/privacy", payload)
        time.sleep(1.0)  # within the rate that is allowed: each is to be refused for what it is
    refusals = [m.json for m in heard.wait(lambda all_: len(_on(all_, answers)) > len(hostile) and _on(all_, answers))]
    assert {document["status"] for document in refusals} <= {"refused", "failed"}
    assert len({document["reason"] for document in refusals}) >= 8
    heard.publish(f"{BASE}/cmd/self_destruct", "{}")
    assert "no such command" in heard.wait_for(f"{BASE}/cmd/self_destruct/response").json["reason"]
    heard.publish(f"{BASE}/cmd/{'A' * 300}", "{}")
    heard.wait_for(f"{BASE}/cmd/unknown/response")
    heard.publish(f"{BASE}/cmd/privacy", b"y" * 100_000)  # the broker keeps it from us
    time.sleep(2)
    assert ask(heard, "max_fps", 1.5, "first")["status"] == "done"
    heard.publish(f"{BASE}/cmd/max_fps", json.dumps({"id": "first", "value": 9}))
    heard.wait(lambda all_: any("repeated" in str(m.payload) for m in all_))
    assert state(heard)["privacy"] == "off"
    assert ask(heard, "status", None, "end")["state"]["max_fps"] == 1.5
    counted = heard.wait(lambda all_: [m for m in _on(all_, f"{BASE}/health") if m.json["commands"]["done"] >= 2])
    assert counted[-1].json["commands"]["refused"] >= len(hostile)
    assert counted[-1].json["commands"]["malformed"] >= 7


def _on(messages: list[Any], topic: str) -> list[Any]:
    return [message for message in messages if message.topic == topic]


def test_what_the_config_forbids_cannot_be_switched_on(device: Device, broker: Mosquitto, heard: Subscriber) -> None:
    device.start(broker.port, commands='enabled = true\nallow = ["microphone", "status", "reload", "pause", "reset"]')
    heard.wait_for(f"{BASE}/state", timeout=60)
    forbidden = ask(heard, "microphone", "ON", "f1")
    assert forbidden["status"] == "refused"
    assert "microphone.source is none" in forbidden["reason"]
    assert "commands.allow" in ask(heard, "profile", "detail", "f2")["reason"]
    paused = ask(heard, "pause", 10, "f3")
    assert paused["state"]["camera"] == "off"
    assert paused["state"]["paused_until"] is not None
    wait_for(lambda: state(heard)["camera"] == "on", "the end of the pause", 40)
    assert ask(heard, "reload", None, "f4")["status"] == "accepted"
    for number, target in enumerate(("stream", "baseline")):
        assert ask(heard, "reset", target, f"r{number}")["status"] == "accepted"
    assert "stream, baseline" in ask(heard, "reset", "world", "r9")["reason"]


def test_reload_and_both_resets_are_really_done(
    device: Device, broker: Mosquitto, heard: Subscriber, tmp_path: Path
) -> None:
    learned = json.dumps({"weight": 5000.0, "p": {name: float(name == "happiness") for name in EMOTIONS}})
    baseline = tmp_path / "state" / "baseline.json"
    baseline.parent.mkdir()
    baseline.write_text(learned, encoding="utf-8")
    with MjpegCamera() as camera:
        device.start(broker.port, camera=camera.url)
        heard.wait_for(f"{BASE}/state", timeout=60)
        wait_for(lambda: camera.sent > 10, "pictures")
        before = camera.connections
        assert ask(heard, "reset", "stream", "s1")["status"] == "accepted"
        wait_for(lambda: camera.connections > before, "another connection to the camera", 20)
        assert baseline.read_text(encoding="utf-8") == learned
        assert ask(heard, "reset", "baseline", "s2")["status"] == "accepted"
        wait_for(lambda: json.loads(baseline.read_bytes())["weight"] == 0, "a baseline without memory", 20)
        config = tmp_path / "config.toml"
        config.write_text(config.read_text().replace("window_s = 1", "window_s = 3"))
        assert ask(heard, "reload", None, "s3")["status"] == "accepted"
        heard.wait(lambda all_: [m for m in _on(all_, f"{BASE}/summary") if m.json["seconds"] == 3.0])
        device.end()


def test_commands_are_not_subscribed_when_disabled(device: Device, broker: Mosquitto, heard: Subscriber) -> None:
    device.start(broker.port, commands="")
    heard.wait_for(f"{BASE}/state", timeout=60)
    heard.publish(f"{BASE}/cmd/privacy", "ON")
    time.sleep(3)
    assert heard.on(f"{BASE}/cmd/privacy/response") == []
    assert state(heard)["privacy"] == "off"


def test_the_log_level_is_changed_while_running(device: Device, broker: Mosquitto, heard: Subscriber) -> None:
    device.start(broker.port)
    heard.wait_for(f"{BASE}/state", timeout=60)
    assert ask(heard, "log_level", "error", "l1")["state"]["log_level"] == "error"
    ask(heard, "profile", "nonsense", "l2")  # would be a line at level info
    assert ask(heard, "log_level", "info", "l3")["status"] == "done"
    assert device.process is not None
    device.process.terminate()
    output, _ = device.process.communicate(timeout=20)
    device.process = None
    assert "command profile" not in output
    assert "command log_level: done" in output
