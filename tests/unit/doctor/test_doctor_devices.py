"""Camera and microphone checks through real sources: demo devices, files, a stream server, and absent devices."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from edge_agent.doctor.devices import (
    Pictures,
    Sound,
    check_camera,
    check_microphone,
    judge_camera,
    judge_microphone,
)
from edge_agent.doctor.result import CheckStatus
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import DeviceUnavailableError
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame
from edge_agent.plugin.spec import AudioSource, VideoSource
from edge_agent.settings import Settings


class Scripted:
    """A source plugin that gives ``items`` at 20 a second and then fails, as a device does that is pulled out."""

    def __init__(self, items: list[Frame] | list[AudioBlock]) -> None:
        self._items = iter(items)
        self.closed = False

    def open(self) -> None:
        pass

    def read(self) -> Frame | AudioBlock | None:
        time.sleep(0.05)
        for item in self._items:
            return item
        raise DeviceUnavailableError("pulled out")

    def close(self) -> None:
        self.closed = True


def camera(source: str, plugin: VideoSource | None = None, **options: object) -> tuple[CheckStatus, str]:
    def make(_clock: Clock) -> VideoSource:
        assert plugin is not None
        return plugin

    settings = Settings(camera={"source": source, "timeout_s": 1, **options})
    result = check_camera(settings, {"scripted": make} if plugin else {})
    return result.status, result.detail


def microphone(source: str, plugin: AudioSource | None = None) -> tuple[CheckStatus, str]:
    def make(_clock: Clock) -> AudioSource:
        assert plugin is not None
        return plugin

    result = check_microphone(Settings(microphone={"source": source}), {"scripted": make} if plugin else {})
    return result.status, result.detail


def test_a_camera_that_works_is_described() -> None:
    status, detail = camera("demo", width=320, height=240, fps=10)
    assert status is CheckStatus.OK
    assert "320x240" in detail


def test_no_camera_wanted() -> None:
    assert camera("none") == (CheckStatus.OK, "off: camera.source = none")


@pytest.mark.parametrize("source", ["/dev/video77", "missing.mp4", "http://127.0.0.1:9/", "plugin:missing"])
def test_a_camera_that_does_not_work_fails_with_the_reason(source: str) -> None:
    status, detail = camera(source)
    assert status is CheckStatus.FAIL
    assert detail


def test_a_stream_with_a_password_fails_without_telling_it() -> None:
    status, detail = camera("http://user:cAnArY@127.0.0.1:9/?key=cAnArY")
    assert status is CheckStatus.FAIL
    assert "cAnArY" not in detail


def test_a_covered_camera_is_seen() -> None:
    black = [Frame.from_bgr(np.zeros((48, 64, 3), np.uint8), n / 10, n) for n in range(5)]
    source = Scripted(black)
    status, detail = camera("plugin:scripted", source)  # type: ignore[arg-type]
    assert status is CheckStatus.WARN
    assert "dark or covered" in detail
    assert source.closed


def test_a_device_that_dies_at_once_is_reported_and_not_waited_for() -> None:
    status, detail = camera("plugin:scripted", Scripted([]))  # type: ignore[arg-type]
    assert (status, detail) == (CheckStatus.FAIL, "pulled out")


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (Pictures(20, 640, 480, 14.0, 110.0, 50.0), CheckStatus.OK),
        (Pictures(20, 640, 480, 14.0, 5.0, 1.0), CheckStatus.WARN),
        (Pictures(20, 640, 480, 14.0, 110.0, 0.5), CheckStatus.WARN),
        (Pictures(5, 640, 480, 2.0, 110.0, 50.0), CheckStatus.WARN),
        (Pictures(1, 640, 480, 0.0, 110.0, 50.0), CheckStatus.OK),
    ],
)
def test_pictures(seen: Pictures, status: CheckStatus) -> None:
    assert judge_camera(seen, 15).status is status


def test_a_microphone_that_works_is_described() -> None:
    status, detail = microphone("demo")
    assert status is CheckStatus.OK
    assert "dBFS" in detail


def test_no_microphone_wanted() -> None:
    assert microphone("none")[0] is CheckStatus.OK


@pytest.mark.parametrize("source", ["no such microphone", "missing.wav", "plugin:missing"])
def test_a_microphone_that_does_not_work_fails_with_the_reason(source: str) -> None:
    status, detail = microphone(source)
    assert status is CheckStatus.FAIL
    assert detail


def test_a_muted_microphone_is_detected() -> None:
    blocks = [AudioBlock(np.zeros(AUDIO_RATE // 10, np.float32), n / 10) for n in range(10)]
    status, detail = microphone("plugin:scripted", Scripted(blocks))  # type: ignore[arg-type]
    assert status is CheckStatus.WARN
    assert "muted" in detail


@pytest.mark.parametrize(
    ("heard", "status", "says"),
    [
        (Sound(1.5, -40.0, 0.0, 0.0), CheckStatus.OK, "-40 dBFS"),
        (Sound(1.5, -90.0, 0.0, 0.0), CheckStatus.WARN, "turned down"),
        (Sound(1.5, -math.inf, 0.0, 0.0), CheckStatus.WARN, "muted"),
        (Sound(1.5, -3.0, 0.2, 0.0), CheckStatus.WARN, "clipped"),
        (Sound(1.5, -40.0, 0.0, 0.4), CheckStatus.WARN, "lost"),
    ],
)
def test_sound(heard: Sound, status: CheckStatus, says: str) -> None:
    result = judge_microphone(heard)
    assert result.status is status
    assert says in result.detail


def test_a_media_file_is_judged_like_a_device(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    file = tmp_path / "tone.wav"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=AUDIO_RATE, layout="mono")
        tone = (np.sin(np.arange(2 * AUDIO_RATE) / 10) * 8000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(tone, "s16", "mono")
        frame.sample_rate = AUDIO_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    status, detail = microphone(str(file))
    assert status is CheckStatus.OK
    assert "-15 dBFS" in detail
