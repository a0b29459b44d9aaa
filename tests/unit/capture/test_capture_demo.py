"""The demo camera and microphone: real time, lively, and the face where the detector finds it."""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np
import pytest

from edge_agent.capture.replay import DemoCamera, DemoMicrophone, view
from edge_agent.domain.clock import ManualClock, SystemClock
from edge_agent.domain.errors import MediaError
from tests.support.cameras import collecting, wait_for

FACE = np.array([[180, 75, 1], [262, 75, 1], [262, 180, 1], [180, 180, 1]], float)
"""Corners of the face in the portrait: brows to chin, ear to ear."""


def test_face_is_large_and_inside_for_ten_minutes() -> None:
    for t in np.arange(0, 600, 0.5):
        corners = FACE @ view(float(t), 640, 480).T
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        assert left > 20
        assert top > 10
        assert right < 620
        assert bottom < 460
        assert bottom - top >= 150
        assert right - left >= 110


def test_every_frame_differs_and_has_the_asked_size() -> None:
    pytest.importorskip("skimage", reason="needs the extra 'demo'")
    clock = ManualClock()
    camera = DemoCamera(clock, 320, 240, fps=10)
    camera.open()
    frames = []
    for _ in range(5):
        frame = camera.read()
        assert frame is not None
        assert frame.data.shape == (240, 320, 3)
        frames.append(frame)
        clock.advance(0.1)
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    for earlier, later in itertools.pairwise(frames):
        change = np.abs(later.data.astype(int) - earlier.data).mean()
        assert 0.5 < change < 30
    assert camera.read() is not None
    clock.advance(2.0)
    late = camera.read()
    assert late is not None
    assert late.index == 25, "a late reader skips"
    camera.close()
    assert camera.read() is None


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(MediaError, match=r"edge-emotion-agent\[demo\]"):
        DemoCamera(ManualClock()).open()


def test_microphone_is_quiet_with_a_knock_now_and_then() -> None:
    clock = ManualClock()
    microphone = DemoMicrophone(clock)
    microphone.open()
    clock.advance(4.95)
    blocks = [block for _ in range(49) if (block := microphone.read())]
    assert [b.gap for b in blocks] == [0.0] * 49
    assert blocks[10].time == pytest.approx(1.0)
    loudness = [float(np.abs(b.samples).max()) for b in blocks]
    assert loudness[0] > 0.05, "a knock"
    assert max(loudness[5:]) < 0.01, "and then quiet"
    assert min(loudness) > 0, "but not dead"
    clock.advance(10.0)
    late = microphone.read()
    assert late is not None
    assert late.gap == pytest.approx(10.0, abs=0.2)
    assert late.end <= clock.monotonic()
    microphone.close()
    assert microphone.read() is None


def test_real_time_and_prompt_close() -> None:
    with collecting(DemoMicrophone(SystemClock(lambda: True))) as sound:
        start = time.monotonic()
        wait_for(lambda: sound.count >= 5, what="half a second of sound")
        assert time.monotonic() - start > 0.3
        assert sound.close() < 1
