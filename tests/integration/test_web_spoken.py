"""Words in sound that clients send, over real sockets and through the real recognizer."""

from __future__ import annotations

import base64
import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync import client

from edge_agent.api import PluginError, Session
from edge_agent.capture import iter_blocks
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.models import ModelStore
from edge_agent.web import echo, hume
from edge_agent.web.words import BUSY, Transcriber
from tests.support.recordings import write
from tests.support.web import Server

pytest.importorskip("moonshine_voice", reason="the extra [speech] is not installed")


@pytest.fixture(scope="module")
def reading() -> np.ndarray[Any, Any]:
    """Five seconds: "It was the best of times, it was the worst of times"."""
    (file,) = [f for f in importlib.metadata.files("moonshine-voice") or () if f.name == "two_cities.wav"]
    sound = np.concatenate([block.samples for block in iter_blocks(Path(str(file.locate())))])
    return (sound[: 5 * 16_000] * 32767).astype("<i2")


@pytest.fixture(scope="module")
def server(model_store: ModelStore) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_AGENT__MODELS__DIR", str(model_store.directory))
        patch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")
        running = Server([*echo.routes(), *hume.routes()])
        yield running
        running.stop()


def ask(connection: client.ClientConnection, **message: object) -> dict[str, Any]:
    connection.send(json.dumps(message))
    return dict(json.loads(connection.recv(timeout=60)))


def chunks(sound: np.ndarray[Any, Any], seconds: float = 0.5) -> list[str]:
    size = round(seconds * 16_000)
    return [base64.b64encode(sound[k : k + size].tobytes()).decode() for k in range(0, len(sound), size)]


def test_speech_in_chunks_is_answered_with_text_and_emotion(server: Server, reading: np.ndarray[Any, Any]) -> None:
    with client.connect(f"ws://{server.address}/ws/audio-stream") as connection:
        told = [ask(connection, audio=chunk) for chunk in chunks(reading)]
        told.append(ask(connection, flush=True))
        with client.connect(f"ws://{server.address}/ws/audio-stream") as second:
            other = [ask(second, audio=chunk) for chunk in chunks(reading[:24_000])][-1]
    text = " ".join(answer["text"] for answer in told if answer["text"]).lower()
    assert "best of times" in text
    assert "worst of times" in text
    (said,) = [utterance for answer in told for utterance in answer["utterances"]]
    assert 0.5 < said["start"] < said["end"] <= 5.1
    assert told[-1]["emotion"] == said["emotion"] == max(said["emotions"], key=said["emotions"].get)
    assert len(said["emotions"]) == 28
    assert (other["text"], other["note"]) == (None, BUSY)


def test_the_turn_is_free_when_the_connection_is_closed(
    server: Server, reading: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    """And a compressed file, as browsers record it, is understood as a whole."""
    content = write(
        tmp_path / "said.webm", sound=np.repeat(reading, 3).reshape(-1, 1) / 32768, sound_codec="libopus", rate=48_000
    )
    with client.connect(f"ws://{server.address}/ws/audio-stream") as connection:
        told = ask(connection, audio=base64.b64encode(content.read_bytes()).decode())
    assert "times" in told["text"].lower()
    assert "note" not in told


def test_humes_language_of_what_is_said_has_times(
    server: Server, reading: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    file = write(tmp_path / "said.wav", sound=reading.reshape(-1, 1) / 32768, sound_codec="pcm_s16le", rate=16_000)
    still = write(tmp_path / "still.wav", sound=np.zeros((16_000, 1)), sound_codec="pcm_s16le", rate=16_000)
    media, nothing = (base64.b64encode(path.read_bytes()).decode() for path in (file, still))
    with client.connect(f"ws://{server.address}/v0/stream/models") as connection:
        first, second = (ask(connection, data=media, models={"language": {"granularity": "utterance"}}) for _ in "12")
        silent = ask(connection, data=nothing, models={"language": {}})
        worded = ask(connection, data=media, models={"language": {}, "facemesh": {}})
    (said,) = first["language"]["predictions"]
    assert "best of times" in said["text"].lower()
    assert 0.5 < said["time"]["begin"] < said["time"]["end"] <= 5.1
    assert len(said["emotions"]) == 19
    assert "warning" not in first["language"]
    assert second["language"]["predictions"][0]["time"] == pytest.approx(said["time"], abs=0.1), "not of the payload"
    assert silent["language"]["code"] == "W0104"
    assert "these are utterances" in worded["language"]["warning"]


def test_too_little_sound_for_a_word_loads_no_recognizer() -> None:
    def refuse(names: list[str], **_options: object) -> Session:
        if "speech" in names:
            pytest.fail("a recognizer was loaded")
        return Session([])

    talk = echo.SoundTalk(refuse, Transcriber(refuse))  # type: ignore[arg-type]
    assert talk.answer('{"data": "AAA=", "flush": true}')["text"] is None
    assert talk.answer('{"data": "AAA="}')["utterances"] == []


def test_what_cannot_be_loaded_is_said_and_not_tried_at_each_message() -> None:
    tried, now = [], [0.0]

    def broken(names: list[str], **_options: object) -> Session:
        tried.append(names)
        raise PluginError("speech: the recognizer is not installed: pip install it")

    words = Transcriber(broken, lambda: now[0])  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(EdgeAgentError, match="pip install it"):
            words.hear("me", np.zeros(16_000, np.float32), 16_000, end=False)
    assert len(tried) == 1
    now[0] = 61.0
    with pytest.raises(EdgeAgentError):
        words.hear("me", np.zeros(16_000, np.float32), 16_000, end=False)
    assert len(tried) == 2
