"""Sound events by YAMNet: what is asked for is reported, on recordings, and nothing unless it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from edge_agent.domain.errors import ModelError, PluginError
from edge_agent.domain.event import Event
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.plugin import AnalyzerContext, AudioAnalyzer
from edge_agent_burst import Sound, SoundSettings, edge_agent_register_analyzers
from edge_agent_burst.sounds import CLASSES, HOP, SoundAnalyzer
from tests.integration.test_burst_engines import Models, sound_of


def make(folder: Path | None, **settings: object) -> AudioAnalyzer:
    _, spec = edge_agent_register_analyzers()
    subject = spec.factory(spec.settings(**settings), AnalyzerContext(Models(folder)))
    assert isinstance(subject, AudioAnalyzer)
    return subject


def hear(subject: AudioAnalyzer, samples: np.ndarray, block: int = 1_600, start: float = 0.0) -> list[Event]:
    found: list[Event] = []
    for position in range(0, len(samples), block):
        found += subject.analyze(AudioBlock(samples[position : position + block], start + position / AUDIO_RATE))
    return [*found, *subject.finish()]


@pytest.mark.parametrize(
    ("folder", "sound", "least"), [("dog_bark", "dog", 7), ("rooster", "chicken", 5), ("rain", "rain", 5)]
)
def test_recorded_sounds_are_heard_as_what_they_are(shared: Path, folder: str, sound: Sound, least: int) -> None:
    subject = make(shared / "models", sounds=(sound, "smoke_alarm", "doorbell"), thresholds={"rain": 0.3})
    subject.self_check()
    paths = sorted((shared / "data" / "bursts" / "background" / folder).glob("*.ogg"))[:10]
    heard = [hear(subject, sound_of(path)) for path in paths]
    assert sum(sound in {event.label for event in events} for events in heard) >= least
    assert {event.label for events in heard for event in events} <= {sound}
    assert {event.kind for events in heard for event in events} == {"sound"}


def test_a_bark_is_where_it_is(shared: Path) -> None:
    recordings = sorted((shared / "data" / "bursts" / "background" / "dog_bark").glob("*.ogg"))
    bark = sound_of(recordings[3])
    bark = bark[int(np.flatnonzero(np.abs(bark) > 0.1 * np.abs(bark).max())[0]) :][: 3 * AUDIO_RATE // 2]
    samples = np.random.default_rng(0).normal(0, 1e-4, 12 * AUDIO_RATE).astype(np.float32)
    samples[5 * AUDIO_RATE : 5 * AUDIO_RATE + len(bark)] += bark
    (event,) = hear(make(shared / "models", sounds=("dog",)), samples, start=100.0)
    assert event.label == "dog"
    assert event.start == pytest.approx(105.0, abs=0.3)
    assert 0.1 < event.seconds < 2.0
    assert hear(make(shared / "models", sounds=("dog",)), samples, block=50_000, start=100.0) == [event]


def test_sounds_do_not_compete_and_each_has_its_threshold() -> None:
    def both(_window: np.ndarray) -> list[np.ndarray]:
        scores = np.zeros((1, 521), np.float32)
        scores[0, [69, 349]] = 0.6
        return [scores]

    noise = np.random.default_rng(0).normal(0, 0.1, 4 * AUDIO_RATE).astype(np.float32)
    thresholds = {"dog": 0.5, "doorbell": 0.55, "siren": 0.1}
    heard = hear(SoundAnalyzer(both, ("dog", "doorbell", "siren"), lambda sound: thresholds[sound]), noise)
    assert [(e.label, round(e.score, 2)) for e in heard] == [("dog", 0.6), ("doorbell", 0.6)]
    assert hear(SoundAnalyzer(both, ("dog", "doorbell"), lambda _: 0.7), noise) == []


def test_quiet_sound_is_not_judged_and_a_gap_ends_what_was_heard() -> None:
    asked: list[np.ndarray] = []

    def dog(window: np.ndarray) -> list[np.ndarray]:
        asked.append(window)
        return [np.full((1, 521), 0.9, np.float32)]

    subject = SoundAnalyzer(dog, ("dog",), lambda _: 0.5)
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * AUDIO_RATE).astype(np.float32)
    assert subject.analyze(AudioBlock(noise * np.float32(1e-4), 0.0)) == []
    assert asked == []
    assert subject.analyze(AudioBlock(noise, 2.0)) == []
    assert len(asked) in range(3, 2 * 2 * AUDIO_RATE // HOP)
    (event,) = subject.analyze(AudioBlock(noise * np.float32(1e-4), 9.0, gap=5.0))
    assert 1.0 < event.start < 4.0


def test_it_is_off_and_needs_yamnet() -> None:
    _, spec = edge_agent_register_analyzers()
    assert spec.name == "sound"
    assert not spec.settings().enabled
    assert tuple(spec.models(spec.settings())) == ("yamnet",)
    with pytest.raises(ModelError, match="models pull"):
        make(None)


def test_another_network_is_refused() -> None:
    with pytest.raises(PluginError, match="pull it again"):
        SoundAnalyzer(lambda _: [np.zeros((1, 11), np.float32)], ("dog",), lambda _: 0.5).self_check()


def test_unknown_sounds_are_refused_and_known_ones_have_classes() -> None:
    for wrong in ({"sounds": ("unicorn",)}, {"sounds": ()}, {"thresholds": {"dog": 0.0}}, {"threshold": 1.5}):
        with pytest.raises(ValidationError):
            SoundSettings.model_validate(wrong)
    assert all(SoundSettings(sounds=(sound,)) for sound in CLASSES)
    assert all(0 <= index < 521 for indices in CLASSES.values() for index in indices)
