"""Network cameras for tests: real servers on the loopback that can be stopped, stalled and made to send damage."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_agent.domain.media import Frame


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def jpeg(number: int = 0, width: int = 160, height: int = 120) -> bytes:
    """A picture with enough detail that losing half of its bytes matters; ``number`` makes pictures differ."""
    noise = np.random.default_rng(number).integers(0, 255, (height, width, 3), np.uint8)
    encoded: bytes = cv2.imencode(".jpg", cv2.GaussianBlur(noise, (5, 5), 0))[1].tobytes()
    return encoded


def wait_for(condition: Callable[[], object], seconds: float = 20.0, what: str = "condition") -> None:
    """Poll until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.02)


class MjpegCamera:
    """Multipart JPEG over HTTP at ``fps``: ``picture(n)`` makes the n-th part. ``stalled`` keeps clients waiting."""

    def __init__(self, picture: Callable[[int], bytes] = jpeg, fps: float = 20.0, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}/video"
        self.stalled = threading.Event()
        self.sent = 0
        self.picture = picture
        self._period = 1.0 / fps
        self._stop = threading.Event()
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How often somebody connected."""
        return len(self._clients)

    def stop(self) -> None:
        """Close everything at once, as pulling the plug does."""
        self._stop.set()
        # shutdown wakes the accept; close alone would not.
        for sock in (self._listener, *self._clients):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._thread.join(5)

    def __enter__(self) -> MjpegCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
            while not self._stop.wait(self._period):
                if self.stalled.is_set():
                    continue
                part = self.picture(self.sent)
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(part)}\r\n\r\n"
                client.sendall(head.encode() + part + b"\r\n")
                self.sent += 1


class FfmpegCamera:
    """ffmpeg as the web server of one client: H.264 in MPEG-TS, as some cameras and restreamers send."""

    def __init__(self, port: int, size: str = "320x240") -> None:
        self.url = f"http://127.0.0.1:{port}/live.ts"
        source = ["-re", "-f", "lavfi", "-i", f"testsrc=size={size}:rate=15"]
        codec = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-pix_fmt", "yuv420p"]
        self._process = _ffmpeg(*source, *codec, "-f", "mpegts", "-listen", "1", self.url)

    def kill(self) -> None:
        """SIGKILL: the connection breaks without a word."""
        self._process.kill()
        self._process.wait(10)


class RtspCamera:
    """An RTSP server of one client, RTP interleaved in its TCP connection; ffmpeg makes the RTP packets."""

    def __init__(self, folder: Path) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://user:canary-secret@127.0.0.1:{self._listener.getsockname()[1]}/stream?token=canary-secret"
        self._rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._rtp.bind(("127.0.0.1", 0))
        self._rtp.settimeout(0.2)
        sdp = folder / "stream.sdp"
        source = ["-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=15", "-an"]
        codec = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-pix_fmt", "yuv420p"]
        target = f"rtp://127.0.0.1:{self._rtp.getsockname()[1]}?pkt_size=1200"
        self._process = _ffmpeg(*source, *codec, "-sdp_file", str(sdp), "-f", "rtp", target)
        wait_for(lambda: sdp.exists() and "m=video" in sdp.read_text(), what="ffmpeg's SDP")
        self._sdp = "".join(
            line + "\r\n" for line in sdp.read_text().splitlines() if not line.startswith(("SDP:", "c="))
        )
        self._stop = threading.Event()
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the connection and end ffmpeg."""
        self._stop.set()
        for sock in (self._listener, self._client):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        self._process.kill()
        self._process.wait(10)
        self._thread.join(5)
        self._rtp.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            self._client, _ = self._listener.accept()
            requests = self._client.makefile("rb")
            while line := requests.readline():
                method = line.split()[0].decode()
                headers = {}
                while (header := requests.readline().strip()) != b"":
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                self._client.sendall(self._answer(method, headers.get("cseq", "0"), headers.get("transport", "")))
                if method == "PLAY":
                    self._forward(self._client)
                    return

    def _answer(self, method: str, sequence: str, transport: str) -> bytes:
        head = f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\nSession: 1\r\n"
        if method == "DESCRIBE":
            return (
                head + f"Content-Type: application/sdp\r\nContent-Length: {len(self._sdp)}\r\n\r\n{self._sdp}"
            ).encode()
        extra = {"OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n", "SETUP": f"Transport: {transport}\r\n"}
        return (head + extra.get(method, "") + "\r\n").encode()

    def _forward(self, client: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                packet = self._rtp.recv(65536)
            except TimeoutError:
                continue
            client.sendall(b"$\x00" + len(packet).to_bytes(2, "big") + packet)


def have_ffmpeg() -> bool:
    """Whether Debian's ffmpeg package is installed."""
    return shutil.which("ffmpeg") is not None


def _ffmpeg(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Collector:
    """Opens and reads a source on a thread, as the agent does, and keeps what comes."""

    def __init__(self, source: object) -> None:
        self.source = source
        self.items: list[Frame] = []
        self.error: Exception | None = None
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        return len(self.items)

    def close(self) -> float:
        """Close the source; seconds until both the call and the reading thread came back."""
        start = time.monotonic()
        self.source.close()  # type: ignore[attr-defined]
        self._thread.join(20)
        assert not self._thread.is_alive(), "read() did not return after close()"
        return time.monotonic() - start

    def _run(self) -> None:
        try:
            for item in self._items():
                self.items.append(item)
        except Exception as error:  # noqa: BLE001 - shown by the test
            self.error = error
        self.ended.set()

    def _items(self) -> Iterator[Frame]:
        self.source.open()  # type: ignore[attr-defined]
        while (item := self.source.read()) is not None:  # type: ignore[attr-defined]
            yield item


@contextlib.contextmanager
def collecting(source: object) -> Iterator[Collector]:
    """A :class:`Collector` that is closed at the end."""
    collector = Collector(source)
    try:
        yield collector
    finally:
        collector.close()
