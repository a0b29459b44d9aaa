"""Network cameras against real servers: MJPEG over HTTP, H.264 over HTTP and over RTSP."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from edge_agent.capture import Demand, ReplayGroup, make_video
from edge_agent.capture.cameras import StreamCamera
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.errors import DeviceUnavailableError
from edge_agent.domain.media import Frame
from edge_agent.settings import CameraSettings
from tests.support.cameras import (
    FfmpegCamera,
    MjpegCamera,
    RtspCamera,
    collecting,
    free_port,
    have_ffmpeg,
    jpeg,
    wait_for,
)
from tests.support.pictures import UNDO, corner, is_upright
from tests.support.recordings import joined

CLOCK = SystemClock(lambda: True)
needs_ffmpeg = pytest.mark.skipif(not have_ffmpeg(), reason="needs ffmpeg (Debian: apt install ffmpeg)")


@pytest.fixture
def rtsp(tmp_path: Path) -> Iterator[RtspCamera]:
    camera = RtspCamera(tmp_path)
    yield camera
    camera.stop()


def read_frames(url: str, count: int, fps: float = 60.0) -> list[Frame]:
    camera = StreamCamera(url, CLOCK, fps, open_s=10, read_s=10)
    camera.open()
    try:
        return [frame for _ in range(count) if (frame := camera.read())]
    finally:
        camera.close()


def test_mjpeg_frames_have_size_time_and_rising_index() -> None:
    with MjpegCamera() as server:
        before = time.monotonic()
        frames = read_frames(server.url, 10)
        after = time.monotonic()
    assert [f.data.shape for f in frames] == [(120, 160, 3)] * 10
    assert [f.index for f in frames] == list(range(10))
    assert before < frames[0].time < frames[-1].time < after


def test_a_stream_faster_than_asked_for_is_thinned_and_that_is_no_drop() -> None:
    with MjpegCamera(fps=40) as server:
        frames = read_frames(server.url, 8, fps=10)
        # The first frames come in one burst: they were buffered while the stream was examined.
        assert server.sent >= 16
    assert [f.index for f in frames] == list(range(8))


def test_a_picture_that_nobody_wants_is_counted_and_is_no_drop() -> None:
    demand = Demand()
    with MjpegCamera(fps=40) as server:
        source = make_video(CameraSettings(source=server.url, fps=40), CLOCK, {}, ReplayGroup(CLOCK), demand.wants)
        assert source is not None
        source.open()
        frames = []
        for _ in range(3):
            frame = source.read()
            assert frame is not None
            frames.append(frame)
            demand.not_before(frame.time + 0.3)
        source.close()
    for before, after in pairwise(frames):
        assert after.time - before.time >= 0.3
        assert after.index - before.index == 1 + after.skipped - before.skipped > 1


def test_resolution_change_gives_frames_of_the_new_size() -> None:
    def changing(n: int) -> bytes:
        return jpeg(n, 160, 120) if n < 30 else jpeg(n, 320, 240)

    with MjpegCamera(changing, fps=40) as server:
        sizes = [(f.width, f.height) for f in read_frames(server.url, 60)]
    assert sizes[0] == (160, 120)
    assert sizes[-1] == (320, 240)
    assert sizes == sorted(sizes)


@needs_ffmpeg
def test_rtsp_is_read_and_its_url_stays_secret(rtsp: RtspCamera, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    source = make_video(CameraSettings(source=rtsp.url, timeout_s=10), CLOCK, {}, ReplayGroup(CLOCK))
    assert source is not None
    with collecting(source) as collected:
        wait_for(lambda: collected.count >= 10, what="ten frames over RTSP")
        rtsp.stop()
        wait_for(lambda: not source.status.available, what="noticing the loss")
    assert (collected.items[0].width, collected.items[0].height) == (320, 240)
    assert "127.0.0.1" in source.status.error
    assert "canary-secret" not in caplog.text + source.status.error


@needs_ffmpeg
def test_ffmpeg_server_killed_and_restarted() -> None:
    """Row 21: an ffmpeg server killed, and started again with another size: read again within 30 s, numbers go on."""
    port = free_port()
    server = FfmpegCamera(port)
    source = make_video(CameraSettings(source=server.url, fps=30), CLOCK, {}, ReplayGroup(CLOCK))
    assert source is not None
    try:
        with collecting(source) as collected:
            wait_for(lambda: collected.count >= 10, 30, "ten frames before the kill")
            server.kill()
            wait_for(lambda: not source.status.available, what="noticing the kill")
            lost, killed = collected.count, time.monotonic()
            server = FfmpegCamera(port, size="640x360")
            wait_for(lambda: collected.count >= lost + 10, 30, "frames after the restart")
            assert time.monotonic() - killed < 30
    finally:
        server.kill()
    assert source.status.reopens == 1
    indices = [frame.index for frame in collected.items]
    assert indices == sorted(set(indices)), "indices go on across the reopening"
    assert (collected.items[-1].width, collected.items[-1].height) == (640, 360)


@pytest.mark.parametrize("offset", [0.0, 80_000.0])
def test_a_camera_whose_clock_begins_anew_is_watched_on(tmp_path: Path, offset: float) -> None:
    joined(tmp_path / "live.ts", offset)
    with serving(tmp_path) as address:
        # Of the first 50 pictures those are lost by which the stream was examined.
        frames = read_frames(f"{address}/live.ts", 70, fps=1e6)
    assert [frame.index for frame in frames] == list(range(70))
    assert all(one.time <= other.time for one, other in pairwise(frames))


def test_a_mirrored_picture_of_a_camera_is_turned_like_one_in_a_file() -> None:
    """Only as far as this PyAV tells: before 19 it does not know the EXIF of a picture in a stream."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    corner().transpose(UNDO[6]).save(file, "JPEG", exif=exif, quality=95)
    with MjpegCamera(lambda _number: file.getvalue()) as server:
        frames = read_frames(server.url, 3)
    assert all(is_upright(frame.data) for frame in frames)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The files of a folder over HTTP."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (lambda: f"http://127.0.0.1:{free_port()}/x", "refused"),
        (lambda: "http://camera.invalid/x", "camera.invalid"),
        (lambda: f"rtsp://user:canary-secret@127.0.0.1:{free_port()}/x", "refused"),
    ],
)
def test_an_unreachable_stream_is_reported_in_one_line(url: Callable[[], str], words: str) -> None:
    camera = StreamCamera(url(), CLOCK, 15, open_s=3, read_s=3)
    with pytest.raises(DeviceUnavailableError) as raised:
        camera.open()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "canary-secret" not in str(raised.value)


