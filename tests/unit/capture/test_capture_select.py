"""From settings to sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.capture import ReplayGroup, make_audio, make_video
from edge_agent.capture.select import FirstThatOpens
from edge_agent.domain.clock import Clock, ManualClock
from edge_agent.domain.errors import ConfigError, DeviceUnavailableError, MediaError
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.settings import CameraSettings, MicrophoneSettings
from tests.support.recordings import picture, tone, write

CLOCK = ManualClock()


def video(source: str, plugins: dict[str, Any] | None = None, **settings: Any) -> Any:
    return make_video(CameraSettings(source=source, **settings), CLOCK, plugins or {}, ReplayGroup(CLOCK))


def audio(source: str, plugins: dict[str, Any] | None = None, **settings: Any) -> Any:
    return make_audio(MicrophoneSettings(source=source, **settings), CLOCK, plugins or {}, ReplayGroup(CLOCK))


class Three:
    """A plugin's source: three items, then the end."""

    def __init__(self, clock: Clock, item: Frame | AudioBlock) -> None:
        self._item = item
        self._left = 3

    def open(self) -> None:
        pass

    def read(self) -> Any:
        self._left -= 1
        return self._item if self._left >= 0 else None

    def close(self) -> None:
        pass


def test_none_is_none() -> None:
    assert video("none") is None
    assert audio("none") is None


@pytest.mark.parametrize("make", [video, audio])
def test_plugins_are_used_and_unknown_ones_refused(make: Any) -> None:
    item = (
        Frame.from_bgr(np.zeros((2, 2, 3), np.uint8), 0.0, 0)
        if make is video
        else AudioBlock(np.zeros(4, np.float32), 0.0)
    )
    plugins = {"thermal": lambda clock: Three(clock, item)}
    source = make("plugin:thermal", plugins)
    source.open()
    count = 0
    while source.read() is not None:
        count += 1
    assert count == 3 if make is audio else 1 <= count <= 3
    source.close()
    with pytest.raises(ConfigError, match="did you mean 'thermal'"):
        make("plugin:termal", plugins)
    with pytest.raises(ConfigError, match="known: none"):
        make("plugin:thermal")


@pytest.mark.parametrize("make", [video, audio])
def test_missing_file_is_an_error_at_open(make: Any, tmp_path: Path) -> None:
    source = make(str(tmp_path / "missing.mp4"))
    with pytest.raises(MediaError, match="no such file") as raised:
        source.open()
    assert not isinstance(raised.value, DeviceUnavailableError), "waiting does not mend it"


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "clip.mkv", [(0.0, picture(0)), (0.1, picture(1))], tone(0.2))
    for source in (video("~/clip.mkv"), audio("~/clip.mkv")):
        source.open()
        assert source.status.available
        source.close()


def test_auto_without_a_camera_lists_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.capture.cameras.list_cameras", lambda: ["/dev/video97", "/dev/video98"])
    source = video("auto")
    source.open()
    assert not source.status.available
    for words in (
        "no camera works",
        "/dev/video97 is not there",
        "/dev/video98 is not there",
        "Raspberry Pi|picamera2",
    ):
        assert any(word in source.status.error for word in words.split("|"))
    assert "\n" not in source.status.error
    source.close()


def test_auto_takes_the_first_that_opens() -> None:
    class Camera(Three):
        def __init__(self, error: Exception | None) -> None:
            super().__init__(CLOCK, Frame.from_bgr(np.zeros((2, 2, 3), np.uint8), 0.0, 0))
            self.error = error
            self.opened = self.closed = False

        def open(self) -> None:
            if self.error:
                raise self.error
            self.opened = True

        def close(self) -> None:
            self.closed = True

    cameras = [Camera(MediaError("not installed")), Camera(DeviceUnavailableError("busy")), Camera(None), Camera(None)]
    chosen = FirstThatOpens(cameras)
    chosen.open()
    assert [c.opened for c in cameras] == [False, False, True, False]
    assert chosen.read() is not None
    chosen.close()
    assert [c.closed for c in cameras] == [False, False, True, False]
    assert chosen.read() is None
