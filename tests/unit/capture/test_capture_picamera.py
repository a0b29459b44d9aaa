"""The Raspberry Pi camera against the API of the real picamera2 package.

picamera2 itself is imported; only the modules of the operating system that it needs (libcamera first of all) are stubs.
The class is autospecced, so a method or an argument that it does not have fails here, and its own code builds the
configuration. What no machine without the camera can show is left to ``tests/hardware``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock, create_autospec

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.capture.picamera import PiCamera, csi_camera, without_stride
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.errors import DeviceUnavailableError, MediaError
from edge_agent.domain.media import PixelFormat

STUBS = (
    *("libcamera", "prctl", "videodev2", "simplejpeg", "piexif", "libarchive", "OpenEXR", "pykms", "kms", "tqdm"),
    *("jsonschema", "pidng", "pidng.core", "pidng.camdefs", "pidng.defs"),
)
CSI = {
    "Model": "imx708",
    "Location": 2,
    "Rotation": 180,
    "Id": "/base/axi/pcie@120000/rp1/i2c@88000/imx708@1a",
    "Num": 1,
}
USB = {"Model": "Webcam", "Location": 0, "Rotation": 0, "Id": "/base/soc/usb@7e980000/hub@1:1.0-046d:0825", "Num": 0}


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The real package over a stub of the system."""
    if importlib.util.find_spec("picamera2") is None:
        pytest.skip("needs picamera2's Python code (pip install --no-deps picamera2)")
    before = set(sys.modules)
    for name in STUBS:
        monkeypatch.setitem(sys.modules, name, MagicMock(name=name))
    yield importlib.import_module("picamera2")
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "picamera2":
            del sys.modules[name]


class Rig:
    """An autospecced Picamera2 whose lores stream has lines of ``stride`` bytes."""

    def __init__(self, package: ModuleType, monkeypatch: pytest.MonkeyPatch, stride: int = 384) -> None:
        real = package.Picamera2
        self.stride = stride
        self.kind = create_autospec(real)
        self.camera = self.kind.return_value
        self.kind.global_camera_info.return_value = [USB, CSI]
        self.camera.camera_controls = {"AfMode": None, "FrameDurationLimits": None, "NoiseReductionMode": None}
        bare = object.__new__(real)
        bare.__dict__.update(
            _preview=None,
            is_open=False,
            camera=object(),
            camera_controls=self.camera.camera_controls,
            sensor_format="SRGGB10",
        )
        monkeypatch.setattr(real, "_is_rpi_camera", lambda _self: True)
        monkeypatch.setattr(real, "sensor_format", "SRGGB10", raising=False)
        monkeypatch.setattr(real, "camera_controls", self.camera.camera_controls, raising=False)
        self.camera.create_video_configuration.side_effect = lambda **options: real.create_video_configuration(
            bare, **options
        )
        self.camera.stream_configuration.side_effect = self._stream
        self.request = create_autospec(package.CompletedRequest, instance=True)
        self.request.make_buffer.side_effect = lambda _name: planes(320, 240, stride)
        self.camera.wait.side_effect = lambda _job, timeout=None: self.request
        monkeypatch.setattr(package, "Picamera2", self.kind)

    @property
    def configuration(self) -> dict[str, Any]:
        (configuration,), _ = self.camera.configure.call_args
        return dict(configuration)

    def _stream(self, name: str = "main") -> dict[str, Any]:
        return self.configuration[name] | {"stride": self.stride, "framesize": self.stride * 360}


