"""The Hume-compatible stream with Hume's own client and with raw messages: a real server, real models."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hume import AsyncHumeClient, HumeClient
from hume.environment import HumeClientEnvironment
from hume.expression_measurement.stream import Config, StreamFace
from PIL import Image
from skimage import data as pictures
from websockets.exceptions import ConnectionClosed
from websockets.sync import client

from edge_agent.batch.artifacts import EMOTION_NAMES
from edge_agent.capture import iter_media
from edge_agent.capture.formats import sniff_bytes
from edge_agent.domain.media import AudioBlock
from edge_agent.models import ModelStore
from edge_agent.web import hume
from tests.support.recordings import picture, write
from tests.support.web import Server

Ask = Callable[..., dict[str, Any]]


def url(server: Server) -> str:
    return f"ws://{server.address}/v0/stream"


@pytest.fixture(scope="module")
def server(model_store: ModelStore) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_AGENT__MODELS__DIR", str(model_store.directory))
        patch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")
        running = Server(hume.routes(limits=hume.Limits(idle_s=30, message=6_000_000, connections=4)))
        yield running
        running.stop()


@pytest.fixture
def ask(server: Server) -> Iterator[Ask]:
    """Sends one message, a dict or raw text, and returns the answer."""
    with client.connect(url(server) + "/models", max_size=None) as connection:

        def send(message: Any = None, **fields: Any) -> dict[str, Any]:
            connection.send(message if isinstance(message, str) else json.dumps(message or fields))
            return dict(json.loads(connection.recv(timeout=60)))

        yield send


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smiling face at about (224, 113) of 512 x 512."""
    path = tmp_path_factory.mktemp("hume") / "astronaut.jpg"
    Image.fromarray(pictures.astronaut()).save(path)
    return path


