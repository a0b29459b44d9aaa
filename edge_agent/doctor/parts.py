"""Self-tests of the libraries, used as the agent uses them: pictures, video, sound, models, database, MQTT.

A library may import and still lack an argument, a codec or a system library, so each one processes a small sample.
The check of the microphone tests PortAudio.
"""

from __future__ import annotations

import queue
import socket
import tempfile
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from edge_agent.capture.media import iter_blocks, iter_frames
from edge_agent.delivery.link import Connected, Disconnected, Report
from edge_agent.delivery.mqtt import MqttLink
from edge_agent.delivery.outbox import Origin, Outbox
from edge_agent.doctor.result import CheckResult, fail, ok
from edge_agent.doctor.rights import next_report
from edge_agent.domain.clock import SystemClock
from edge_agent.models import Catalogue, ModelState, ModelStore, TfliteModel
from edge_agent.settings import MqttSettings
from edge_agent.settings.schema import OutboxSettings
from edge_agent.summary.summariser import merge_summaries

REMEDY = "reinstall the program with its tested versions (docs/installation.md, constraints/)"
MQTT_S = 10.0
ACCEPTED = b"\x20\x03\x00\x00\x00"
"""CONNACK of MQTT 5: success, no properties."""


class _BrokenError(Exception):
    """A library works without an error, but its result is wrong."""


def check_parts() -> Iterator[CheckResult]:
    """Yield one result for all libraries that work, and one for each that fails."""
    good = []
    with tempfile.TemporaryDirectory(prefix="edge-agent-doctor-") as folder:
        for name, use in PARTS.items():
            try:
                use(Path(folder))
            except Exception as error:  # noqa: BLE001 - whatever a broken library raises is the finding
                detail = f"{name}: {type(error).__name__}: {str(error) or 'no reason given'}".splitlines()[0]
                yield fail("parts", detail, REMEDY)
            else:
                good.append(name)
    if good:
        yield ok("parts", f"tested and working: {', '.join(good)}")


def _picture(folder: Path) -> None:
    path = folder / "picture.png"
    image = np.full((32, 48, 3), (200, 100, 50), np.uint8)
    cv2.imwrite(str(path), image)
    (frame,) = iter_frames(path)
    if (frame.width, frame.height) != (48, 32) or np.abs(frame.data.mean((0, 1)) - (200, 100, 50)).max() > 4:
        raise _BrokenError("the decoded picture differs")


def _film(folder: Path) -> None:
    path = folder / "film.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in range(0, 200, 40):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), format="bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    levels = [float(frame.data.mean()) for frame in iter_frames(path)]
    if len(levels) != 5 or levels != sorted(levels):
        raise _BrokenError(f"{len(levels)} of 5 frames were decoded")


def _sound(folder: Path) -> None:
    path = folder / "sound.wav"
    tone = (0.5 * 32767 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 8_000)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8_000, len(tone), "NONE", "not compressed"))
        file.writeframes(tone.tobytes())
    samples = np.concatenate([block.samples for block in iter_blocks(path)])
    if abs(len(samples) - 16_000) > 800 or not 0.3 < float(np.sqrt(np.mean(samples**2))) < 0.4:
        raise _BrokenError("the decoded sound differs")


def _interpreter(folder: Path) -> None:
    store = ModelStore(folder, Catalogue.load())
    paths = [s.path for s in store.status() if s.state is ModelState.BUNDLED and s.path is not None]
    if not paths:
        raise _BrokenError("no bundled model is installed")
    model = TfliteModel(paths[0])
    for output in model(*[np.zeros(info.shape, np.float32) for info in model.inputs]):
        if not np.isfinite(output).all():
            raise _BrokenError("the model's output is not a finite number")


def _database(folder: Path) -> None:
    """Open, close and reopen an outbox file in write-ahead mode."""
    for _ in range(2):
        clock = SystemClock(lambda: True)
        outbox = Outbox(
            folder / "outbox", Origin("doctor", "0" * 8, merge_summaries), clock, OutboxSettings(), ["mqtt"]
        )
        outbox.open()
        try:
            degraded = outbox.stats().degraded
        finally:
            outbox.close()
        if degraded:
            raise _BrokenError(degraded)


def _mqtt(_folder: Path) -> None:
    """Connect over loopback to a socket that accepts every client."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(MQTT_S)
        threading.Thread(target=_accept, args=(listening,), daemon=True).start()
        reports: queue.Queue[Report] = queue.Queue()
        settings = MqttSettings(host="127.0.0.1", port=listening.getsockname()[1])
        link = MqttLink(settings, "edge-agent-doctor", None, reports.put, lambda _message: None)
        link.start()
        try:
            told = next_report(reports, MQTT_S, lambda report: isinstance(report, Connected | Disconnected))
        finally:
            link.stop(1.0)
    if not isinstance(told, Connected):
        raise _BrokenError(told.reason if isinstance(told, Disconnected) else "no answer")


def _accept(listening: socket.socket) -> None:
    try:
        peer, _ = listening.accept()
        with peer:
            peer.settimeout(MQTT_S)
            peer.recv(4096)
            peer.sendall(ACCEPTED)
            while peer.recv(4096):
                continue
    except OSError:
        return  # the link closes the connection at the end


PARTS: dict[str, Callable[[Path], None]] = {
    "picture (OpenCV, PyAV)": _picture,
    "film (PyAV)": _film,
    "sound (PyAV, soxr)": _sound,
    "interpreter (TFLite)": _interpreter,
    "database (SQLite)": _database,
    "MQTT (paho)": _mqtt,
}
"""Self-tests by name."""
