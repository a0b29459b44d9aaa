"""Hume's streaming examples with each version of its SDK that is in use.

The installed version is always run. The others are run when ``HUME_SDKS`` names a folder with them, each made by ``pip
install --no-deps --target $HUME_SDKS/hume-0.13.11 hume==0.13.11``; 0.12.1 needs ``websockets==12.0`` beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import pytest
import soundfile
from skimage import data as pictures
from websockets.asyncio.client import connect
from websockets.sync import client

from edge_agent.domain.media import AUDIO_RATE
from tests.support.compat import Shell
from tests.support.recordings import tone, write
from tests.support.web_agent import WebAgent
from training.emotion.faces.demo import cough

VERSIONS = ("0.12.1", "0.13.11", "0.13.13")
CLIENT = Path(__file__).with_name("hume_client.py")


@pytest.fixture(scope="module", params=VERSIONS)
def told(request: pytest.FixtureRequest, compat_agent: WebAgent, samples: Path) -> dict[str, Any]:
    """What the client of a version was told."""
    environment = dict(os.environ)
    if request.param != version("hume"):
        folder = Path(os.environ.get("HUME_SDKS", "/nowhere")) / f"hume-{request.param}"
        if not folder.is_dir():
            pytest.skip(f"HUME_SDKS names no folder with hume-{request.param}")
        environment["PYTHONPATH"] = str(folder)
    command = [sys.executable, str(CLIENT), f"127.0.0.1:{compat_agent.port}", compat_agent.token, "video.mp4"]
    done = subprocess.run(
        command, cwd=samples, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.documented(
    "Hume stream",
    "async with client.expression_measurement.stream.connect(options=StreamConnectOptions(config=Config("
    "face=StreamFace()))) as socket: await socket.send_file(…)",
    differs="no released SDK exports StreamFace from stream.types: import it from expression_measurement.stream",
)
def test_example_1_faces_of_a_file(told: dict[str, Any]) -> None:
    faces = told["faces"]["result"]["face"]["predictions"]
    assert [round(face["time"], 1) for face in faces] == sorted(round(face["time"], 1) for face in faces)
    best = {max(face["emotions"], key=lambda e: e["score"])["name"] for face in faces}
    assert best == {"Joy"}
    assert len({face["face_id"] for face in faces}) == 1
    assert len(told["faces"]["again"]["face"]["predictions"]) == len(faces)


@pytest.mark.documented(
    "Hume stream",
    "Config(face=StreamFace(), prosody={}) on a film",
    differs="a model that is not installed answers a warning with its code beside the others",
)
def test_example_2_each_model_answers_for_itself(told: dict[str, Any]) -> None:
    assert told["both"]["face"]["predictions"]
    assert not told["both"]["face"].get("warning")
    for name in ("prosody", "facemesh"):
        part = told["both"][name]
        assert part.get("predictions") or part.get("code"), f"{name}: {part}"


@pytest.mark.documented(
    "Hume stream",
    "Config(facemesh={}) on a film",
    differs="emotions are read from the picture; the 478 landmarks and the gaze beside them are ours",
)
def test_the_mesh_of_each_near_face(told: dict[str, Any]) -> None:
    meshes = told["both"]["facemesh"]["predictions"]
    assert len(meshes) == len(told["both"]["face"]["predictions"])
    assert all(len(mesh["landmarks"]) == 478 for mesh in meshes)
    assert {max(mesh["emotions"], key=lambda e: e["score"])["name"] for mesh in meshes} == {"Joy"}


@pytest.mark.documented(
    "Hume stream",
    "await socket.send_text(text=…, config=Config(language=StreamLanguage()))",
    differs="sentences in place of words, with a warning; no sentiment, no toxicity; 19 of 53 names",
)
def test_text_by_sentence(told: dict[str, Any]) -> None:
    (sentence,) = told["faces"]["text"]["language"]["predictions"]
    assert (sentence["text"], sentence["position"]) == ("I am so happy!", {"begin": 0, "end": 14})
    assert max(sentence["emotions"], key=lambda e: e["score"])["name"] == "Joy"


@pytest.mark.documented("Hume stream", "await socket.get_job_details(); await socket.reset()")
def test_job_details_and_reset(told: dict[str, Any]) -> None:
    assert told["faces"]["job"]["job_details"]["job_id"]


@pytest.mark.documented("Hume stream", 'a wrong key is an ApiError 401, "invalid credentials"')
def test_a_wrong_key_is_told_as_such(told: dict[str, Any]) -> None:
    assert told["refused"].startswith("401: ")
    assert "invalid credentials" in told["refused"].lower()


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(shell: Shell) -> Iterator[Ask]:
    """Sends a file, or bytes, with ``models`` and more fields over one connection; the answer."""
    with client.connect(shell.here("ws://localhost:8000/v0/stream/models"), max_size=None) as connection:

        def send(data: str | bytes, **fields: Any) -> dict[str, Any]:
            content = (shell.folder / data).read_bytes() if isinstance(data, str) else data
            connection.send(json.dumps({"data": b64encode(content).decode(), **fields}))
            return dict(json.loads(connection.recv(timeout=60)))

        yield send


@pytest.mark.documented(
    "Hume stream",
    "StreamFace(fps_pred, prob_threshold, identify_faces, min_face_size)",
    differs="9 of 48 names; no facs, no descriptions",
)
def test_options_of_faces(ask: Ask) -> None:
    options = {"fps_pred": 5.0, "prob_threshold": 0.5, "identify_faces": True, "min_face_size": 30.0}
    faces = ask("video.mp4", models={"face": {**options, "facs": {}, "descriptions": {}}})["face"]["predictions"]
    assert len(faces) == pytest.approx(15, abs=1)
    assert set(faces[0]) == {"frame", "time", "prob", "face_id", "bbox", "emotions"}
    assert faces[0]["face_id"] != "unknown"
    assert all(0 < faces[0]["bbox"][side] < 512 for side in "xywh")
    assert len(faces[0]["emotions"]) == 9
    assert "warning" in ask("video.mp4", models={"face": {"min_face_size": 500.0}})["face"]
    assert ask("face.jpg", models={"face": {}})["face"]["predictions"][0]["face_id"] == "unknown"


@pytest.mark.documented(
    "Hume stream", "Config(burst={}): vocal bursts with their times", differs="which sound it is; no emotions"
)
def test_vocal_bursts(ask: Ask, tmp_path: Path) -> None:
    silence = np.zeros(AUDIO_RATE // 2, np.float32)
    sound = np.concatenate([silence, cough(np.random.default_rng(0)).astype(np.float32), silence])
    soundfile.write(tmp_path / "cough.wav", sound, AUDIO_RATE)
    found = ask((tmp_path / "cough.wav").read_bytes(), models={"burst": {}})["burst"]["predictions"]
    assert {part["name"] for burst in found for part in burst["descriptions"]} == {"Cough"}
    assert all(0.2 < burst["time"]["begin"] < burst["time"]["end"] for burst in found)
    assert ask("sound.wav", models={"burst": {}})["burst"]["code"] == "W0101"


@pytest.mark.documented(
    "Hume stream",
    "StreamLanguage(granularity, sentiment, toxicity), Config(prosody={}, facemesh={})",
    differs="sentences, lines or the whole text; the others warn, or answer by what is installed",
)
def test_what_is_not_here_warns_and_refuses_nothing(ask: Ask) -> None:
    options = {"granularity": "sentence", "sentiment": {}, "toxicity": {}}
    told = ask(b"Thank you. I am sorry.", models={"language": options})["language"]
    assert [part["text"] for part in told["predictions"]] == ["Thank you.", "I am sorry."]
    assert "sentiment: not on this device; toxicity: not on this device" in told["warning"]
    told = ask("video.mp4", models={"face": {}, "prosody": {}, "facemesh": {}})
    assert told["face"]["predictions"]
    assert all(told[name].get("predictions") or told[name]["code"] for name in ("prosody", "facemesh"))


@pytest.mark.documented("Hume stream", "one connection for many payloads; payload_id; job_details; reset_stream")
def test_a_connection_is_used_again(ask: Ask) -> None:
    for number in range(3):
        told = ask("face.jpg", models={"face": {}}, payload_id=f"p{number}", job_details=True, reset_stream=True)
        assert told["payload_id"] == f"p{number}"
        assert told["job_details"]["job_id"]
        assert told["face"]["predictions"]
    assert ask(b"no media", models={"face": {}})["code"] == "E0200"
    assert ask("face.jpg", models={"face": {}})["face"]["predictions"]  # an error ends nothing


FORMATS = {"mov": "aac", "mp4": "aac", "webm": "libopus", "mp3": "libmp3lame", "m4a": "aac", "wav": "pcm_s16le",
           "aif": "pcm_s16be"}  # fmt: skip


@pytest.mark.documented("Hume stream", "mov, mp4, webm; mp3, m4a, wav, aif; png, jpg")
def test_formats(ask: Ask, tmp_path: Path) -> None:
    face = pictures.astronaut()[:256, 96:352]
    for form, codec in FORMATS.items():
        film = form in ("mov", "mp4", "webm")
        frames = [(number / 5, face) for number in range(4)] if film else []
        sound = np.repeat(tone(1.0), 3, axis=0)[:48_000]
        path = write(
            tmp_path / f"a.{form}", frames, sound, codec="libvpx" if form == "webm" else "libx264", sound_codec=codec,
            rate=48_000, fps=5,
        )  # fmt: skip
        told = ask(path.read_bytes(), models={"face": {}, "burst": {}} if film else {"burst": {}})
        assert told["burst"]["code"] == "W0101", form  # it was heard, and holds no burst
        assert not film or told["face"]["predictions"], form
    assert ask("face.jpg", models={"face": {}})["face"]["predictions"]


@pytest.mark.documented("Hume stream", "many clients in parallel")
def test_sixteen_clients_are_served_alike(shell: Shell) -> None:
    """From the first answer on, in which models are loaded: every client gets within 20 % of the mean of answers, and
    95 of 100 times not more than twice the usual number of others' answers lies between two of its own.

    Half of them wait for each answer, half have four pictures on the way. Seconds are in ``benchmarks/web_sockets.py``:
    they also depend on what else the machine does at the time.
    """
    picture = (shell.folder / "face.jpg").read_bytes()
    message = json.dumps({"data": b64encode(picture).decode(), "models": {"face": {}}})
    address = shell.here("ws://localhost:8000/v0/stream/models")

    answers = iter(range(1, sys.maxsize))

    async def client(ahead: int, ready: asyncio.Barrier, end: list[float]) -> list[int]:
        async with connect(address, open_timeout=60) as socket:
            await ready.wait()
            end[0] = end[0] or time.monotonic() + 4.0
            numbers = []
            for _ in range(ahead):
                await socket.send(message)
            while time.monotonic() < end[0]:
                assert "predictions" in json.loads(await socket.recv())["face"]
                numbers.append(next(answers))
                await socket.send(message)
            return numbers

    async def together() -> list[list[int]]:
        ready, end = asyncio.Barrier(16), [0.0]
        return list(await asyncio.gather(*(client(4 if k % 2 else 1, ready, end) for k in range(16))))

    numbers = asyncio.run(together())
    counts = [len(one) for one in numbers]
    assert min(counts) >= 0.8 * mean(counts) - 1, counts
    assert max(counts) <= 1.2 * mean(counts) + 1, counts
    gaps = sorted(b - a for one in numbers for a, b in pairwise(one))
    assert gaps[len(gaps) * 95 // 100] <= 2 * median(gaps), gaps