def test_bitrate_and_buffering_are_measured_where_the_stream_arrives() -> None:
    """What the server sent is what was received; a pause of the server is one stall of its length."""
    with MjpegCamera(fps=25.0) as server:
        camera = StreamCamera(server.url, CLOCK, 60.0, open_s=10, read_s=10)
        camera.open()
        try:
            frames = [frame for _ in range(25) if (frame := camera.read())]
            before, length = frames[-1].transfer, len(jpeg())
            assert before is not None
            assert before.received >= 24 * length * 0.9
            assert before.received <= server.sent * length * 1.2
            server.stalled.set()
            threading.Timer(1.2, server.stalled.clear).start()
            for _ in range(25):
                after = camera.read()
        finally:
            camera.close()
    assert after is not None
    assert after.transfer is not None
    assert after.transfer.stalls - before.stalls >= 1
    assert after.transfer.stalled - before.stalled == pytest.approx(1.2, abs=0.5)


@needs_ffmpeg
def test_bitrate_of_an_encoded_stream_is_that_of_its_packets(rtsp: RtspCamera) -> None:
    frames = read_frames(rtsp.url, 25)
    assert frames[-1].transfer is not None
    sizes = [frame.transfer.received for frame in frames if frame.transfer is not None]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 24 * 50, "each picture takes bytes"
