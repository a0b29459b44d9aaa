"""Dead, clipping and interrupted sound; and that ordinary sound is none of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.observation import FLAG, Observation
from edge_agent_quality import MicrophoneQualitySettings, edge_agent_register_analyzers
from edge_agent_quality.microphone import MicrophoneQuality

BLOCK = AUDIO_RATE // 10
Sound = npt.NDArray[np.floating]


def flags(sound: Sound, gaps: dict[int, float] | None = None) -> list[set[str]]:
    """The flags of each answer to ``sound`` in blocks of 0.1 s; ``gaps`` are seconds lost before a block."""
    quality, told = MicrophoneQuality(MicrophoneQualitySettings()), []
    for index in range(len(sound) // BLOCK):
        samples = sound[index * BLOCK : (index + 1) * BLOCK].astype(np.float32)
        for found in quality.analyze(AudioBlock(samples, index / 10, (gaps or {}).get(index, 0.0))):
            assert isinstance(found, Observation)
            assert found.name == FLAG
            told.append({name for name, value in found.values.items() if value > 0.5})
    assert quality.finish() == ()
    return told


@pytest.fixture
def hiss() -> Sound:
    """Ten seconds of a quiet room."""
    return np.random.default_rng(0).normal(0, 0.001, 10 * AUDIO_RATE)


def test_a_quiet_room_is_not_dead(hiss: Sound) -> None:
    assert flags(hiss) == [set()] * 10


@pytest.mark.parametrize(("level", "off"), [(0.0, set()), (0.02, set()), (0.25, {"offset"}), (-1.0, {"offset"})])
def test_no_signal_is_dead_after_some_seconds_whatever_the_voltage(level: float, off: set[str]) -> None:
    told = flags(np.full(10 * AUDIO_RATE, level))
    assert told == [off] * 4 + [{"dead"} | off] * 6


def test_a_drifting_voltage_is_no_signal_either() -> None:
    drift = np.linspace(0, 0.01, 10 * AUDIO_RATE)
    assert flags(drift)[4:] == [{"dead"}] * 6


def test_a_large_offset_is_flagged_and_a_usual_one_is_not(hiss: Sound) -> None:
    assert flags(hiss + 0.02) == [set()] * 10
    assert flags(hiss - 0.1) == [{"offset"}] * 10


def test_clipping_shows_beside_an_offset() -> None:
    tone = np.sin(2 * np.pi * 300 * np.arange(3 * AUDIO_RATE) / AUDIO_RATE)
    assert flags(np.clip(tone + 0.3, -1, 1)) == [{"clipping", "offset"}] * 3


def test_sound_brings_it_back_to_life(hiss: Sound) -> None:
    assert flags(np.concatenate([np.zeros(8 * AUDIO_RATE), hiss]))[7:9] == [{"dead"}, set()]


def test_loud_sound_cut_off_at_full_scale_is_clipping() -> None:
    tone = np.sin(2 * np.pi * 300 * np.arange(3 * AUDIO_RATE) / AUDIO_RATE)
    assert flags(np.clip(2 * tone, -1, 1)) == [{"clipping"}] * 3
    assert flags(0.9 * tone) == [set()] * 3


def test_lost_sound_shows_at_once_and_for_one_answer(hiss: Sound) -> None:
    told = flags(hiss[: 4 * AUDIO_RATE], {15: 0.5})
    assert told.count({"gap"}) == 1
    assert told.index({"gap"}) == 1
    assert flags(hiss[: 4 * AUDIO_RATE], {15: 0.02}).count({"gap"}) == 0


def test_both_analyzers_register_and_check_themselves() -> None:
    for spec in edge_agent_register_analyzers():
        analyzer = spec.factory(spec.settings(), None)  # type: ignore[arg-type]
        analyzer.self_check()
        analyzer.close()
