"""Read Raspberry Pi CSI cameras through picamera2; owns picamera2 and libcamera.

The ``lores`` stream delivers YUV420, which needs no conversion; the ``main`` stream, which libcamera requires, is
configured alike and not used. Exposure, white balance and, where the lens has it,
continuous autofocus are left to the camera. Each request goes back as soon as its planes are copied. picamera2 comes
from the system (``apt install python3-picamera2``), since it needs the libcamera of the running Raspberry Pi OS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import DeviceUnavailableError, MediaError
from edge_agent.domain.media import Frame, PixelFormat

_DARK_S = 0.1
"""Longest exposure in the dark, which lowers the frame rate."""


class PiCamera:
    """The first camera on a Raspberry Pi's CSI connector: I420 frames of about ``width`` x ``height`` at ``fps``.

    ``timeout_s``: a camera that delivers nothing for this long is lost. A picture whose time ``wanted`` does not want
    is counted and not copied.
    """

    def __init__(
        self,
        clock: Clock,
        width: int,
        height: int,
        fps: float,
        timeout_s: float,
        wanted: Callable[[float], bool] = lambda _: True,
    ) -> None:
        self._clock = clock
        self._size = (width - width % 2, height - height % 2)
        self._fps = fps
        self._timeout_s = timeout_s
        self._wanted = wanted
        self._camera: Any = None
        self._stream: Mapping[str, Any] = {}
        self._index = self._skipped = 0

    def open(self) -> None:
        """Find, configure and start the camera.

        Raises:
            DeviceUnavailableError: there is none, or another program has it.
            MediaError: picamera2 is not installed.
        """
        picamera2 = _picamera2()
        number = csi_camera(picamera2.global_camera_info())
        if number is None:
            raise DeviceUnavailableError(
                "no Raspberry Pi camera found; check its cable, and see 'rpicam-hello --list-cameras'"
            )
        try:
            self._camera = picamera2(number)
            self._configure(self._camera)
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            self.close()
            raise DeviceUnavailableError(f"the Raspberry Pi camera does not start ({error}); is it in use?") from error
        self._index = self._skipped = 0

    def _configure(self, camera: Any) -> None:
        period = 1.0 / self._fps
        limits = (round(period * 1e6), round(max(period, _DARK_S) * 1e6))
        controls: dict[str, Any] = {"FrameDurationLimits": limits}
        if "AfMode" in camera.camera_controls:
            controls["AfMode"] = _continuous_autofocus()
        stream = {"size": self._size, "format": "YUV420"}
        camera.configure(
            camera.create_video_configuration(main=dict(stream), lores=dict(stream), buffer_count=4, controls=controls)
        )
        self._stream = camera.stream_configuration("lores")

    def read(self) -> Frame | None:
        """Wait for the next frame. Raises DeviceUnavailableError when none comes in time."""
        while (camera := self._camera) is not None:
            request = self._wait(camera)
            now = self._clock.monotonic()
            self._index += 1
            if not self._wanted(now):
                request.release()
                self._skipped += 1
                continue
            try:
                buffer = request.make_buffer("lores")
            finally:
                request.release()
            width, height = self._stream["size"]
            planes = without_stride(buffer, width, height, self._stream["stride"])
            return Frame(planes, PixelFormat.I420, width, height, now, self._index - 1, skipped=self._skipped)
        return None

    def _wait(self, camera: Any) -> Any:
        try:
            return camera.wait(camera.capture_request(wait=False), timeout=self._timeout_s)
        except (TimeoutError, FutureTimeoutError) as error:
            raise DeviceUnavailableError(
                f"the Raspberry Pi camera delivered no picture for {self._timeout_s:g} s"
            ) from error

    def close(self) -> None:
        """Stop and release the camera; to be called by the reading thread."""
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()


def csi_camera(cameras: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the number of the first CSI camera (libcamera lists USB cameras too, which V4L2 serves better)."""
    return next((camera["Num"] for camera in cameras if "/usb" not in camera["Id"]), None)


def without_stride(buffer: npt.NDArray[np.uint8], width: int, height: int, stride: int) -> npt.NDArray[np.uint8]:
    """Remove the padding of a YUV420 buffer with lines of ``stride`` (luma) and ``stride / 2`` (chroma) bytes: I420.

    ``width`` and ``height`` are even. Returns uint8 [height * 3 / 2, width].
    """
    luma, chroma = height * stride, height // 2 * (stride // 2)
    y = buffer[:luma].reshape(height, stride)[:, :width]
    u = buffer[luma : luma + chroma].reshape(height // 2, stride // 2)[:, : width // 2]
    v = buffer[luma + chroma : luma + 2 * chroma].reshape(height // 2, stride // 2)[:, : width // 2]
    return np.concatenate([y.reshape(-1), u.reshape(-1), v.reshape(-1)]).reshape(height * 3 // 2, width)


def _picamera2() -> Any:
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise MediaError(
            "picamera2 is not installed: sudo apt install python3-picamera2, "
            "and make the virtual environment with --system-site-packages"
        ) from error
    return Picamera2


def _continuous_autofocus() -> Any:
    from libcamera import controls

    return controls.AfModeEnum.Continuous
