"""The echo-style streams over a real server: pictures and sound of real people through real models."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures
from websockets.exceptions import ConnectionClosed
from websockets.sync import client

from edge_agent.api import PluginError, Session
from edge_agent.capture import iter_media
from edge_agent.domain.media import AudioBlock
from edge_agent.models import ModelStore
from edge_agent.web import echo
from edge_agent.web.words import Transcriber
from tests.support.pictures import heic, imir
from tests.support.recordings import tone, write
from tests.support.web import Server


def silent(*_names: object, **_options: object) -> Session:
    raise PluginError("no speech here")


@pytest.fixture(scope="module")
def server(model_store: ModelStore) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_AGENT__MODELS__DIR", str(model_store.directory))
        patch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")
        words = Transcriber(silent)  # test_web_spoken.py has a recognizer, which takes its time to load
        running = Server(echo.routes(limits=echo.Limits(message=1_000_000), transcriber=words))
        yield running
        running.stop()


def ask(connection: client.ClientConnection, message: str | bytes) -> dict[str, Any]:
    connection.send(message)
    return dict(json.loads(connection.recv(timeout=60)))


def jpeg(image: np.ndarray[Any, Any]) -> str:
    text = io.BytesIO()
    Image.fromarray(image).save(text, "jpeg")
    return base64.b64encode(text.getvalue()).decode()


def test_pictures_are_answered_with_faces_that_keep_their_track(server: Server) -> None:
    image = jpeg(pictures.astronaut())
    with client.connect(f"ws://{server.address}/ws/face") as connection:
        told = [ask(connection, m) for m in (image, f"data:image/jpeg;base64,{image}", json.dumps({"data": image}))]
        empty = ask(connection, jpeg(np.full((200, 200, 3), 90, np.uint8)))
    faces = [face for answer in told for face in answer["faces"]]
    assert len(faces) == 3
    assert len({face["track"] for face in faces}) == 1
    assert faces[0]["box"]["x"] + faces[0]["box"]["w"] / 2 == pytest.approx(224, abs=25)
    assert max(faces[0]["emotions"], key=lambda name: faces[0]["emotions"][name]) == "happiness"
    assert empty["faces"] == []
    assert [a["time"] for a in told] == sorted(a["time"] for a in told)


@pytest.mark.parametrize("as_json", [False, True])
def test_sound_in_chunks_is_answered_with_loudness_and_each_burst_once(
    server: Server, media: Path, as_json: bool
) -> None:
    truth = json.loads((media / "kiosk.json").read_text())["audio_events"]
    event = next(e for e in truth if e["label"] != "speech")
    sound = np.concatenate([b.samples for b in iter_media(media / "kiosk.mp4") if isinstance(b, AudioBlock)])
    begin = int((event["start_s"] - 2) * 16_000)
    pcm = (sound[begin : begin + 6 * 16_000] * 32767).astype("<i2")
    bursts = []
    with client.connect(f"ws://{server.address}/ws/audio-stream") as connection:
        for k in range(0, len(pcm), 4000):
            data = base64.b64encode(pcm[k : k + 4000].tobytes()).decode()
            told = ask(connection, json.dumps({"data": data, "rate": 16_000}) if as_json else data)
            bursts += told["bursts"]
            assert told["loudness"] is None or -100 < told["loudness"] <= 0
        full = base64.b64encode(np.tile([-32768, 32767], 800).astype("<i2").tobytes()).decode()
        assert ask(connection, full)["loudness"] == 0
        offset = base64.b64encode(np.full(1600, 600, "<i2").tobytes()).decode()
        assert ask(connection, offset)["loudness"] is None
        assert ask(connection, base64.b64encode(bytes(3200)).decode())["loudness"] is None
    assert [b["label"] for b in bursts] == [event["label"]]
    assert bursts[0]["start"] == pytest.approx(2, abs=0.75)


@pytest.mark.parametrize(
    ("path", "message", "words"),
    [
        ("face", "", "known format"),
        ("face", "not base64!", "base64"),
        ("face", "{", "no JSON"),
        ("face", '{"data": 3}', "base64 text is needed"),
        ("face", base64.b64encode(b"#EXTM3U").decode(), "known format"),
        ("face", base64.b64encode(b"\xff\xd8\xff" + bytes(99)).decode(), "known format"),
        ("face", jpeg(np.zeros((8, 8), np.uint8)), "at least 16 x 16"),
        ("face", jpeg(np.zeros((4097, 4097), np.uint8)), "the picture is too large: 4097 x 4097"),
        ("audio-stream", "", "there must be some"),
        ("audio-stream", "AAAA", "two bytes each"),
        ("audio-stream", '{"data": "AAA=", "rate": 7}', "rate"),
        ("audio-stream", base64.b64encode(bytes(320_002)).decode(), "at most 10 s"),
    ],
)
def test_what_is_wrong_is_said_and_the_stream_goes_on(server: Server, path: str, message: str, words: str) -> None:
    with client.connect(f"ws://{server.address}/ws/{path}") as connection:
        assert words in ask(connection, message)["error"]
        assert "error" in ask(connection, "%")


def test_the_rate_stays(server: Server) -> None:
    with client.connect(f"ws://{server.address}/ws/audio-stream") as connection:
        assert "error" not in ask(connection, '{"data": "AAA=", "rate": 8000}')
        assert "error" not in ask(connection, "AAA=")
        assert "must stay 8000" in ask(connection, '{"data": "AAA=", "rate": 16000}')["error"]


def test_a_huge_message_ends_the_connection(server: Server) -> None:
    with client.connect(f"ws://{server.address}/ws/face") as connection:
        connection.send("A" * 1_000_001)
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(timeout=30)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


def _coded(path: Path, sound: np.ndarray[Any, Any], codec: str) -> bytes:
    return write(path, sound=sound.reshape(-1, 1), sound_codec=codec, rate=48_000).read_bytes()


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("wav", "pcm_s16le"), ("flac", "flac"), ("webm", "libopus"), ("ogg", "libopus"), ("mp3", "libmp3lame")],
)
def test_sound_files_are_decoded_message_by_message(server: Server, tmp_path: Path, suffix: str, codec: str) -> None:
    """What browsers record is not taken for samples, which it would be as noise."""
    content = _coded(tmp_path / f"sound.{suffix}", 0.05 * tone(1.0, 48_000)[:, 0], codec)
    data = base64.b64encode(content).decode()
    with client.connect(f"ws://{server.address}/ws/audio-stream") as connection:
        told = [ask(connection, data), ask(connection, json.dumps({"data": f"data:audio/x;base64,{data}"}))]
        rest = ask(connection, base64.b64encode(content[len(content) // 2 :][:400]).decode())
        more = ask(connection, data)
    assert [answer["loudness"] for answer in (*told, more)] == pytest.approx([-35.1] * 3, abs=1.0)
    assert [answer["time"] for answer in (*told, more)] == pytest.approx([1.0, 2.0, 3.0], abs=0.2)
    assert "one a message" in rest["error"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.random.default_rng(3).bytes(4000), "compressed sound without the beginning"),
        ((0.3 * tone(0.2, 16_000)).astype("<f4").tobytes(), "32-bit float"),
        (base64.b64decode(jpeg(np.full((64, 64, 3), 90, np.uint8))), "JPEG without sound"),
        (b"RIFF\x24\x00\x00\x00WAVE" + bytes(30), "WAV that cannot be decoded"),
    ],
)
def test_what_is_neither_samples_nor_a_sound_file_is_refused_with_what_is(
    server: Server, content: bytes, words: str
) -> None:
    with client.connect(f"ws://{server.address}/ws/audio-stream") as connection:
        error = ask(connection, base64.b64encode(content).decode())["error"]
    assert words in error
    assert all(known in error for known in ("signed 16-bit little-endian mono", "WAV", "Ogg", "AIFF"))


def test_samples_of_any_loudness_are_samples(server: Server) -> None:
    random = np.random.default_rng(4)
    sounds = [
        (random.normal(0, 3000, 8000)).astype("<i2"),
        (random.normal(0, 20, 8000)).astype("<i2"),
        np.full(8000, 16_000, "<i2"),
        (32_767 * np.sign(np.sin(np.arange(8000) / 9))).astype("<i2"),
        (tone(0.5, 16_000)[:, 0] * 65_534).clip(-32_768, 32_767).astype("<i2"),
        np.zeros(8000, "<i2"),
    ]
    with client.connect(f"ws://{server.address}/ws/audio-stream") as connection:
        for samples in sounds:
            assert "error" not in ask(connection, base64.b64encode(samples.tobytes()).decode())


def test_a_mirrored_picture_in_tiles_is_seen_upright(server: Server, tmp_path: Path) -> None:
    face = Image.fromarray(pictures.astronaut()).resize((256, 256))
    stored = face.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    content = heic(tmp_path / "face.heic", stored, 128, [imir(0)]).read_bytes()
    with client.connect(f"ws://{server.address}/ws/face") as connection:
        (found,) = ask(connection, base64.b64encode(content).decode())["faces"]
        error = ask(connection, base64.b64encode(b"no picture").decode())["error"]
    assert max(found["emotions"], key=lambda name: found["emotions"][name]) == "happiness"
    assert "HEIC" in error


def test_pictures_are_taken_in_every_form(server: Server) -> None:
    """As text and as bytes, plain and in JSON, under the names that clients use."""
    image = jpeg(pictures.astronaut())
    raw = base64.b64decode(image)
    forms = [
        raw,
        image.encode(),
        json.dumps({"image": image}),
        json.dumps({"image": f"data:image/jpeg;base64,{image}"}),
        json.dumps({"frame": image, "timestamp": 3}),
        json.dumps({"data": image}).encode(),
        base64.encodebytes(raw).decode(),
    ]
    with client.connect(f"ws://{server.address}/ws/face") as connection:
        told = [ask(connection, form) for form in forms]
    assert [len(answer.get("faces", [])) for answer in told] == [1] * len(forms), told


def cough(media: Path, seconds: float) -> np.ndarray[Any, Any]:
    """The first burst of the composed minute, ending soon after it began, as 16-bit samples."""
    truth = json.loads((media / "kiosk.json").read_text())["audio_events"]
    event = next(e for e in truth if e["label"] != "speech")
    sound = np.concatenate([b.samples for b in iter_media(media / "kiosk.mp4") if isinstance(b, AudioBlock)])
    begin = int((event["start_s"] - 1) * 16_000)
    found: np.ndarray[Any, Any] = (sound[begin : begin + int(seconds * 16_000)] * 32767).astype("<i2")
    return found


@pytest.mark.parametrize("last", [{"flush": True}, {"end": True}, "with the last chunk"])
def test_the_end_of_a_sound_reports_its_bursts_at_once(server: Server, media: Path, last: Any) -> None:
    pcm = cough(media, 2.2).tobytes()
    with client.connect(f"ws://{server.address}/ws/audio-stream") as connection:
        if isinstance(last, str):
            chunks = [pcm[:40_000], json.dumps({"audio": base64.b64encode(pcm[40_000:]).decode(), "flush": True})]
        else:
            chunks = [pcm, json.dumps(last)]
        told = [ask(connection, chunk) for chunk in chunks]
        again = ask(connection, json.dumps({"flush": True}))
        more = [ask(connection, chunk) for chunk in (pcm, '{"flush": true}')]
    assert [b["label"] for answer in told for b in answer["bursts"]] == ["cough"]
    assert told[-1]["time"] == pytest.approx(2.2, abs=0.01)
    assert again["bursts"] == []
    (second,) = [b for answer in more for b in answer["bursts"]]
    assert second["start"] > 2.2, "times go on"


def test_an_end_before_any_sound_is_no_mistake(server: Server) -> None:
    with client.connect(f"ws://{server.address}/ws/audio-stream") as connection:
        assert ask(connection, '{"flush": true}') == {
            "time": 0.0, "loudness": None, "bursts": [], "text": None, "emotion": None, "utterances": []
        }  # fmt: skip


@pytest.mark.parametrize("first", [0x00, 0x2B, 0x41, 0x7B])
def test_sound_as_bytes_may_begin_with_any_byte(server: Server, first: int) -> None:
    pcm = bytes([first, 0]) + bytes(3198)
    with client.connect(f"ws://{server.address}/ws/audio-stream") as connection:
        assert ask(connection, pcm)["time"] == 0.1
