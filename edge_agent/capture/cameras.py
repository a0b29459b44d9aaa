"""Read V4L2 cameras with OpenCV and network cameras (RTSP, MJPEG or other video over HTTP) with PyAV.

V4L2: owns OpenCV as far as capture goes. Asks for uncompressed YUYV where USB 2 has the bandwidth, which saves a Pi the
JPEG decoding, else for MJPG; a camera that knows neither gives what it gives. Frames are decoded only as often as
``fps`` asks.

Network: PyAV rather than OpenCV's reader, because its time limits for connecting and reading work and it drops and
counts a damaged picture where OpenCV returns a half grey one. Reads as fast as the camera sends, which keeps the delay
short. Only protocol, host and port of a URL are ever shown.

Calls of either may hang: use both inside :class:`~edge_agent.capture.reopening.Watched`.
"""

from __future__ import annotations

import fcntl
import logging
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.capture.picture import Picture
from edge_agent.capture.timing import Meter, Thinner
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import DeviceUnavailableError, MediaError, denial
from edge_agent.domain.media import Frame
from edge_agent.domain.text import parse_address

log = logging.getLogger(__name__)

_NOT_CAMERAS = ("bcm2835-codec", "bcm2835-isp", "rpivid", "rpi-hevc", "pispbe", "rp1-cfe", "unicam")
"""Video nodes of a Raspberry Pi that are codecs, image processors or raw sensors (which need picamera2)."""

_YUYV_BYTES_PER_S = 10e6
_FAILED_READS = 10
"""Consecutive failed reads after which the camera counts as lost; a single damaged JPEG is dropped."""


def list_cameras(sysfs: Path = Path("/sys/class/video4linux")) -> list[str]:
    """List the device paths of V4L2 cameras, by number; empty when they cannot be listed."""
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
    except OSError as error:  # e.g. no file descriptor left
        log.warning("cameras cannot be listed: %s", error)
        return []


def preferred_formats(width: int, height: int, fps: float) -> tuple[str, str]:
    """Return the FourCC codes to request, best first."""
    return ("YUYV", "MJPG") if width * height * 2 * fps <= _YUYV_BYTES_PER_S else ("MJPG", "YUYV")


