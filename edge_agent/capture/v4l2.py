"""USB and other V4L2 cameras through OpenCV, which this module owns as far as capture goes.

Uncompressed YUYV is asked for where USB 2 has the bandwidth (it saves a Pi the JPEG decoding), else MJPG; a camera that
knows neither gives what it gives. Frames are decoded only as often as ``fps`` asks. A call may hang in the driver: use
it inside :class:`~edge_agent.capture.watched.Watched`.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.capture.pace import Thinner
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import DeviceUnavailableError, denial
from edge_agent.domain.media import Frame

log = logging.getLogger(__name__)

_NOT_CAMERAS = ("bcm2835-codec", "bcm2835-isp", "rpivid", "rpi-hevc", "pispbe", "rp1-cfe", "unicam")
"""Video nodes of a Raspberry Pi that are codecs, image processors or raw sensors (the last need picamera2)."""

_YUYV_BYTES_PER_S = 10e6
_FAILED_READS = 10
"""Reads that may fail in a row: a damaged JPEG is dropped, a camera that is gone is not waited for."""


def list_cameras(sysfs: Path = Path("/sys/class/video4linux")) -> list[str]:
    """Device paths of the V4L2 nodes that may be cameras, by number; none when they cannot be listed now."""
    found = []
    for node in _nodes(sysfs):
        number = re.fullmatch(r"video(\d+)", node.name)
        name, index = _text(node / "name"), _text(node / "index")
        # A USB camera has a second node, index 1, for metadata.
        if number and not name.startswith(_NOT_CAMERAS) and index in ("", "0"):
            found.append(int(number.group(1)))
    return [f"/dev/video{number}" for number in sorted(found)]


def _nodes(sysfs: Path) -> list[Path]:
    try:
        return list(sysfs.glob("video*"))
    except OSError as error:  # no descriptor left, for instance
        log.warning("cameras cannot be listed: %s", error)
        return []


def preferred_formats(width: int, height: int, fps: float) -> tuple[str, str]:
    """FourCC codes to ask for, best first."""
    return ("YUYV", "MJPG") if width * height * 2 * fps <= _YUYV_BYTES_PER_S else ("MJPG", "YUYV")


class V4l2Camera:
    """The camera at ``device`` (``/dev/video0`` or a link to it), BGR, as near to the size and rate as it can."""

    def __init__(self, device: str, clock: Clock, width: int, height: int, fps: float) -> None:
        self._device = device
        self._clock = clock
        self._size = (width, height)
        self._fps = fps
        self._capture: cv2.VideoCapture | None = None
        self._index = 0
        self._thinner = Thinner(fps)

    def open(self) -> None:
        """Open the device and see a first frame. Raises DeviceUnavailableError."""
        path = Path(self._device)
        if not path.exists():
            raise DeviceUnavailableError(f"camera {self._device} is not there; plug it in, or set camera.source")
        try:
            path.open("rb").close()
        except PermissionError as error:
            raise DeviceUnavailableError(f"camera {self._device} may not be opened: {denial(error)}") from None
        except OSError as error:
            raise DeviceUnavailableError(f"camera {self._device} cannot be opened: {error.strerror}") from error
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own errors say it, in the log
        capture = cv2.VideoCapture(self._device, cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise DeviceUnavailableError(f"camera {self._device} cannot be opened; is another program using it?")
        negotiate(capture, *self._size, self._fps)
        if not capture.grab():
            capture.release()
            raise DeviceUnavailableError(f"camera {self._device} opens but delivers no picture")
        self._capture, self._index, self._thinner = capture, 0, Thinner(self._fps)

    def read(self) -> Frame | None:
        """The next frame. Raises DeviceUnavailableError when the camera is gone."""
        if self._capture is None:
            return None
        for _ in range(_FAILED_READS):
            image = self._grab_due(self._capture)
            self._index += 1
            if image is not None:
                return Frame.from_bgr(image, self._clock.monotonic(), self._index - 1)
        raise DeviceUnavailableError(f"camera {self._device} is lost")

    def _grab_due(self, capture: cv2.VideoCapture) -> npt.NDArray[np.uint8] | None:
        """Take frames from the driver, decoding none before the next one is due; None when that failed."""
        while capture.grab():
            if not self._thinner.wants(self._clock.monotonic()):
                continue
            good, image = capture.retrieve()
            if not good or image is None or image.ndim != 3 or image.shape[2] != 3:
                return None
            return np.asarray(image, np.uint8)
        return None

    def close(self) -> None:
        """Release the device; to be called by the reading thread."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def negotiate(capture: cv2.VideoCapture, width: int, height: int, fps: float) -> str:
    """Ask for format, size, rate and a short queue; the FourCC that the camera settled on."""
    settled = ""
    for code in preferred_formats(width, height, fps):
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*code))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        capture.set(cv2.CAP_PROP_FPS, fps)
        settled = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=False).decode("ascii", "replace")
        if settled == code:
            break
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    got = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    log.info("camera settled on %s, %d x %d, %g fps", settled, *got, capture.get(cv2.CAP_PROP_FPS))
    return settled


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
