"""V4L2: which nodes are cameras, what is asked of them, and what becomes of what they send.

No virtual V4L2 device can be made without a kernel module, so OpenCV's capture object is replaced here by one that
follows its documentation; the device itself is left to ``tests/hardware``.
"""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.capture import Demand
from edge_agent.capture.cameras import V4l2Camera, list_cameras, negotiate, preferred_formats, why_closed
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.errors import DeviceUnavailableError, denial


class Capture:
    """A camera that knows ``formats``; pictures come every 1/``fps`` s of ``clock``; None is a damaged one."""

    def __init__(
        self,
        formats: tuple[str, ...] = ("MJPG",),
        clock: ManualClock | None = None,
        fps: float = 30.0,
        opened: bool = True,
    ) -> None:
        self._formats = formats
        self._clock = clock or ManualClock()
        self._fps = fps
        self._opened = opened
        self.settings: dict[int, float] = {cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*formats[0])}
        self.pictures: list[npt.NDArray[np.uint8] | None] = []
        self.default: npt.NDArray[np.uint8] | None = np.zeros((48, 64, 3), np.uint8)
        self.alive = True
        self.jitter = 0.0
        self.retrieved = 0
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._opened

    def set(self, key: int, value: float) -> bool:
        if key == cv2.CAP_PROP_FOURCC and int(value).to_bytes(4, "little").decode() not in self._formats:
            return False
        self.settings[key] = value
        return True

    def get(self, key: int) -> float:
        return self.settings.get(key, 0.0)

    def grab(self) -> bool:
        self._clock.advance(1 / self._fps + self.jitter)
        return self.alive

    def retrieve(self) -> tuple[bool, npt.NDArray[np.uint8] | None]:
        self.retrieved += 1
        picture = self.pictures.pop(0) if self.pictures else self.default
        return picture is not None, picture

    def release(self) -> None:
        self.released = True


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "video0"
    path.touch()
    return path


def opened(
    monkeypatch: pytest.MonkeyPatch, device: Path, capture: Capture, clock: ManualClock, fps: float
) -> V4l2Camera:
    monkeypatch.setattr(cv2, "VideoCapture", lambda name, api: capture)
    camera = V4l2Camera(str(device), clock, 64, 48, fps)
    camera.open()
    return camera


def test_cameras_are_listed_by_number_without_codecs_and_metadata(tmp_path: Path) -> None:
    nodes = {
        "video10": ("bcm2835-codec-decode", "0"),
        "video2": ("HD Webcam", "0"),
        "video3": ("HD Webcam", "1"),
        "video12": ("USB Camera", "0"),
        "video19": ("pispbe-input", "0"),
    }
    for node, (name, index) in nodes.items():
        (tmp_path / node).mkdir()
        (tmp_path / node / "name").write_text(name + "\n")
        (tmp_path / node / "index").write_text(index + "\n")
    (tmp_path / "v4l-subdev0").mkdir()
    assert list_cameras(tmp_path) == ["/dev/video2", "/dev/video12"]
    assert list_cameras(tmp_path / "absent") == []


def test_yuyv_is_preferred_where_usb_2_can_carry_it() -> None:
    assert preferred_formats(640, 480, 15)[0] == "YUYV"
    assert preferred_formats(640, 480, 30)[0] == "MJPG"
    assert preferred_formats(1280, 720, 15)[0] == "MJPG"


@pytest.mark.parametrize(
    ("known", "settled"), [(("MJPG", "YUYV"), "YUYV"), (("MJPG",), "MJPG"), (("NV12",), "NV12"), (("YUYV",), "YUYV")]
)
def test_negotiation_settles_on_the_best_known_format(known: tuple[str, ...], settled: str) -> None:
    capture = Capture(known)
    assert negotiate(capture, 640, 480, 15) == settled  # type: ignore[arg-type]
    assert capture.settings[cv2.CAP_PROP_FRAME_WIDTH] == 640
    assert capture.settings[cv2.CAP_PROP_FPS] == 15
    assert capture.settings[cv2.CAP_PROP_BUFFERSIZE] == 1


def test_faster_camera_is_decoded_only_as_often_as_asked(monkeypatch: pytest.MonkeyPatch, device: Path) -> None:
    clock = ManualClock()
    capture = Capture(clock=clock, fps=30)
    camera = opened(monkeypatch, device, capture, clock, fps=10)
    frames = [camera.read() for _ in range(20)]
    assert [f.index for f in frames if f] == list(range(20)), "frames left out on purpose are no drops"
    assert capture.retrieved == 20
    assert clock.monotonic() == pytest.approx(2.0, abs=0.2)


