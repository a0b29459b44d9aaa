"""Uploads to a real server: what is answered equals what ``analyze`` finds, and what is refused says why."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from edge_agent.api import EMOTIONS, Session
from edge_agent.models import ModelStore
from edge_agent.web import upload
from tests.support.pictures import heic
from tests.support.recordings import picture, tone, write
from tests.support.web import Server


@pytest.fixture(scope="module")
def server(model_store: ModelStore) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_AGENT__MODELS__DIR", str(model_store.directory))
        patch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")
        limits = upload.UploadLimits(body=2_500_000, seconds=3, waiting=2, chunk_s=1.0)
        running = Server(upload.routes(limits=limits))
        yield running
        running.stop()


def ask(server: Server, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any], str]:
    """Status, document and its type."""
    connection = http.client.HTTPConnection(server.address, timeout=60)
    connection.request(method, path, body)
    response = connection.getresponse()
    document = json.loads(response.read() or b"{}") if "json" in response.headers["content-type"] else {}
    connection.close()
    return response.status, document, response.headers["content-type"]


def test_a_film_is_answered_as_analyze_would(server: Server, media: Path) -> None:
    film = media / "sorry.mkv"
    status, report, _ = ask(server, "POST", "/process-frame", film.read_bytes())
    with Session(upload.ANALYZERS) as session:
        expected = session.file(film).report
    assert status == 200
    assert report["total_frames_analyzed"] == expected.total_frames_analyzed > 5
    assert report["overall_dominant_emotion"] == expected.overall_dominant_emotion in EMOTIONS
    assert report["average_emotion_scores"] == pytest.approx(expected.average_emotion_scores, abs=1e-4)
    assert sum(report["average_emotion_scores"].values()) == pytest.approx(100, abs=0.001)
    assert 0 < report["average_confidence_score"] <= 1
    assert 0 <= report["eye_contact_score"] <= 1


def test_every_face_over_time(server: Server, media: Path) -> None:
    film = (media / "sorry.mkv").read_bytes()
    status, told, _ = ask(server, "POST", "/video-stream/emotion", film)
    assert status == 200
    (rows,) = told["faces"].values()
    assert [r["time"] for r in rows] == sorted(r["time"] for r in rows)
    assert any(sum(r["emotions"].values()) == pytest.approx(1, abs=1e-3) for r in rows if r["emotions"])
    assert told["report"]["total_frames_analyzed"] >= len(rows)


@pytest.mark.parametrize("suffix", ["jpg", "gif", "tiff", "webp", "avif", "heic"])
def test_a_still_is_judged_like_a_still_in_every_format(server: Server, tmp_path: Path, suffix: str) -> None:
    face = Image.fromarray(astronaut())
    path = tmp_path / f"still.{suffix}"
    if suffix == "heic":
        heic(path, face.crop((100, 0, 356, 256)), 128)
    else:
        face.save(path)
    status, told, _ = ask(server, "POST", "/video-stream/emotion", path.read_bytes())
    assert status == 200
    assert len(told["faces"]) == 1
    assert told["report"]["overall_dominant_emotion"] == "happiness"


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("flv", "flv"), ("wmv", "wmv2"), ("mov", "libx264")])
def test_films_that_the_command_line_reads_are_taken(server: Server, tmp_path: Path, suffix: str, codec: str) -> None:
    film = write(tmp_path / f"film.{suffix}", [(k / 10, picture(k)) for k in range(10)], codec=codec)
    assert ask(server, "POST", "/process-frame", film.read_bytes())[0] == 200


def test_a_group_is_found_whole(server: Server, tmp_path: Path) -> None:
    face = Image.fromarray(astronaut()).crop((120, 0, 340, 250)).resize((180, 227))
    room = Image.new("RGB", (1600, 900), (120, 120, 120))
    for k in range(8):
        room.paste(face, (k * 200 + 10, 336))
    room.save(tmp_path / "group.png")
    _status, told, _ = ask(server, "POST", "/video-stream/emotion", (tmp_path / "group.png").read_bytes())
    assert len(told["faces"]) == 8


def test_a_refusal_names_what_is_accepted(server: Server, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "two.tiff", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    unknown = ask(server, "POST", "/process-frame", b"no film at all")[1]["detail"]
    assert all(name in unknown for name in ("JPEG", "HEIC", "TIFF", "MPEG-TS", "FLV", "WMV", "AIFF"))
    pages = ask(server, "POST", "/process-frame", (tmp_path / "two.tiff").read_bytes())
    assert pages[0] == 415
    assert "TIFF: holds 2 pages" in pages[1]["detail"]


def test_health(server: Server) -> None:
    status, told, _ = ask(server, "GET", "/")
    assert (status, told["status"]) == (200, "ok")


def test_what_cannot_be_analysed_is_a_problem_with_a_reason(server: Server, tmp_path: Path) -> None:
    long = write(tmp_path / "long.mp4", [(k / 10, picture(k)) for k in range(40)])
    silent = write(tmp_path / "sound.wav", sound=tone(1.0))
    playlist = f"#EXTM3U\n#EXTINF:1,\n{long}\n#EXT-X-ENDLIST\n".encode()
    for body, status, words in (
        (b"", 400, "empty"),
        (b"no film at all", 415, "known format"),
        (playlist, 415, "known format"),
        (b"\xff\xd8\xff" + bytes(999), 415, "known format"),
        (silent.read_bytes(), 422, "no picture"),
        (long.read_bytes(), 422, "limit is 3 s"),
    ):
        found = ask(server, "POST", "/process-frame", body)
        assert found[0] == status
        assert words in found[1]["detail"]
        assert found[2] == "application/problem+json"
    assert ask(server, "GET", "/process-frame")[0] == 405


def raw(server: Server, length: str = "Content-Length: 1000", body: bytes = b"abc") -> socket.socket:
    """A connection that announces a body and sends only its beginning."""
    host, _, port = server.address.partition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(b"POST /process-frame HTTP/1.1\r\nHost: x\r\n" + length.encode() + b"\r\n\r\n" + body)
    return connection


def test_a_body_too_large_is_refused_by_its_header_or_by_its_size(server: Server) -> None:
    chunk = f"{2_500_001:x}\r\n".encode() + bytes(2_500_001)
    for length, body in (("Content-Length: 2500001", b""), ("Transfer-Encoding: chunked", chunk)):
        with raw(server, length, body) as connection:
            answer = b""
            while piece := connection.recv(10_000):  # until the server closes
                answer += piece
            assert answer.startswith(b"HTTP/1.1 413")
            assert b"2500000 bytes" in answer


def test_a_client_that_stops_sending_is_given_up(server: Server) -> None:
    with raw(server) as connection:
        began = time.monotonic()
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        assert 0.8 < time.monotonic() - began < 10


def photo() -> bytes:
    """A smiling face as JPEG."""
    from io import BytesIO

    from PIL import Image
    from skimage import data as pictures

    text = BytesIO()
    Image.fromarray(np.asarray(pictures.astronaut())).save(text, "jpeg")
    return text.getvalue()


@pytest.mark.parametrize("path", ["/process-frame", "/video-stream/emotion"])
def test_a_file_of_a_form_is_taken_like_the_bytes_themselves(server: Server, tmp_path: Path, path: str) -> None:
    """As ``curl -F file=@…`` and browsers send it, in memory only, whatever else is in the form."""
    address = f"http://{server.address}{path}"
    bare = httpx.post(address, content=photo(), timeout=60).json()
    for name in ("file", "video", "frame"):
        form = httpx.post(address, files={name: ("a.jpg", photo(), "image/jpeg")}, data={"fps": "3"}, timeout=60)
        assert form.status_code == 200
        assert bare.get("overall_dominant_emotion", "happiness") == "happiness"
        assert form.json().get("overall_dominant_emotion") == bare.get("overall_dominant_emotion")
    curl = shutil.which("curl")
    if curl:
        (tmp_path / "a.jpg").write_bytes(photo())
        command = [curl, "-sS", "--fail-with-body", "-F", f"file=@{tmp_path / 'a.jpg'}", address]
        told = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
        assert json.loads(told).keys() == bare.keys()


def test_a_file_of_a_form_never_touches_the_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    large = photo() + bytes(2_000_000)
    answer = httpx.post(f"http://{server.address}/process-frame", files={"file": ("a.jpg", large)}, timeout=60)
    assert answer.status_code == 200


FORM = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="a"'
FILE = PART + b'; filename="b"\r\n\r\n'
END = b"\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "status", "words"),
    [
        ("multipart/form-data", b"--x\r\n", 400, "boundary"),
        (FORM, b"no form at all", 400, "form"),
        (FORM, b"", 400, "no file in the form"),
        (FORM, PART + b"\r\n\r\nb" + END, 400, "no file in the form"),
        (FORM, FILE + b"no film" + END, 415, "known format"),
        (FORM, FILE + END, 400, "empty"),
        (FORM, (FILE + b"\r\n") * 99 + END, 400, "form"),
        (FORM, FILE + bytes(2_500_001), 413, "2500000 bytes"),
    ],
)
def test_a_form_without_a_film_is_refused_with_the_reason(
    server: Server, kind: str, body: bytes, status: int, words: str
) -> None:
    address = f"http://{server.address}/process-frame"
    answer = httpx.post(address, content=body, headers={"content-type": kind}, timeout=60)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


def test_numbers_are_rounded(server: Server) -> None:
    told = httpx.post(f"http://{server.address}/video-stream/emotion", content=photo(), timeout=60).text
    assert not [number for number in re.findall(r"\d+\.(\d+)", told) if len(number) > 4]


def test_requests_above_the_queue_limit_are_refused(server: Server) -> None:
    with raw(server), raw(server):
        time.sleep(0.3)
        status, told, _ = ask(server, "POST", "/process-frame", b"x")
        assert status == 503
        assert "try again later" in told["detail"]
    deadline = time.monotonic() + 20
    while ask(server, "POST", "/process-frame", b"x")[0] != 415:  # the places are free again
        assert time.monotonic() < deadline


def test_the_server_stays_responsive_while_it_analyses(server: Server, media: Path) -> None:
    film = (media / "sorry.mkv").read_bytes()
    done: list[int] = []
    worker = threading.Thread(target=lambda: done.append(ask(server, "POST", "/process-frame", film)[0]))
    worker.start()
    answered = 0
    while not done:
        assert ask(server, "GET", "/")[0] == 200
        answered += 1
    worker.join()
    assert done == [200]
    assert answered > 3


def test_a_picture_is_a_recording_too(server: Server) -> None:
    status, report, _ = ask(server, "POST", "/process-frame", photo())
    assert status == 200
    assert report["overall_dominant_emotion"] == "happiness"
    assert report["eye_contact_score"] is None
