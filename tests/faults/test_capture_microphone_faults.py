"""FAULTS 25, capture side: overflow, loss, NaN, silence, odd rates and devices that stop.

What a driver can do to the callback is done to the ring, in manual time; NaN and an odd rate also go through real
PortAudio and ALSA. Unplugging a real (PulseAudio) device is in ``tests/integration/test_capture_microphone.py``.
"""

from __future__ import annotations

import ctypes.util
import os
from pathlib import Path

import numpy as np
import pytest

from edge_agent.capture.microphone import Assembler
from edge_agent.capture.reopening import BlockSeam
from edge_agent.capture.sound import SampleRing
from edge_agent.domain.media import AudioBlock
from tests.support.sound_server import Listener, file_device

needs_portaudio = pytest.mark.skipif(
    ctypes.util.find_library("portaudio") is None, reason="needs PortAudio (Debian: apt install libportaudio2)"
)


class Driver:
    """Calls back with bursts of a tone at ``rate``, in its own time; in the ``second`` channel with this gain."""

    def __init__(self, rate: int, buffer_s: float = 5.0, channel: int | None = None, second: float = 1.0) -> None:
        self._second = second
        self.now = 100.0
        self._rate = rate
        self._sent = 0
        self._ring = SampleRing(int(buffer_s * rate), 2)
        self.assembler = Assembler(self._ring, rate, channel)
        self.blocks: list[AudioBlock] = []

    def burst(self, seconds: float, *, overflow: bool = False, lost_s: float = 0.0, value: float | None = None) -> None:
        """The next sound; ``lost_s`` of it was lost in the driver just before."""
        self._sent += round(lost_s * self._rate)
        self.now += seconds + lost_s
        count = round(seconds * self._rate)
        tone = 0.5 * np.sin(2 * np.pi * 300 * (self._sent + np.arange(count)) / self._rate)
        samples = np.full(count, value) if value is not None else tone
        self._sent += count
        self._ring.write(np.stack([samples, self._second * samples], axis=1).astype(np.float32), self.now, overflow)

    def read(self) -> None:
        """Take what there is."""
        while (block := self.assembler.take()) is not None:
            self.blocks.append(block)

    def run(self, seconds: float) -> None:
        """Undisturbed sound."""
        for _ in range(round(seconds / 0.05)):
            self.burst(0.05)
            self.read()

    @property
    def gaps(self) -> list[float]:
        return [round(block.gap, 2) for block in self.blocks if block.gap]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_25_any_rate_becomes_16_khz_without_drift(rate: int) -> None:
    """Row 25: seven rates of devices: resampled without drift or gap."""
    driver = Driver(rate)
    driver.run(20.0)
    samples = np.concatenate([block.samples for block in driver.blocks])
    assert len(samples) == pytest.approx(20.0 * 16_000, abs=0.2 * 16_000)
    expected = 0.5 * np.sin(2 * np.pi * 300 * np.arange(len(samples)) / 16_000)
    assert np.abs(samples - expected)[500:].max() < 0.01
    assert driver.gaps == []
    assert driver.blocks[-1].end == pytest.approx(driver.now, abs=0.2)


@pytest.mark.parametrize("second", [-1.0, -0.8])
def test_channels_that_cancel_each_other_are_not_averaged(second: float) -> None:
    driver = Driver(48_000, second=second)
    driver.run(3.0)
    samples = np.concatenate([block.samples for block in driver.blocks])
    expected = 0.5 * np.sin(2 * np.pi * 300 * np.arange(len(samples)) / 16_000)
    assert np.abs(samples - expected)[500:].max() < 0.01


def test_25_overflow_of_unknown_length_becomes_a_gap_of_the_right_length() -> None:
    """Row 25: an overflow of unknown length becomes a gap of the right length."""
    driver = Driver(48_000)
    driver.run(2.0)
    driver.burst(0.05, overflow=True, lost_s=1.5)
    driver.run(2.0)
    assert driver.gaps == [pytest.approx(1.5, abs=0.05)]
    assert driver.blocks[-1].end == pytest.approx(driver.now, abs=0.2)


def test_25_a_late_reader_loses_the_newest_sound_and_its_length_is_counted() -> None:
    """Row 25: nobody reads for longer than the buffer holds: what is lost is known to a tenth of a second."""
    driver = Driver(44_100, buffer_s=1.0)
    driver.run(1.0)
    for _ in range(60):
        driver.burst(0.05)  # nobody reads for 3 s, the buffer holds 1
    driver.read()
    driver.run(2.0)
    assert sum(driver.gaps) == pytest.approx(2.0, abs=0.15)
    heard = sum(block.seconds for block in driver.blocks)
    assert heard + sum(driver.gaps) == pytest.approx(driver.now - 100.0, abs=0.2)
    assert driver.blocks[-1].end == pytest.approx(driver.now, abs=0.2)


def test_25_loss_that_the_driver_does_not_report_is_found() -> None:
    """Row 25: a loss that the driver does not report is found."""
    driver = Driver(48_000)
    driver.run(2.0)
    driver.burst(0.05, lost_s=3.0)
    driver.run(25.0)
    assert sum(driver.gaps) == pytest.approx(3.0, abs=0.1)
    assert driver.blocks[-1].end == pytest.approx(driver.now, abs=0.2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_25_values_that_are_no_numbers_become_silence_and_are_counted(bad: float) -> None:
    """Row 25: NaN and infinities become silence and are counted."""
    driver = Driver(44_100)
    driver.run(0.5)
    driver.burst(0.1, value=bad)
    driver.run(0.5)
    samples = np.concatenate([block.samples for block in driver.blocks])
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1.0
    assert driver.assembler.bad_samples == 4410


def test_25_clipped_and_silent_sound_passes_as_it_is() -> None:
    """Row 25: sound beyond full scale, and digital silence."""
    driver = Driver(16_000)
    driver.burst(0.5, value=7.0)
    driver.burst(0.5, value=0.0)
    driver.read()
    samples = np.concatenate([block.samples for block in driver.blocks])
    assert samples[:8000].tolist() == [1.0] * 8000
    assert not samples[8000:].any()


def test_25_interruption_is_a_gap_in_the_first_block_after_it() -> None:
    """Row 25: an interruption is a gap in the first block after it."""
    seam = BlockSeam()
    block = np.zeros(1600, np.float32)
    first = seam.join(AudioBlock(block, 10.0), fresh=True)
    second = seam.join(AudioBlock(block, 10.1), fresh=False)
    third = seam.join(AudioBlock(block, 17.2), fresh=True)
    assert (first.gap, second.gap) == (0.0, 0.0)
    assert third.gap == pytest.approx(7.0)


@needs_portaudio
def test_25_nan_from_a_real_device_never_reaches_the_reader(tmp_path: Path, repository: Path) -> None:
    """Row 25: NaN and infinities from a device of ALSA, through PortAudio."""
    samples = np.full((44_100 * 3, 2), 0.25)
    samples[::5] = np.nan
    samples[1::5] = np.inf
    config = file_device(tmp_path, samples)
    saved = tmp_path / "heard.npy"
    environment = {**os.environ, "PYTHONPATH": str(repository), "ALSA_CONFIG_PATH": str(config)}
    listener = Listener(environment, "testmic", "--seconds", "1.5", "--save", str(saved))
    lines = list(listener)
    listener.end()
    heard = np.load(saved)
    assert len(lines) > 5
    assert np.isfinite(heard).all()
    assert heard[1000:20_000].mean() == pytest.approx(0.15, abs=0.02), "three of five samples are left"
