"""A whole run with a canary face and canary secrets: nothing of them is kept or told. A schedule on a real camera."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support import canary
from tests.support.cameras import MjpegCamera
from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.subscriber import Subscriber

BASE = "edge-agent/kiosk-1"
PASSWORD = "canary-password-b2f7713e"
TOKEN = "canary-token-90c1ab54"
WEB_TOKEN = "canary-web-token-51d7a2c8"

WRITABLE = re.compile(
    r"/(dev|proc|sys)/.*|.*/state/"
    r"(\.?lock|outbox/[^/]*|(choices|baseline|history|home-assistant)\.json(\.new)?|messages\.jsonl)"
)
"""What a run may open for writing."""

CONFIG = """
[device]
id = "kiosk-1"
state_dir = "{state}"
[privacy]
context = "exhibition"
{privacy}
[camera]
source = "{camera}"
[microphone]
source = "none"
[summary]
window_s = 2
[mqtt]
host = "127.0.0.1"
port = {port}
username = "agent"
{mqtt}
[log]
level = "debug"
[sinks.jsonl]
enabled = true
path = "{state}/messages.jsonl"
{more}
"""

WRONG_AND_WEB = """
[analyzers.attention]
no_such_option = 1
[web]
enabled = true
port = {port}
token = "{token}"
"""


def wait_for(condition: Callable[[], Any], what: str, within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    with MjpegCamera(canary.picture, fps=10) as running:
        yield running


@contextmanager
def web_client(port: int, told: list[bytes]) -> Iterator[None]:
    """Has everything ``told`` that the web side on ``port`` tells, from now until it is gone."""
    bearer = {"Authorization": f"Bearer {WEB_TOKEN}"}

    def listen() -> None:
        with (
            suppress(ConnectionClosed),
            connect(f"ws://127.0.0.1:{port}/api/v1/live", additional_headers=bearer) as live,
        ):
            told.extend(text.encode() for text in live)

    listening = threading.Thread(target=listen)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=bearer, timeout=60) as http:
        wait_for(lambda: answers(http), "the web side")
        listening.start()
        yield
        for path in ("status", "summaries", "events", "people", "analytics?step=60", "config/schema"):
            told.append(http.get(f"/api/v1/{path}").raise_for_status().content)
        told.extend(http.get(path).content for path in ("/metrics", "/readyz", "/"))
    listening.join(1)  # ends with the agent


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def unpacked(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]


def opened_for_writing(trace: Path) -> set[str]:
    """Paths that a traced process opened to write or made; a call that another thread interrupted counts too."""
    call = re.compile(r'(?:openat\([^<\n]*<([^>]*)>, |open\(|creat\()"([^"]*)"(.*)')
    found = set()
    for line in trace.read_text().splitlines():
        match = call.search(line)
        if match and "= -1 " not in line and ("creat(" in line or re.search("O_WRONLY|O_RDWR|O_CREAT", match[3])):
            found.add(str(Path(match[1] or "/", match[2])))
    return found


def agent_of(tracer: subprocess.Popen[Any]) -> int:
    (child,) = Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split()
    return int(child)


def test_the_search_finds_what_it_is_to_find(tmp_path: Path) -> None:
    search = canary.Search.of((PASSWORD,))
    jpeg = canary.picture(3)
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    crop = cv2.resize(image[80:300, 180:400], (64, 64))
    planted = {
        "the file": jpeg,
        "in base64": b'{"x":"' + base64.b64encode(b"?" + jpeg) + b'"}',
        "a part of it": b"text " + jpeg[5900:6700].hex().encode(),
        "pixels": image[100:340].tobytes(),
        "a scaled crop": crop.tobytes(),
        "a scaled crop as numbers": json.dumps(crop[0].tolist()).replace("[", "").replace("]", "").encode(),
        "a scaled crop as PNG": cv2.imencode(".png", crop)[1].tobytes(),
        "an embedding": json.dumps([round(k / 7, 3) for k in range(128)]).encode(),
        "the secret": f"connecting as agent:{PASSWORD}@broker".encode(),
        "the secret in base64": base64.b64encode(b"agent:" + PASSWORD.encode()),
    }
    assert {name for name, content in planted.items() if not search.traces(content)} == set()
    assert search.traces(b'{"v":1,"emotion":{"p":{"neutral":0.25}},"boot_id":"9f2c41d0"}\n') == set()


def test_after_a_run_no_file_contains_a_face_or_a_secret(cli: Cli, camera: MjpegCamera, tmp_path: Path) -> None:
    if shutil.which("strace") is None or not Mosquitto.available():
        pytest.skip("needs the Debian packages strace and mosquitto")
    state, trace, log = tmp_path / "agent" / "state", tmp_path / "trace", tmp_path / "agent" / "log"
    state.mkdir(parents=True)
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    config = tmp_path / "config.toml"
    with (
        Mosquitto(tmp_path / "broker", password=PASSWORD) as broker,
        Subscriber(broker.port, password=PASSWORD) as heard,
    ):
        url = f"{camera.url}?token={TOKEN}"
        web, told = free_port(), list[bytes]()
        more = WRONG_AND_WEB.format(port=web, token=WEB_TOKEN)
        mqtt = f'password_file = "{secret}"'
        config.write_text(CONFIG.format(state=state, camera=url, port=broker.port, mqtt=mqtt, privacy="", more=more))
        script = str(Path(sys.executable).with_name("edge-agent"))
        tracing = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-e", "trace=openat,open,creat", "-o", str(trace)]
        home = {"HOME": str(tmp_path / "agent"), "TMPDIR": str(tmp_path / "agent"), "PYTHONDONTWRITEBYTECODE": "1"}
        environment = {k: v for k, v in cli.environment.items() if k != "EDGE_AGENT__DEVICE__STATE_DIR"} | home
        with log.open("wb") as sink:
            command = [*tracing, script, "run", "--config", str(config)]
            tracer = subprocess.Popen(command, stdout=sink, stderr=sink, env=environment)
        try:

            def read_faces() -> bool:
                return sum(m.json["emotion"] is not None for m in heard.on(f"{BASE}/summary")) >= 2

            with web_client(web, told):
                wait_for(read_faces, "two summaries with an emotion")
            camera.stop()
            wait_for(lambda: "; reopening" in log.read_text(), "the complaint about the lost camera")
        finally:
            os.kill(agent_of(tracer), signal.SIGTERM)
            assert tracer.wait(20) == 0
        bundle = tmp_path / "bundle.tar.gz"
        environment_of = {"EDGE_AGENT__DEVICE__STATE_DIR": str(state)}
        cli("doctor", "-c", str(config), "--no-devices", "--bundle", str(bundle), **environment_of)
        heard.wait_for(f"{BASE}/status", b"offline")

    search = canary.Search.of((PASSWORD, TOKEN, WEB_TOKEN))
    files = [file for file in (tmp_path / "agent").rglob("*") if file.is_file()]
    assert {"log", "messages.jsonl", "history.json"} < {file.name for file in files}
    found = {str(file): search.traces_in(file) for file in files}
    found |= {message.topic: search.traces(message.payload) for message in heard.messages}
    found |= {f"web side: {text!r}": search.traces(text) for text in told}
    assert any(b'"type":"summary"' in text for text in told)
    found |= {name: search.traces(content) for name, content in unpacked(bundle).items()}
    assert {where: traces for where, traces in found.items() if traces} == {}
    written = opened_for_writing(trace)
    assert any(path.startswith(str(state / "outbox")) for path in written)
    assert {path for path in written if not WRITABLE.fullmatch(path) and path != str(log)} == set()
    info = heard.on(f"{BASE}/info")[-1].json
    assert info["privacy"]["context"] == "exhibition"
    assert info["privacy"]["emotions"] is True
    assert info["analyzers"]["attention"] == "config-error"  # a bad table costs its analyzer, not the agent


def test_a_schedule_keeps_a_real_camera_closed_and_then_one_face_is_withheld(
    cli: Cli, camera: MjpegCamera, tmp_path: Path
) -> None:
    if not Mosquitto.available():
        pytest.skip("needs the Debian package mosquitto")
    config = tmp_path / "config.toml"
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port) as heard:
        values = {"state": tmp_path / "state", "camera": camera.url, "port": broker.port, "mqtt": "", "more": ""}
        night = 'schedule = ["daily 00:00-24:00"]\nwithout_clock = "trust"'
        config.write_text(CONFIG.format(**values, privacy=night))
        agent = cli.start("run", "--config", str(config), EDGE_AGENT__DEVICE__STATE_DIR=str(tmp_path / "state"))

        def state() -> dict[str, Any]:
            messages = heard.on(f"{BASE}/state")
            return dict(messages[-1].json) if messages else {}

        try:
            wait_for(lambda: state().get("privacy") == "on", "scheduled privacy")
            assert (state()["scheduled"], state()["camera"]) == (True, "off")
            time.sleep(2)
            assert camera.sent == 0
            config.write_text(CONFIG.format(**values, privacy="schedule = []\nmin_people = 2"))
            agent.send_signal(signal.SIGHUP)
            wait_for(lambda: camera.sent > 0, "pictures after the schedule")
            wait_for(lambda: state()["privacy"] == "off", "the state")

            def of_one_face() -> list[dict[str, Any]]:
                return [m.json for m in heard.on(f"{BASE}/summary") if (m.json["faces"]["person_seconds"] or 0.0) > 1.5]

            wait_for(lambda: len(of_one_face()) >= 2, "summaries of one face")
            assert all(s["withheld"] == s["seconds"] and s["emotion"] is None for s in of_one_face())
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.communicate(timeout=20)
