"""What the operator switches off stays off for every client of the web side, whatever it asks for."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.batch import write_astronaut
from tests.support.cli import Cli
from tests.support.web_agent import WebAgent, running

OFF = {"camera": 'source = "none"', "microphone": 'source = "none"', "mqtt": "enabled = false"} | {
    f"analyzers.{name}": "enabled = false" for name in ("emotion", "burst", "speech", "voice", "language")
}


@pytest.fixture(scope="module")
def agent(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebAgent]:
    with running(cli, tmp_path_factory.mktemp("off"), **OFF) as found:
        yield found


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_astronaut(tmp_path_factory.mktemp("picture") / "astronaut.jpg").read_bytes()


def test_an_uploaded_picture_is_searched_for_faces_and_no_expression_is_read(agent: WebAgent, picture: bytes) -> None:
    http = agent.http(Authorization=f"Bearer {agent.token}")
    report = http.post("/process-frame", content=picture).raise_for_status().json()
    assert report["overall_dominant_emotion"] is None


def test_the_face_socket_finds_the_face_without_its_expression(agent: WebAgent, picture: bytes) -> None:
    with connect(f"ws://127.0.0.1:{agent.port}/ws/face?token={agent.token}") as socket:
        socket.send(picture)
        (face,) = json.loads(socket.recv(30))["faces"]
    assert face["emotions"] is None


def test_humes_stream_warns_of_what_is_switched_off(agent: WebAgent, picture: bytes) -> None:
    asked = {"data": b64encode(picture).decode(), "models": {"face": {}}}
    with connect(f"ws://127.0.0.1:{agent.port}/v0/stream/models?apikey={agent.token}") as socket:
        socket.send(json.dumps(asked))
        (face,) = json.loads(socket.recv(30))["face"]["predictions"]
        socket.send(json.dumps({"data": "Thank you so much!", "raw_text": True, "models": {"language": {}}}))
        told = json.loads(socket.recv(30))
    assert face["emotions"] == []
    assert "analyzers.language.enabled = false" in json.dumps(told)


def test_a_text_is_refused_with_the_option_that_forbids_it(agent: WebAgent) -> None:
    http = agent.http(Authorization=f"Bearer {agent.token}")
    answer = http.post("/stream-emotion", json={"text": "Thank you so much!"})
    assert answer.status_code >= 400
    assert "analyzers.language.enabled = false" in answer.text


def test_the_sound_socket_says_why_it_closes(agent: WebAgent) -> None:
    with connect(f"ws://127.0.0.1:{agent.port}/ws/audio-stream?token={agent.token}") as socket:
        socket.send(bytes(32_000))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(30)
    assert closed.value.rcvd is not None
    assert "analyzers.burst.enabled = false" in closed.value.rcvd.reason
