"""FAULTS 21, 22 and 24: cameras that are absent, get lost, hang, or send damage."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edge_agent.capture import Reopening, ReplayGroup, make_audio, make_video
from edge_agent.capture.media import iter_media
from edge_agent.capture.reopening import Watched, WatchLimits
from edge_agent.domain.clock import Clock, SystemClock
from edge_agent.domain.errors import DeviceUnavailableError, MediaError
from edge_agent.domain.media import Frame
from edge_agent.settings import CameraSettings, MicrophoneSettings
from tests.support.cameras import MjpegCamera, collecting, free_port, jpeg, wait_for

CLOCK = SystemClock(lambda: True)


def camera(source: str, timeout_s: float = 8.0, **plugins: type[HangingCamera]) -> Reopening[Frame]:
    made = make_video(CameraSettings(source=source, timeout_s=timeout_s, fps=60), CLOCK, plugins, ReplayGroup(CLOCK))
    assert made is not None
    return made


class HangingCamera:
    """Delivers three frames, then its driver never answers again; instances made after the first few are well."""

    ill = 1
    made = 0
    closed = 0
    release: threading.Event

    def __init__(self, clock: Clock) -> None:
        type(self).made += 1
        self._ill = self.made <= self.ill
        self._count = 0

    def open(self) -> None:
        pass

    def read(self) -> Frame | None:
        if self._ill and self._count >= 3:
            self.release.wait()
            return None
        time.sleep(0.01)
        self._count += 1
        return Frame.from_bgr(np.zeros((4, 4, 3), np.uint8), CLOCK.monotonic(), self._count - 1)

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def hanging() -> type[HangingCamera]:
    """A fresh kind of :class:`HangingCamera`, so that tests do not share counters."""
    return type("Hanging", (HangingCamera,), {"release": threading.Event()})


# --------------------------------------------------------------------------- 21: absent, lost, back


def test_21_absent_at_boot_audio_goes_on_and_camera_comes() -> None:
    """Row 21: a network camera that is absent at the start: sound goes on, and its pictures are there within 30 s of
    its coming.
    """
    port = free_port()
    source = camera(f"http://127.0.0.1:{port}/video")
    microphone = make_audio(MicrophoneSettings(source="demo"), CLOCK, {}, ReplayGroup(CLOCK))
    waits: list[float] = []
    source.on_wait = lambda: waits.append(time.monotonic())
    with collecting(source) as pictures, collecting(microphone) as sound:
        wait_for(lambda: sound.count >= 15, what="sound while the camera is absent")
        assert not source.status.available
        assert "refused" in source.status.error
        assert pictures.error is None
        start = time.monotonic()
        with MjpegCamera(port=port):
            wait_for(lambda: pictures.count >= 5, 30, "the camera's first frames")
        assert time.monotonic() - start < 30
    gaps = np.diff(waits)
    assert len(waits) >= 2, "waiting gives signs of life"
    assert gaps.max() < 5


def test_21_lost_and_back_within_30_seconds() -> None:
    """Row 21: a network camera stopped and started again: noticed, pictures within 30 s, and their numbers go on."""
    port = free_port()
    source = camera(f"http://127.0.0.1:{port}/video")
    with collecting(source) as pictures:
        for round_ in range(2):
            with MjpegCamera(port=port):
                start, before = time.monotonic(), pictures.count
                wait_for(lambda before=before: pictures.count >= before + 5, 30, "frames")
                assert time.monotonic() - start < 30
                assert source.status.available
                assert source.status.reopens == round_
            wait_for(lambda: not source.status.available, what="noticing the loss")
    indices = [frame.index for frame in pictures.items]
    assert indices == sorted(set(indices))


def test_21_missing_v4l2_device_is_waited_for_and_named(tmp_path: Path) -> None:
    """Row 21: a device file that is not there: waited for, and named."""
    source = camera("/dev/video97")
    with collecting(source) as pictures:
        wait_for(lambda: source.status.error, what="the error")
        assert "/dev/video97 is not there" in source.status.error
        assert pictures.close() < 3


# --------------------------------------------------------------------------- 22: hangs


def test_22_hanging_read_is_detected_and_replaced(hanging: type[HangingCamera]) -> None:
    """Row 22: a driver that blocks in read: detected, and a new one delivers within 20 s."""
    source = camera("plugin:hanging", timeout_s=1, hanging=hanging)
    with collecting(source) as pictures:
        wait_for(lambda: pictures.count >= 3, what="frames before the hang")
        start = time.monotonic()
        wait_for(lambda: pictures.count >= 10, 20, "frames of the replacement")
        assert time.monotonic() - start < 20
        assert "hangs" in source.status.error
        assert hanging.closed == 0, "the hung thread still holds the first one"
        hanging.release.set()
        wait_for(lambda: hanging.closed == 1, what="the hung thread giving its device back")
    assert hanging.made == 2


def test_22_hanging_read_does_not_block_close(hanging: type[HangingCamera]) -> None:
    """Row 22: a driver that blocks in read does not hold up the end: closed within 3 s."""
    source = camera("plugin:hanging", timeout_s=30, hanging=hanging)
    with collecting(source) as pictures:
        wait_for(lambda: pictures.count >= 1, what="a frame")
        time.sleep(0.2)
        assert pictures.close() < 3
    hanging.release.set()


def test_22_hanging_open_is_given_up() -> None:
    """Row 22: a driver that blocks in open is given up."""
    release = threading.Event()

    class Stuck(HangingCamera):
        def open(self) -> None:
            release.wait()

    watched = Watched(lambda: Stuck(CLOCK), "camera", WatchLimits(open_s=0.2, close_s=0.1), latest=True)
    with pytest.raises(DeviceUnavailableError, match="did not open within"):
        watched.open()
    release.set()


def test_22_threads_left_hanging_are_bounded(hanging: type[HangingCamera]) -> None:
    """Row 22: a driver that hangs again and again: no more than so many threads are given up, and it works when it
    does again.
    """
    hanging.ill = 100
    limits = WatchLimits(open_s=5, read_s=0.1, close_s=0.05, hanging=2)
    watched = Watched(lambda: hanging(CLOCK), "camera", limits, latest=True)

    def until_it_hangs() -> None:
        watched.open()
        while watched.read() is not None:
            pass

    for _ in range(2):
        with pytest.raises(DeviceUnavailableError, match="nothing came"):
            until_it_hangs()
    with pytest.raises(DeviceUnavailableError, match="hangs in 2 calls"):
        until_it_hangs()
    hanging.release.set()
    wait_for(lambda: hanging.closed == 2, what="both threads ending")
    watched.open()
    watched.close()


def test_22_connected_but_silent_stream_is_reopened() -> None:
    """Row 22: a network camera that keeps its connection and falls silent: noticed, and read again afterwards."""
    with MjpegCamera() as server:
        source = camera(server.url, timeout_s=1)
        with collecting(source) as pictures:
            wait_for(lambda: pictures.count >= 3, what="frames")
            server.stalled.set()
            wait_for(lambda: not source.status.available, 20, "noticing the silence")
            server.stalled.clear()
            before = pictures.count
            wait_for(lambda: pictures.count >= before + 3, 20, "frames again")


# --------------------------------------------------------------------------- 24: damage


def test_24_truncated_jpegs_are_dropped_and_counted() -> None:
    """Row 24: every third JPEG of a stream is cut in half: dropped and counted, the others are whole."""

    def every_third_is_damaged(n: int) -> bytes:
        whole = jpeg(n)
        return whole[: len(whole) // 2] if n % 3 == 2 else whole

    with MjpegCamera(every_third_is_damaged, fps=40) as server:
        source = camera(server.url)
        with collecting(source) as pictures:
            wait_for(lambda: pictures.count >= 20, what="twenty good frames")
    assert source.status.reopens == 0
    frames = pictures.items
    # Losing the lower half shows as one grey; the picture is noise everywhere.
    assert all(frame.data[frame.height // 2 :].std() > 10 for frame in frames)
    missing = frames[-1].index + 1 - len(frames)
    assert missing >= len(frames) // 2 - 2, "dropped frames show in the indices"


def test_24_garbage_between_pictures_is_survived() -> None:
    """Row 24: every fourth part of a stream is noise: the pictures between arrive."""

    def mixed(n: int) -> bytes:
        return np.random.default_rng(n).bytes(3000) if n % 4 == 1 else jpeg(n)

    with MjpegCamera(mixed, fps=40) as server:
        source = camera(server.url)
        with collecting(source) as pictures:
            wait_for(lambda: pictures.count >= 15, what="good frames among garbage")


def test_24_changing_resolution_goes_through_without_reopening() -> None:
    """Row 24: the size changes every ten pictures: every size arrives, nothing is reopened."""
    sizes = [(160, 120), (320, 240), (96, 64)]
    with MjpegCamera(lambda n: jpeg(n, *sizes[n // 10 % 3]), fps=40) as server:
        source = camera(server.url)
        with collecting(source) as pictures:
            wait_for(lambda: {(f.width, f.height) for f in pictures.items} == set(sizes), what="all sizes")
    assert source.status.reopens == 0
    assert all(f.data.shape == (f.height, f.width, 3) for f in pictures.items)


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
def test_24_truncated_recording_ends_early_or_is_refused(tmp_path: Path, cut: float) -> None:
    """Row 24: a recording that is cut off ends early."""
    whole = b"".join(jpeg(n) for n in range(10))
    path = tmp_path / "clip.mjpeg"
    path.write_bytes(whole[: int(len(whole) * cut)])
    frames = list(iter_media(path))
    assert 10 * cut - 2 <= len(frames) <= 10 * cut


def test_24_file_of_damage_only_is_an_error(tmp_path: Path) -> None:
    """Row 24: a file of which nothing can be read is an error that says so."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(jpeg()[:2000])
    with pytest.raises(MediaError, match="damaged"):
        list(iter_media(path))
