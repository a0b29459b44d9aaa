"""The Echo backend's documented lines, run in a shell, in Node and by the agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.sync import client

from tests.compat.conftest import DEMO
from tests.support.cli import Cli
from tests.support.compat import Shell
from tests.support.web_agent import WebAgent, wait_for


@pytest.mark.documented("Echo", "curl http://localhost:8000/health")
def test_health(shell: Shell) -> None:
    assert json.loads(shell.run())["status"] == "ok"


@pytest.mark.documented("Echo", "http://localhost:8000/docs")
def test_interactive_documentation(shell: Shell) -> None:
    page = shell.run("curl http://localhost:8000/docs")
    assert "swagger-ui" in page


@pytest.mark.documented(
    "Echo",
    """curl -X POST "http://localhost:8000/video-stream/emotion" \\
     -F "file=@video.mp4\"""",
    differs="faces by person and picture, emotions as distributions",
)
def test_a_film_as_a_form(shell: Shell) -> None:
    told = json.loads(shell.run())
    (face,) = told["faces"].values()
    assert max(face[-1]["emotions"], key=face[-1]["emotions"].get) == "happiness"
    assert told["report"]["overall_dominant_emotion"] == "happiness"


@pytest.mark.documented("Echo", 'curl "http://localhost:8000/camera/stop"')
@pytest.mark.documented("Echo", 'curl "http://localhost:8000/camera/start"')
def test_camera_control(shell: Shell, eventually: Callable[[Callable[[], bool]], None]) -> None:
    def camera() -> str:
        return str(json.loads(shell.run("curl http://localhost:8000/api/v1/status"))["state"]["camera"])

    stopped = json.loads(shell.run('curl "http://localhost:8000/camera/stop"'))
    assert stopped["status"] == "camera_stopped"
    eventually(lambda: camera() == "off")
    started = json.loads(shell.run('curl "http://localhost:8000/camera/start"'))
    assert started["status"] == "camera_started"
    eventually(lambda: camera() == "on")
    assert json.loads(shell.run('curl -X POST "http://localhost:8000/camera/start"'))["status"] == "done"


@pytest.mark.documented(
    "Echo",
    """curl -X POST "http://localhost:8000/video-stream/face-recognition" \\
     -F "file=@video.mp4\"""",
    differs="names of enrolled people where analyzers.identity runs; otherwise says that nobody is recognised (501)",
)
def test_recognition_in_a_film_is_not_claimed(shell: Shell) -> None:
    told = json.loads(shell.run())
    assert told["status"] == 501
    assert "recognises nobody" in told["detail"]


SOCKET = """
// Connect to face recognition
const ws = new WebSocket('ws://localhost:8000/ws/PATH');

// Send base64 encoded image
ws.onopen = () => ws.send(JSON.stringify({
    "FIELD": require("fs").readFileSync("FILE").toString("base64")
}));

// Receive recognition results
ws.onmessage = (event) => {
    const response = JSON.parse(event.data);
    console.log(JSON.stringify(response));
    ws.close();
};
"""


def javascript(shell: Shell, path: str, field: str, file: str) -> dict[str, Any]:
    text = SOCKET.replace("PATH", path).replace("FIELD", field).replace("FILE", file)
    return dict(json.loads(shell.javascript(text)))


@pytest.mark.documented(
    "Echo",
    "new WebSocket('ws://localhost:8000/ws/face-recognition'); ws.send(JSON.stringify({\"image\": …}))",
    differs="names of enrolled people where analyzers.identity runs; otherwise says that nobody is recognised",
)
def test_recognition_in_a_picture_is_not_claimed(shell: Shell) -> None:
    told = javascript(shell, "face-recognition", "image", "face.jpg")
    assert told["recognized"] is None
    assert "recognises nobody" in told["message"]
    assert "pictures are JPEG" in javascript(shell, "face-recognition", "image", "sound.wav")["message"]


@pytest.mark.documented("Echo", "new WebSocket('ws://localhost:8000/ws/face'); ws.send(JSON.stringify({\"image\": …}))")
def test_faces_of_a_picture(shell: Shell) -> None:
    (face,) = javascript(shell, "face", "image", "face.jpg")["faces"]
    assert max(face["emotions"], key=face["emotions"].get) == "happiness"


@pytest.mark.documented(
    "Echo",
    "new WebSocket('ws://localhost:8000/ws/audio-stream'); ws.send(JSON.stringify({\"audio\": …}))",
    differs="also loudness and bursts; text with the extra [speech]",
)
def test_sound_in_chunks(shell: Shell) -> None:
    told = javascript(shell, "audio-stream", "audio", "sound.wav")
    assert told["bursts"] == []
    assert told["loudness"] == pytest.approx(-9, abs=0.5)


