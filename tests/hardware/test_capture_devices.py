"""Real cameras and microphones, where this machine has any: run by hand on a device with ``pytest tests/hardware``."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest

from edge_agent.capture import ReplayGroup, make_audio, make_video
from edge_agent.capture.cameras import list_cameras
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.media import PixelFormat
from edge_agent.settings import CameraSettings, MicrophoneSettings
from tests.support.cameras import collecting, wait_for

CLOCK = SystemClock(lambda: True)


def take_frames(source: str) -> None:
    camera = make_video(CameraSettings(source=source), CLOCK, {}, ReplayGroup(CLOCK))
    assert camera is not None
    with collecting(camera) as pictures:
        wait_for(lambda: pictures.count >= 30, 30, f"thirty frames ({camera.status.error})")
    frames = pictures.items
    assert all(later.time > earlier.time for earlier, later in itertools.pairwise(frames))
    rate = (len(frames) - 1) / (frames[-1].time - frames[0].time)
    assert 5 < rate < 20, f"15 frames a second were asked for, {rate:.1f} came"
    luma = frames[-1].data[: frames[-1].height] if frames[-1].format is PixelFormat.I420 else frames[-1].data
    assert luma.std() > 1, "the picture is flat; is the lens covered?"


@pytest.mark.skipif(not list_cameras(), reason="no V4L2 camera on this machine")
def test_v4l2_camera() -> None:
    take_frames(list_cameras()[0])


@pytest.mark.skipif(
    not Path("/dev/media0").exists() or importlib.util.find_spec("libcamera") is None,
    reason="no Raspberry Pi camera stack on this machine",
)
def test_pi_camera() -> None:
    take_frames("picamera")


@pytest.mark.skipif(not list(Path("/dev/snd").glob("pcmC*c")), reason="no sound card with an input on this machine")
def test_microphone() -> None:
    microphone = make_audio(MicrophoneSettings(), CLOCK, {}, ReplayGroup(CLOCK))
    assert microphone is not None
    with collecting(microphone) as sound:
        wait_for(lambda: sound.count >= 50, 30, f"five seconds of sound ({microphone.status.error})")
    assert sum(block.gap for block in sound.items) < 0.5
    assert np.concatenate([block.samples for block in sound.items]).std() > 0, "digital silence; is it muted?"
