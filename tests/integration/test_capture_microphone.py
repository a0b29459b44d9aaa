"""The microphone through real PortAudio and ALSA: exact samples from a file device, real time from PulseAudio.

Each case runs in a child process because ALSA reads its configuration once per process. What needs a Debian package
that is missing is skipped with its name.
"""

from __future__ import annotations

import ctypes.util
import itertools
import os
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.sound_server import PACKAGES, Listener, SoundServer, file_device

pytestmark = pytest.mark.skipif(
    ctypes.util.find_library("portaudio") is None, reason="needs PortAudio (Debian: apt install libportaudio2)"
)

ALSA_RATE = 44_100
"""What PortAudio takes an ALSA device's rate to be when it supports any."""


@pytest.fixture
def environment(repository: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(repository)}


@pytest.fixture
def sound_server(tmp_path: Path, environment: dict[str, str]) -> Iterator[SoundServer]:
    if not SoundServer.available():
        pytest.skip(f"needs PulseAudio and its ALSA plugin ({PACKAGES})")
    server = SoundServer(tmp_path / "pulse")
    server.environment |= {"PYTHONPATH": environment["PYTHONPATH"]}
    server.start()
    yield server
    server.stop()


def sine(rate: int, seconds: float, frequency: float = 440.0) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize(("channel", "factor"), [("1", 0.25), (None, 0.375)])
def test_exact_samples_resampled_from_44100(
    tmp_path: Path, environment: dict[str, str], channel: str | None, factor: float
) -> None:
    tone = sine(ALSA_RATE, 8.0)
    config = file_device(tmp_path, np.stack([0.5 * tone, 0.25 * tone], axis=1))
    saved = tmp_path / "heard.npy"
    arguments = ["TestMic", "--seconds", "3", "--save", str(saved)] + (["--channel", channel] if channel else [])
    listener = Listener(environment | {"ALSA_CONFIG_PATH": str(config)}, *arguments)
    lines = list(listener)
    listener.end()
    assert lines, "the microphone delivered nothing"
    heard = np.load(saved)[: 3 * 16_000]
    expected = factor * sine(16_000, 3.0)[: len(heard)]
    settled = slice(200, None)  # the resampling filter sees the tone's sudden start
    assert np.abs(heard[settled] - expected[settled]).max() < 1e-4


def test_events_of_real_time_sound_have_the_right_time(sound_server: SoundServer, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22_050)
        file.writeframes((sine(22_050, 1.0) * 16_000).astype("<i2").tobytes())
    listener = Listener(sound_server.environment, "auto", "--seconds", "4")
    blocks, player = [], None
    for line in listener:
        blocks.append(line)
        if len(blocks) == 10:
            player = sound_server.play(path)
    listener.end()
    assert player is not None
    player.wait(10)
    closing = blocks.pop()
    loud = sum(block["seconds"] for block in blocks if block["peak"] > 0.3)
    assert 0.7 < loud < 1.4, "one second of tone was played"
    assert sum(block["gap"] for block in blocks) == 0
    for earlier, later in itertools.pairwise(blocks):
        assert later["time"] == pytest.approx(earlier["time"] + earlier["seconds"], abs=0.1)
    # A block is delivered after its last sample and within a buffer's length of it.
    assert all(0 < block["wall"] - block["time"] - block["seconds"] < 2 for block in blocks[5:])
    assert closing["closed_in"] < 3


def test_unplugged_and_plugged_in_again_is_reopened_with_a_gap(sound_server: SoundServer) -> None:
    """Row 25: the only device of a sound server is taken away and brought back: reopened, the gap has the right
    length.
    """
    listener = Listener(sound_server.environment, "auto", "--seconds", "4")
    blocks: list[dict[str, Any]] = []
    for line in listener:
        blocks.append(line)
        if len(blocks) == 10:
            sound_server.unplug()
            sound_server.plug()
    listener.end()
    closing = blocks.pop()
    assert closing["error"], "the loss is told"
    assert blocks[-1]["reopens"] >= 1
    first = next(i for i, block in enumerate(blocks) if block["reopens"])
    before, after = blocks[first - 1], blocks[first]
    assert after["gap"] == pytest.approx(after["time"] - before["time"] - before["seconds"], abs=1e-3)
    assert 0.5 < after["gap"] < 30
    assert sum(block["gap"] for block in blocks) == pytest.approx(after["gap"])


def test_absent_microphone_is_waited_for_and_named(tmp_path: Path, environment: dict[str, str]) -> None:
    """Row 25: a microphone that is not there: waited for, and named."""
    config = file_device(tmp_path, np.zeros((16, 2)))
    listener = Listener(environment | {"ALSA_CONFIG_PATH": str(config)}, "Snowball", "--deadline", "2.5")
    lines = list(listener)
    listener.end()
    assert len(lines) == 1
    assert "'Snowball' is not there" in lines[0]["error"]
    assert "'testmic'" in lines[0]["error"]
    assert lines[0]["closed_in"] < 2


def test_microphone_that_appears_later_is_found(tmp_path: Path, environment: dict[str, str]) -> None:
    """Row 25: a microphone that appears later is found. PortAudio lists devices when it is initialised, so this takes
    another initialisation.
    """
    config = file_device(tmp_path, np.zeros((16, 2)))
    arguments = ["Snowball", "--seconds", "0.5", "--deadline", "30"]
    listener = Listener(environment | {"ALSA_CONFIG_PATH": str(config)}, *arguments)
    listener.wait_for_error("'Snowball' is not there")
    file_device(tmp_path, np.full((44_100, 2), 0.25), name="Snowball")
    lines = list(listener)
    listener.end()
    assert len(lines) > 3, "it was found and heard"
    assert lines[-2]["peak"] == pytest.approx(0.25, abs=0.05)