class V4l2Camera:
    """V4L2 camera at ``device`` (``/dev/video0`` or a link to it): BGR, at the nearest supported size and rate.

    A picture whose time ``wanted`` does not want is counted and not decoded.
    """

    def __init__(
        self,
        device: str,
        clock: Clock,
        width: int,
        height: int,
        fps: float,
        wanted: Callable[[float], bool] = lambda _: True,
    ) -> None:
        self._device = device
        self._clock = clock
        self._size = (width, height)
        self._fps = fps
        self._capture: cv2.VideoCapture | None = None
        self._wanted = wanted
        self._index = self._skipped = 0
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
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own errors are logged instead
        capture = cv2.VideoCapture(self._device, cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise DeviceUnavailableError(f"camera {self._device} {why_closed(_capabilities(path))}")
        negotiate(capture, *self._size, self._fps)
        if not capture.grab():
            capture.release()
            raise DeviceUnavailableError(f"camera {self._device} opens but delivers no picture")
        self._capture, self._index, self._skipped, self._thinner = capture, 0, 0, Thinner(self._fps)

    def read(self) -> Frame | None:
        """Wait for the next frame. Raises DeviceUnavailableError when the camera is lost."""
        if self._capture is None:
            return None
        for _ in range(_FAILED_READS):
            image = self._grab_due(self._capture)
            self._index += 1
            if image is not None:
                frame = Frame.from_bgr(image, self._clock.monotonic(), self._index - 1)
                return replace(frame, skipped=self._skipped)
        raise DeviceUnavailableError(f"camera {self._device} is lost")

    def _grab_due(self, capture: cv2.VideoCapture) -> npt.NDArray[np.uint8] | None:
        """Grab frames and decode the first that is due and wanted; None when that failed."""
        while capture.grab():
            now = self._clock.monotonic()
            if not self._thinner.wants(now):
                continue
            if not self._wanted(now):
                self._index += 1
                self._skipped += 1
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
    """Request format, size, rate and a short queue; return the FourCC that the camera accepted."""
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
    log.info("camera format: %s, %d x %d, %g fps", settled, *got, capture.get(cv2.CAP_PROP_FPS))
    return settled


_QUERYCAP = 0x80685600
"""VIDIOC_QUERYCAP of videodev2.h, which answers a ``struct v4l2_capability`` of 104 bytes."""
_CAPTURE, _OUTPUT, _DEVICE_CAPS = 0x0000_1001, 0x0000_2002, 0x8000_0000
"""Bits of single- and multi-planar capture and output; whether the node's own bits follow those of the device."""


def _capabilities(path: Path) -> bytes | None:
    """The driver's answer about the node ``path``; None when it gives none."""
    answer = bytearray(104)
    try:
        with path.open("rb") as node:
            fcntl.ioctl(node, _QUERYCAP, answer)
    except OSError:
        return None
    return bytes(answer)


def why_closed(capability: bytes | None) -> str:
    """Explain why a node that exists, and may be opened, takes no pictures, by its ``struct v4l2_capability``."""
    if capability is None:
        return "cannot be opened; is it a camera?"
    whole, own = struct.unpack_from("=II", capability, 84)
    abilities = own if whole & _DEVICE_CAPS else whole
    if abilities & _CAPTURE:
        return "cannot be opened; is another program using it?"
    if abilities & _OUTPUT:
        return "gives no pictures: nothing feeds this virtual camera; start the program that does"
    return "gives no pictures: it is another node of its device; v4l2-ctl --list-devices names the camera's"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


# ---------------------------------------------------------------------- network cameras


_OPTIONS = {"fflags": "nobuffer", "analyzeduration": "1000000"}
_RTSP = {"rtsp_transport": "tcp"}
"""TCP: over Wi-Fi, UDP loses packets and with them whole groups of pictures."""


class StreamCamera:
    """Network camera at ``url``: BGR at its own size, at most ``fps`` frames a second.

    ``open_s`` bounds connecting, ``read_s`` the wait for each picture. A picture whose time ``wanted`` does not want is
    counted and not converted.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        fps: float,
        open_s: float,
        read_s: float,
        wanted: Callable[[float], bool] = lambda _: True,
    ) -> None:
        self._url = url
        self._shown = str(parse_address(url))
        self._clock = clock
        self._fps = fps
        self._open_s = open_s
        self._read_s = read_s
        self._stack = ExitStack()
        self._wanted = wanted
        self._pictures: Iterator[Picture] = iter(())
        self._thinned = self._skipped = 0
        self._meter = Meter(clock.monotonic)
        self._thinner = Thinner(fps)

    def open(self) -> None:
        """Connect. Raises DeviceUnavailableError."""
        from edge_agent.capture.decode import decode_pictures, open_stream  # 16 MB that a V4L2 camera does not need

        options = _OPTIONS | (_RTSP if self._url.lower().startswith("rtsp") else {})
        try:
            container = self._stack.enter_context(open_stream(self._url, options, self._open_s, self._read_s))
        except MediaError as error:
            raise DeviceUnavailableError(f"camera {self._shown}: {error}") from error
        self._meter = Meter(self._clock.monotonic)
        self._pictures = decode_pictures(container, self._meter)
        self._thinned, self._skipped, self._thinner = 0, 0, Thinner(self._fps)

    def read(self) -> Frame | None:
        """Wait for the next frame that is due. Raises DeviceUnavailableError when the stream ends or stalls."""
        try:
            for picture in self._pictures:
                now = self._clock.monotonic()
                if not self._thinner.wants(now):
                    # Thinned on purpose, so not counted as dropped.
                    self._thinned += 1
                    continue
                if not self._wanted(now):
                    self._skipped += 1
                    continue
                picture.index -= self._thinned
                frame = picture.to_frame(now, live=True)
                if frame is not None:
                    return replace(frame, transfer=self._meter.transfer, skipped=self._skipped)
        except MediaError as error:
            raise DeviceUnavailableError(f"camera {self._shown}: {error}") from error
        raise DeviceUnavailableError(f"camera {self._shown}: the stream ended")

    def close(self) -> None:
        """Disconnect; to be called by the reading thread."""
        self._pictures = iter(())
        self._stack.close()