def wav(samples: np.ndarray[Any, Any]) -> bytes:
    text = io.BytesIO()
    with wave.open(text, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return text.getvalue()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.fixture(scope="module")
def cough(media: Path) -> np.ndarray[Any, Any]:
    """Four seconds of the composed minute with its first burst in the middle."""
    return heard(media, "cough", -1.5, 4.0)


@pytest.fixture(scope="module")
def speech(media: Path) -> np.ndarray[Any, Any]:
    """Eight seconds of speech from the composed minute."""
    return heard(media, "speech", 0.0, 8.0)


def heard(media: Path, label: str, after: float, seconds: float) -> np.ndarray[Any, Any]:
    """Sound of the composed minute from ``after`` seconds after the beginning of its first ``label``."""
    truth = json.loads((media / "kiosk.json").read_text())["audio_events"]
    event = next(e for e in truth if e["label"] == label)
    sound = np.concatenate([b.samples for b in iter_media(media / "kiosk.mp4") if isinstance(b, AudioBlock)])
    start = int((event["start_s"] + after) * 16_000)
    found: np.ndarray[Any, Any] = sound[start : start + int(seconds * 16_000)]
    return found


# ---------------------------------------------------------------------- Hume's client


def environment(server: Server) -> HumeClientEnvironment:
    return HumeClientEnvironment(base="http://unused", evi="ws://unused", tts="ws://unused", stream=url(server))


def test_the_async_client_sends_a_file_and_gets_the_face(server: Server, astronaut: Path) -> None:
    async def talk() -> Any:
        hume_client = AsyncHumeClient(api_key="token", environment=environment(server))
        async with hume_client.expression_measurement.stream.connect() as connection:
            config = Config(face=StreamFace(identify_faces=True))
            first = await connection.send_file(astronaut, config=config, payload_id="one")
            second = await connection.send_file(b64(astronaut.read_bytes()), config=config)
            return first, second, await connection.get_job_details(), await connection.reset()

    first, second, job, cleared = asyncio.run(talk())
    assert first.payload_id == "one"
    (face,) = first.face.predictions
    assert face.bbox.x + face.bbox.w / 2 == pytest.approx(224, abs=25)
    assert face.bbox.y + face.bbox.h / 2 == pytest.approx(113, abs=25)
    assert 0.5 < face.prob <= 1
    scores = {e.name: e.score for e in face.emotions}
    assert sum(scores.values()) == pytest.approx(1, abs=1e-3)
    assert max(scores, key=lambda name: scores[name]) == "Joy"
    assert set(scores) == {name for names in EMOTION_NAMES.values() for name in names}
    assert second.face.predictions[0].face_id == face.face_id != "unknown"  # the same person in the next payload
    assert job.job_details.job_id
    assert cleared.model_dump(exclude_none=True) == {}


def test_the_sync_client_gets_a_burst_and_warnings_for_missing_models(
    server: Server, cough: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    path = tmp_path / "cough.wav"
    path.write_bytes(wav(cough))
    hume_client = HumeClient(api_key="token", environment=environment(server))
    with hume_client.expression_measurement.stream.connect() as connection:
        told = connection.send_file(path, config=Config(burst={}, prosody={}))
        text = connection.send_text("How are you?", config=Config(language={}))
    (burst,) = told.burst.predictions
    assert burst.time.begin == pytest.approx(1.5, abs=0.75)
    assert burst.time.end > burst.time.begin
    assert burst.emotions == []
    assert [d["name"] for d in burst.descriptions] == ["Cough"]
    assert told.prosody.predictions is None
    assert told.prosody.warning == "No speech detected."
    assert [p.text for p in text.language.predictions] == ["How are you?"]


def test_the_client_is_told_how_turns_were_spoken(server: Server, speech: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    hume_client = HumeClient(api_key="token", environment=environment(server))
    with hume_client.expression_measurement.stream.connect() as connection:
        path.write_bytes(wav(speech[: 16_000 * 3]))
        answers = [connection.send_file(path, config=Config(prosody={})).prosody for _ in range(3)]
    assert all(answer.predictions for answer in answers), answers
    turns = [turn for answer in answers for turn in answer.predictions]
    assert all(0.0 <= turn.time.begin < turn.time.end <= 3.0 for turn in turns)
    assert all(turn.emotions == [] for turn in turns)
    assert all(65.0 <= turn.voice["pitch_hz"] <= 600.0 for turn in turns)
    assert "arousal" not in turns[0].voice
    assert -1.0 <= turns[-1].voice["arousal"] <= 1.0, "the habit is learnt from payload to payload"
    assert all("no emotions" in answer.warning for answer in answers)


# ---------------------------------------------------------------------- options


def test_options_of_the_face_model(ask: Ask, astronaut: Path) -> None:
    data = b64(astronaut.read_bytes())
    (face,) = ask(data=data, models={"face": {}})["face"]["predictions"]
    assert face["face_id"] == "unknown"
    none = {"face": {"warning": "No faces detected.", "code": "W0103"}}
    assert ask(data=data, models={"face": {"prob_threshold": 0.9999}}) == none
    assert ask(data=data, models={"face": {"min_face_size": 200}}) == none
    assert ask(data=data, models={"face": {"facs": {}, "min_face_size": 60}})["face"]["predictions"]


@pytest.mark.parametrize(("fps", "looks"), [(None, 8), (1, 3), (10, 25)])
def test_a_short_film_is_looked_at_so_many_times_a_second(ask: Ask, media: Path, fps: float, looks: int) -> None:
    film = (media / "sorry.mkv").read_bytes()  # 2.5 s
    told = ask(data=b64(film), models={"face": {"fps_pred": fps, "identify_faces": True}})["face"]["predictions"]
    frames = [p["frame"] for p in told]
    assert looks - 2 <= len(set(frames)) <= looks
    assert frames == sorted(frames)
    assert all(p["time"] == pytest.approx(p["frame"] / 30, abs=0.1) for p in told)
    assert len({p["face_id"] for p in told}) == 1


def test_the_window_gives_a_burst_its_beginning_back(ask: Ask, cough: np.ndarray[Any, Any]) -> None:
    first, second = cough[: 16_000 * 2], cough[16_000 * 2 :]
    ask(data=b64(wav(first)), models={"burst": {}}, stream_window_ms=4000)
    told = ask(data=b64(wav(second)), models={"burst": {}}, stream_window_ms=4000)["burst"]
    whole = ask(data=b64(wav(cough)), models={"burst": {}})["burst"]
    assert [p["time"]["begin"] for p in told["predictions"]] == pytest.approx(
        [p["time"]["begin"] - 2 for p in whole["predictions"]], abs=0.01
    )
    ask(data=b64(wav(first)), models={"burst": {}}, stream_window_ms=4000)
    cleared = ask(data=b64(wav(second)), models={"burst": {}}, stream_window_ms=4000, reset_stream=True)["burst"]
    assert cleared != told


def test_silence_is_a_warning(ask: Ask) -> None:
    told = ask(data=b64(wav(np.zeros(16_000))), models={"burst": {}}, payload_id="x", job_details=True)
    assert told["burst"] == {"warning": "No vocal bursts detected.", "code": "W0101"}
    assert told["payload_id"] == "x"
    assert told["job_details"]["job_id"]


# ---------------------------------------------------------------------- each model answers for itself


def test_a_picture_asked_for_face_and_burst_has_its_face(ask: Ask, astronaut: Path) -> None:
    told = ask(data=b64(astronaut.read_bytes()), models={"face": {}, "burst": {}, "prosody": {}, "language": {}})
    assert len(told["face"]["predictions"]) == 1
    assert told["burst"]["code"] == "E0202"
    assert "no sound" in told["burst"]["warning"]
    assert (told["prosody"]["code"], told["language"]["code"]) == ("E0202", "E0102")
    assert "error" not in told


def test_sound_asked_for_face_and_burst_has_its_burst(ask: Ask, cough: np.ndarray[Any, Any]) -> None:
    told = ask(data=b64(wav(cough)), models={"face": {}, "burst": {}})
    assert [d["name"] for p in told["burst"]["predictions"] for d in p["descriptions"]] == ["Cough"]
    assert told["face"]["code"] == "E0102"
    assert "no picture" in told["face"]["warning"]


def test_hume_s_client_reads_what_one_model_found_and_why_another_did_not(server: Server, astronaut: Path) -> None:
    with HumeClient(api_key="x", environment=environment(server)).expression_measurement.stream.connect() as connection:
        told = connection.send_file(astronaut, config=Config(face=StreamFace(), burst={}))
    assert len(told.face.predictions) == 1
    assert told.burst.predictions is None
    assert "no sound" in told.burst.warning


def test_media_without_usable_data_gives_a_warning_for_each_model(ask: Ask) -> None:
    told = ask(data=b64(wav(np.zeros(16_000))), models={"face": {}, "facemesh": {}})
    assert {name: part["code"] for name, part in told.items()} == {"face": "E0102", "facemesh": "E0102"}


def test_a_model_that_is_missing_on_the_device_costs_the_other_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cough: np.ndarray[Any, Any]
) -> None:
    monkeypatch.setenv("EDGE_AGENT__MODELS__DIR", str(tmp_path))  # no face detector; bursts have a bundled model
    monkeypatch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")
    film = write(tmp_path / "film.mp4", [(k / 10, picture(k)) for k in range(20)], cough[:32_000, None])
    running = Server(hume.routes())
    try:
        with client.connect(url(running) + "/models") as connection:
            models = {"face": {}, "burst": {}}
            connection.send(json.dumps({"data": b64(film.read_bytes()), "models": models}))
            told = json.loads(connection.recv(timeout=60))
    finally:
        running.stop()
    assert "cannot be used" in told["face"]["warning"]
    assert "predictions" in told["burst"] or told["burst"]["code"] == "W0101"


def test_a_phone_s_photograph_is_taken(ask: Ask) -> None:
    """Twelve million pixels, in either direction; the face's place is told in the picture's own pixels."""
    for size in ((4032, 3024), (3024, 4032)):
        photo = Image.new("RGB", size, (90, 90, 90))
        photo.paste(Image.fromarray(pictures.astronaut()).resize((3000, 3000)), (12, 12))
        text = io.BytesIO()
        photo.save(text, "jpeg", quality=80)
        (face,) = ask(data=b64(text.getvalue()), models={"face": {}})["face"]["predictions"]
        assert face["bbox"]["x"] + face["bbox"]["w"] / 2 == pytest.approx(12 + 3000 / 512 * 224, abs=150)


def test_a_group_photo_has_as_many_faces_as_people(ask: Ask) -> None:
    """Single pictures are looked at as closely as by `analyze`."""
    head = Image.fromarray(pictures.astronaut()).crop((120, 0, 340, 250)).resize((180, 227))
    room = Image.new("RGB", (1600, 900), (120, 120, 120))
    for k in range(8):
        room.paste(head, (k * 200 + 10, 336))
    text = io.BytesIO()
    room.save(text, "png")
    assert len(ask(data=b64(text.getvalue()), models={"face": {}})["face"]["predictions"]) == 8


# ---------------------------------------------------------------------- data in every form that clients send


@pytest.mark.parametrize(
    "form",
    ["data:image/jpeg;base64,{}", "data:;base64,{}", "DATA:image/jpeg;charset=x;base64,{}", "{}\n", " {}", "lines",
     "url-safe", "unpadded"],
)  # fmt: skip
def test_data_is_read_in_every_form_of_base64(ask: Ask, astronaut: Path, form: str) -> None:
    text = b64(astronaut.read_bytes())
    data = {
        "lines": base64.encodebytes(astronaut.read_bytes()).decode(),
        "url-safe": base64.urlsafe_b64encode(astronaut.read_bytes()).decode(),
        "unpadded": text.rstrip("="),
    }.get(form) or form.format(text)
    assert len(ask(data=data, models={"face": {}})["face"]["predictions"]) == 1


@pytest.mark.parametrize("data", ["data:image/jpeg,AAAA", "data:image/jpeg;base64", "AAAAA", "AA=A", "ÄÄÄÄ", "data:"])
def test_what_is_no_base64_is_said(ask: Ask, data: str) -> None:
    told = ask(data=data, models={"face": {}})
    assert told["code"] == "E0201"
    assert "base64" in told["error"]


# ---------------------------------------------------------------------- what is wrong is said by Hume's code


def png(width: int, height: int) -> str:
    text = io.BytesIO()
    Image.new("L", (width, height)).save(text, "png")
    return b64(text.getvalue())


def test_a_missing_model_is_a_warning_even_alone(model_store: ModelStore, tmp_path: Path) -> None:
    """A device that has not pulled the models of analyzer ``gaze``."""
    for name in ("blazeface-short.tflite", "blazeface-full.tflite"):
        shutil.copy(Path(str(model_store.directory)) / name, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_AGENT__MODELS__DIR", str(tmp_path))
        patch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")
        running = Server(hume.routes())
        try:
            with client.connect(url(running) + "/models") as connection:
                message = {"data": b64(b"anything"), "models": {"facemesh": {}}, "payload_id": "p"}
                connection.send(json.dumps(message))
                told = json.loads(connection.recv(timeout=60))
        finally:
            running.stop()
    assert told == {
        "facemesh": {"warning": "This device has no model for facemesh.", "code": "E0102"},
        "payload_id": "p",
    }


def test_hume_s_client_gets_the_mesh_of_each_near_face_beside_the_faces(server: Server, astronaut: Path) -> None:
    with HumeClient(api_key="x", environment=environment(server)).expression_measurement.stream.connect() as connection:
        both = connection.send_file(astronaut, config=Config(face=StreamFace(), facemesh={}))
        alone = connection.send_file(astronaut, config=Config(facemesh={}))
        points = connection.send_facemesh([[[0.0, 0.0, 0.0]] * 478], config=Config(facemesh={}))
    assert len(both.face.predictions) == 1
    (found,) = both.facemesh.predictions
    assert max(found.emotions, key=lambda e: e.score).name == "Joy"
    assert np.array(found.landmarks).shape == (478, 3)
    assert set(found.gaze) >= {"yaw", "pitch", "sure", "head_yaw", "eyes_open", "mouth_open"}
    assert len(alone.facemesh.predictions) == 1
    assert alone.face is None
    assert points.code == "E0102"
    assert "picture" in points.error


def test_a_picture_without_a_face_has_no_mesh(ask: Ask) -> None:
    told = ask(data=png(320, 240), models={"facemesh": {}})
    assert told["facemesh"]["code"] == "W0103"


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("{", "E0100", "JSON"),
        ("[" * 100_000, "E0100", "JSON"),
        ("[1]", "E0101", "object"),
        ({"models": {"face": {}}, "payload_id": "p"}, "E0101", "data: missing"),
        ({"data": 7, "models": {"face": {}}}, "E0101", "data"),
        ({"data": "", "models": {"face": {"fps_pred": -1}}}, "E0101", "models.face.fps_pred"),
        ({"data": "", "models": {}}, "E0101", "ask for face, burst, prosody or language"),
        ({"data": "hello", "raw_text": True, "models": {"face": {}}}, "E0102", "face: there is no picture"),
        ({"data": "no base64!", "models": {"face": {}}}, "E0201", "base64"),
        ({"data": b64(b"plain text, no media"), "models": {"face": {}}}, "E0200", "known format"),
        ({"data": b64(b"\xff\xd8\xff" + b"x" * 999), "models": {"face": {}}}, "E0200", "known format"),
        ({"data": b64(wav(np.zeros(16_000))), "models": {"face": {}}}, "E0102", "no picture"),
        ({"data": png(64, 64), "models": {"burst": {}}}, "E0202", "no sound"),
        ({"data": b64(wav(np.zeros(6 * 16_000))), "models": {"burst": {}}}, "E0203", "5000 milliseconds"),
        ({"data": png(4097, 4097), "models": {"face": {}}}, "E0205", "4097 x 4097"),
    ],
)
def test_each_mistake_has_its_code_and_the_stream_goes_on(ask: Ask, message: Any, code: str, words: str) -> None:
    told = ask(message)
    assert told["code"] == code
    assert words in told["error"]
    if isinstance(message, dict) and "payload_id" in message:
        assert told["payload_id"] == message["payload_id"]
    assert ask(job_details=True)["job_details"]


def test_a_film_that_is_too_long_is_refused(ask: Ask, media: Path) -> None:
    film = b64((media / "kiosk.mp4").read_bytes())
    assert ask(data=film, models={"face": {}})["code"] == "E0204"


def test_a_playlist_is_no_media(ask: Ask, tmp_path: Path) -> None:
    for head in (b"", b"ID3\x04\x00\x00\x00\x00\x00\x05hello"):
        playlist = head + f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n".encode()
        assert sniff_bytes(playlist) is None
        told = ask(data=b64(playlist), models={"face": {}})
        assert told["code"] == "E0200"
        assert all(name in told["error"] for name in ("HEIC", "AIFF", "MPEG-TS")), "what would be accepted"


# ---------------------------------------------------------------------- limits


def closed(connection: client.ClientConnection) -> int:
    """The code with which the server closes."""
    with pytest.raises(ConnectionClosed) as caught:
        connection.recv(timeout=30)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


def test_a_huge_message_ends_the_connection(server: Server) -> None:
    with client.connect(url(server) + "/models") as connection:
        connection.send(json.dumps({"data": "A" * 6_000_001}))
        assert closed(connection) == 1009


def test_connections_above_the_limit_are_refused_with_try_later(server: Server) -> None:
    address = url(server) + "/models"
    held = [client.connect(address) for _ in range(4)]
    for connection in held:
        connection.send('{"job_details": true}')
        assert connection.recv(timeout=30)
    with client.connect(address) as late:
        assert closed(late) == 1013
    for connection in held:
        connection.close()
    deadline = time.monotonic() + 20
    while True:  # the places are free again
        with client.connect(address) as connection:
            try:
                connection.send('{"job_details": true}')
                connection.recv(timeout=5)
                break
            except ConnectionClosed:
                assert time.monotonic() < deadline


def test_an_idle_connection_is_closed() -> None:
    running = Server(hume.routes(limits=hume.Limits(idle_s=0.5)))
    try:
        with client.connect(url(running) + "/models") as connection:
            began = time.monotonic()
            assert closed(connection) == 1000
            assert time.monotonic() - began > 0.4
    finally:
        running.stop()


def test_missing_models_close_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: Path) -> None:
    monkeypatch.setenv("EDGE_AGENT__MODELS__DIR", str(tmp_path))
    monkeypatch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")
    running = Server(hume.routes())
    try:
        with client.connect(url(running) + "/models") as connection:
            connection.send(json.dumps({"data": b64(astronaut.read_bytes()), "models": {"face": {}}}))
            assert closed(connection) == 1011
    finally:
        running.stop()


def test_an_upload_is_gone_with_the_answer(ask: Ask, astronaut: Path) -> None:
    assert ask(data=b64(astronaut.read_bytes()), models={"face": {}})["face"]["predictions"]
    ask(data=b64(b"\xff\xd8\xff broken"), models={"face": {}})
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and link.exists()]
    assert not [target for target in held if "upload" in target]


def test_a_picture_too_small_for_a_face_holds_none(ask: Ask) -> None:
    assert ask(data=png(8, 8), models={"face": {}}) == {"face": {"warning": "No faces detected.", "code": "W0103"}}