def test_a_picture_that_nobody_wants_is_not_decoded_and_counted(monkeypatch: pytest.MonkeyPatch, device: Path) -> None:
    clock, demand = ManualClock(), Demand()
    capture = Capture(clock=clock, fps=15)
    monkeypatch.setattr(cv2, "VideoCapture", lambda name, api: capture)
    camera = V4l2Camera(str(device), clock, 64, 48, 15, demand.wants)
    camera.open()
    frames = []
    for _ in range(4):
        frame = camera.read()
        assert frame is not None
        frames.append(frame)
        demand.not_before(frame.time + 1.0)
    assert capture.retrieved == 4
    assert [frame.index for frame in frames] == [0, 15, 30, 45]
    assert [frame.skipped for frame in frames] == [0, 14, 28, 42]
    demand.at_once()
    latest = camera.read()
    assert latest is not None
    assert latest.index == 46


def test_camera_at_the_asked_rate_loses_nothing(monkeypatch: pytest.MonkeyPatch, device: Path) -> None:
    clock = ManualClock()
    capture = Capture(clock=clock, fps=15)
    camera = opened(monkeypatch, device, capture, clock, fps=15)
    before = clock.monotonic()
    for number in range(60):
        capture.jitter = 0.01 * (-1) ** number
        camera.read()
    assert clock.monotonic() - before == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("odd", [None, np.zeros((48, 64), np.uint8), np.zeros((48, 64, 2), np.uint8)])
def test_damaged_and_odd_frames_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, device: Path, odd: npt.NDArray[np.uint8] | None
) -> None:
    clock = ManualClock()
    capture = Capture(clock=clock)
    camera = opened(monkeypatch, device, capture, clock, fps=30)
    assert capture.default is not None
    capture.pictures = [capture.default, odd, odd, np.zeros((96, 128, 3), np.uint8)]
    first, second = camera.read(), camera.read()
    assert first is not None
    assert second is not None
    assert (first.index, second.index) == (0, 3)
    assert (second.width, second.height) == (128, 96)


def test_camera_that_is_gone_is_reported(monkeypatch: pytest.MonkeyPatch, device: Path) -> None:
    clock = ManualClock()
    capture = Capture(clock=clock)
    camera = opened(monkeypatch, device, capture, clock, fps=30)
    capture.alive = False
    with pytest.raises(DeviceUnavailableError, match="is lost"):
        camera.read()
    camera.close()
    assert capture.released
    assert camera.read() is None


def test_a_denial_names_what_denied_it() -> None:
    """A file's mode answers EACCES, a unit's device policy EPERM: joining a group helps against the first only."""
    assert "group" in denial(PermissionError(errno.EACCES, "Permission denied"))
    told = denial(PermissionError(errno.EPERM, "Operation not permitted"))
    assert "group" not in told
    assert "systemctl restart edge-agent" in told


@pytest.mark.parametrize(
    ("device", "own", "told"),
    [
        (0x8520_0003, 0x0520_0001, "another program"),
        (0x8520_1002, 0x0520_1000, "another program"),  # multi-planar
        (0x8520_0003, 0x0520_0002, "nothing feeds this virtual camera"),  # v4l2loopback without a producer
        (0x84A0_0001, 0x04A0_0000, "another node"),  # metadata of a USB camera
        (0x0500_0001, 0, "another program"),  # of a driver before Linux 3.4
    ],
)
def test_a_node_that_takes_no_pictures_says_why(device: int, own: int, told: str) -> None:
    capability = struct.pack("=16s32s32sIII12x", b"driver", b"card", b"bus", 0x60100, device, own)
    assert len(capability) == 104
    assert told in why_closed(capability)


def test_open_reports_the_reason(monkeypatch: pytest.MonkeyPatch, device: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailableError, match="is not there; plug it in"):
        V4l2Camera(str(tmp_path / "video9"), ManualClock(), 64, 48, 15).open()
    busy = Capture(opened=False)
    with pytest.raises(DeviceUnavailableError, match="is it a camera"):  # a plain file answers no question of V4L2
        opened(monkeypatch, device, busy, ManualClock(), 15)
    assert busy.released
    dark = Capture()
    dark.alive = False
    with pytest.raises(DeviceUnavailableError, match="delivers no picture"):
        opened(monkeypatch, device, dark, ManualClock(), 15)
    assert dark.released