def planes(width: int, height: int, stride: int) -> npt.NDArray[np.uint8]:
    """A YUV420 buffer whose Y, U and V say where they are, with 255 in the padding."""
    y = np.full((height, stride), 255, np.uint8)
    y[:, :width] = np.arange(height).reshape(-1, 1) % 200
    u = np.full((height // 2, stride // 2), 255, np.uint8)
    u[:, : width // 2] = 100
    v = np.full((height // 2, stride // 2), 255, np.uint8)
    v[:, : width // 2] = 150
    return np.concatenate([y.ravel(), u.ravel(), v.ravel()])


@pytest.fixture
def rig(picamera2: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(picamera2, monkeypatch)


def pi_camera(clock: ManualClock | None = None) -> PiCamera:
    return PiCamera(clock or ManualClock(), 320, 240, 15.0, timeout_s=6.0)


def test_frames_are_i420_without_padding_and_requests_are_given_back(rig: Rig) -> None:
    clock = ManualClock(monotonic=50.0)
    camera = pi_camera(clock)
    camera.open()
    frames = [camera.read() for _ in range(3)]
    assert [f.index for f in frames if f] == [0, 1, 2]
    frame = frames[0]
    assert frame is not None
    assert (frame.format, frame.width, frame.height, frame.time) == (PixelFormat.I420, 320, 240, 50.0)
    assert frame.data.shape == (360, 320)
    assert frame.data[:240, 0].tolist() == [row % 200 for row in range(240)]
    assert (frame.data[240:300] == 100).all()
    assert (frame.data[300:] == 150).all()
    assert rig.request.release.call_count == 3
    assert rig.request.make_buffer.call_args.args == ("lores",)


def test_a_picture_that_nobody_wants_is_given_back_without_a_copy(rig: Rig) -> None:
    clock = ManualClock()
    rig.camera.wait.side_effect = lambda _job, timeout=None: (clock.advance(0.1), rig.request)[1]
    camera = PiCamera(clock, 320, 240, 10.0, 6.0, lambda moment: moment >= 0.55)
    camera.open()
    frame = camera.read()
    assert frame is not None
    assert (frame.index, frame.skipped) == (5, 5)
    assert (rig.request.release.call_count, rig.request.make_buffer.call_count) == (6, 1)


def test_configuration(rig: Rig) -> None:
    pi_camera().open()
    rig.kind.assert_called_once_with(1)  # the CSI camera, not the USB one
    configuration = rig.configuration
    assert configuration["lores"] == {"size": (320, 240), "format": "YUV420", "preserve_ar": False}
    assert configuration["main"]["size"] == (320, 240)
    shortest, longest = configuration["controls"]["FrameDurationLimits"]
    assert shortest == round(1e6 / 15)
    assert longest == 100_000, "in the dark the exposure may be longer than a frame"
    assert configuration["controls"]["AfMode"] is sys.modules["libcamera"].controls.AfModeEnum.Continuous
    assert not {"ExposureTime", "AnalogueGain", "AeEnable", "AwbEnable"} & set(configuration["controls"])
    rig.camera.start.assert_called_once()


def test_lens_without_autofocus_is_not_asked_for_it(rig: Rig) -> None:
    del rig.camera.camera_controls["AfMode"]
    pi_camera().open()
    assert "AfMode" not in rig.configuration["controls"]


def test_request_is_given_back_when_copying_fails(rig: Rig) -> None:
    camera = pi_camera()
    camera.open()
    rig.request.make_buffer.side_effect = RuntimeError("no such stream")
    with pytest.raises(RuntimeError):
        camera.read()
    rig.request.release.assert_called_once()


@pytest.mark.parametrize("error", [TimeoutError, FutureTimeoutError])
def test_camera_that_goes_silent_is_lost_and_can_be_closed(rig: Rig, error: type[Exception]) -> None:
    camera = pi_camera()
    camera.open()
    rig.camera.wait.side_effect = error
    with pytest.raises(DeviceUnavailableError, match="no picture for 6 s"):
        camera.read()
    assert rig.camera.capture_request.call_args.kwargs == {"wait": False}
    assert rig.camera.wait.call_args.kwargs == {"timeout": 6.0}
    camera.close()
    rig.camera.close.assert_called_once()
    assert camera.read() is None


@pytest.mark.parametrize("error", [RuntimeError("failed to acquire"), IndexError("list index out of range")])
def test_busy_camera_may_be_tried_again(rig: Rig, error: Exception) -> None:
    rig.kind.side_effect = error
    with pytest.raises(DeviceUnavailableError, match="is it in use"):
        pi_camera().open()


def test_failed_start_releases_the_camera(rig: Rig) -> None:
    rig.camera.start.side_effect = RuntimeError("dma heap")
    with pytest.raises(DeviceUnavailableError):
        pi_camera().open()
    rig.camera.close.assert_called_once()


def test_no_camera(rig: Rig) -> None:
    rig.kind.global_camera_info.return_value = [USB]
    with pytest.raises(DeviceUnavailableError, match="no Raspberry Pi camera found"):
        pi_camera().open()


def test_without_picamera2_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(MediaError, match="apt install python3-picamera2"):
        pi_camera().open()


def test_usb_cameras_are_left_to_v4l2() -> None:
    assert csi_camera([USB, CSI]) == 1
    assert csi_camera([USB]) is None
    assert csi_camera([]) is None


@pytest.mark.parametrize(("width", "height", "stride"), [(320, 240, 320), (320, 240, 384), (100, 50, 128), (2, 2, 64)])
def test_strides_are_removed_and_trailing_bytes_ignored(width: int, height: int, stride: int) -> None:
    buffer = np.concatenate([planes(width, height, stride), np.full(777, 9, np.uint8)])
    plain = without_stride(buffer, width, height, stride)
    assert plain.shape == (height * 3 // 2, width)
    assert plain.flags.c_contiguous
    assert sorted(set(plain.ravel()[width * height :].tolist())) == [100, 150]
    assert 255 not in plain