@pytest.mark.documented("Echo", 'curl -X POST http://localhost:8000/stream-emotion -d \'{"text": "…"}\'')
def test_emotion_of_a_text(shell: Shell) -> None:
    line = """curl -X POST "http://localhost:8000/stream-emotion" -H "Content-Type: application/json" -d '%s'"""
    told = json.loads(shell.run(line % json.dumps({"text": "I am so happy for you!"})))
    assert told["emotion"] in ("joy", "excitement", "admiration")
    assert told["confidence"] == told["emotions"][told["emotion"]]
    assert json.loads(shell.run(line % json.dumps({"text": ""})))["emotion"] is None


@pytest.mark.documented("Echo", "new WebSocket('ws://localhost:8000/ws/emotion'); ws.send(JSON.stringify({text}))")
def test_emotion_of_texts_on_a_socket(shell: Shell) -> None:
    script = """
        const ws = new WebSocket('ws://localhost:8000/ws/emotion');
        ws.onopen = () => ws.send(JSON.stringify({"text": "Thank you so much!"}));
        ws.onmessage = (event) => { console.log(event.data); ws.close(); };
    """
    assert json.loads(shell.javascript(script))["emotion"] == "gratitude"


@pytest.mark.documented("Echo", 'curl "http://localhost:8000/stream-emotion-feed"', differs="events as in /api/v1/live")
def test_feed(shell: Shell) -> None:
    told = shell.run('curl "http://localhost:8000/stream-emotion-feed" | head -n 1')
    assert json.loads(told.removeprefix("data: "))["type"] == "state"


@pytest.mark.documented(
    "Echo", "python load_test_websockets.py --connections 100 --duration 60", differs="shorter here"
)
def test_a_hundred_connections_to_each_socket(shell: Shell) -> None:
    """All four hundred are open at once and the last one is answered; the hundred-and-first of each is told to wait."""
    paths = ("emotion", "face", "audio-stream", "face-recognition")

    async def crowd(path: str, message: str, all_open: asyncio.Barrier) -> int:
        address = shell.here(f"ws://localhost:8000/ws/{path}")
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(connect(address, open_timeout=60)) for _ in range(100)]
            await all_open.wait()
            for socket in sockets[::9]:
                await socket.send(message)
                assert "error" in json.loads(await socket.recv())
            one_more = await stack.enter_async_context(connect(address, open_timeout=60))
            with pytest.raises(ConnectionClosed):
                await one_more.recv()
            await all_open.wait()
            return one_more.close_code or 0

    async def everywhere() -> list[int]:
        all_open = asyncio.Barrier(len(paths))
        return list(await asyncio.gather(*(crowd(path, "{}", all_open) for path in paths)))

    assert asyncio.run(everywhere()) == [1013] * 4


@pytest.mark.documented(
    "Echo",
    "CAMERA_INDEX=0 MAX_FPS=30 WS_MAX_CONNECTIONS=100 WS_HEARTBEAT_INTERVAL=30 EMOTION_WINDOW_SIZE=30 "
    "FACE_RECOGNITION_THRESHOLD=0.75",
    differs="with web.echo_environment = true; a window is in seconds; the threshold needs an identity analyzer",
)
def test_environment(cli: Cli, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    line = str(request.node.get_closest_marker("documented").args[1]).replace("CONNECTIONS=100", "CONNECTIONS=2")
    echo = Cli({**cli.environment, **dict(part.split("=") for part in line.split())})
    agent = WebAgent(echo, tmp_path, "echo_environment = true", **(DEMO | {"camera": 'source = "none"'}))
    agent.start()
    try:
        wait_for(agent.answers, "the web side")
        http = agent.http(Authorization=f"Bearer {agent.token}")
        status: dict[str, Any] = {}
        wait_for(lambda: status.update(http.get("/api/v1/status").json()) or status["state"], "the first state")
        assert status["info"]["window_s"] == 30
        assert status["state"]["camera"] == "missing", "camera 0 is not there, and the config's none is overruled"
        with ExitStack() as stack:
            address = f"ws://127.0.0.1:{agent.port}/ws/face?token={agent.token}"
            *_, third = [stack.enter_context(client.connect(address)) for _ in range(3)]
            with pytest.raises(ConnectionClosed):
                third.recv(20)
    finally:
        log = agent.end()
    assert "WS_MAX_CONNECTIONS sets web.analysis_clients" in log
    assert "CAMERA_INDEX sets camera.source" in log
