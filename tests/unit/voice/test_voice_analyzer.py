"""The voice analyzer on sound like speech: observations, habit, and what is forgotten when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.observation import VOICE, Observation
from edge_agent_voice import VoiceSettings, edge_agent_register_analyzers
from edge_agent_voice.analyzer import VoiceAnalyzer
from edge_agent_voice.arousal import Arousal, Habit
from edge_agent_voice.frontend import Samples
from edge_agent_voice.prosody import NAMES
from tests.unit.voice.test_voice_features import padded, spoken


@pytest.fixture
def trusting() -> Arousal:
    """The bundled weights, for which everything is speech: a synthetic buzz is none."""
    return replace(Arousal.bundled(), speech_weight=np.zeros(len(NAMES)), speech_bias=np.array(9.0))


def heard(analyzer: VoiceAnalyzer, samples: Samples, at: float = 0.0, gap: float = 0.0) -> list[Observation]:
    found: list[Observation] = []
    for begin in range(0, len(samples), 1_600):
        part = samples[begin : begin + 1_600]
        found += analyzer.analyze(AudioBlock(part, at + begin / AUDIO_RATE, gap if begin == 0 else 0.0))
    return found


def talk(turns: int) -> Samples:
    return np.concatenate([padded(spoken()) for _ in range(turns)])


def test_it_is_off_unless_asked_for() -> None:
    (spec,) = edge_agent_register_analyzers()
    assert not spec.settings().enabled
    assert not spec.models(spec.settings())


def test_a_turn_is_reported_when_it_is_over(trusting: Arousal) -> None:
    analyzer = VoiceAnalyzer(VoiceSettings(), trusting)
    (turn,) = heard(analyzer, padded(spoken()), at=100.0)
    assert turn.name == VOICE
    assert turn.time == pytest.approx(100.4, abs=0.25)
    assert set(turn.values) == {"seconds", "turn_seconds", "pitch_hz", "loudness_db", "rate", "pauses"}
    assert analyzer.finish() == []


def test_arousal_is_told_once_the_habit_is_known(trusting: Arousal) -> None:
    found = heard(VoiceAnalyzer(VoiceSettings(habit_turns=3), trusting), talk(4))
    assert ["arousal" in turn.values for turn in found] == [False, False, True, True]
    assert all(-1.0 <= turn.values.get("arousal", 0.0) <= 1.0 for turn in found)


def test_the_habit_is_forgotten_at_the_end_of_the_sound_and_after_a_silence(trusting: Arousal) -> None:
    analyzer = VoiceAnalyzer(VoiceSettings(habit_turns=2, forget_s=30.0), trusting)
    assert "arousal" in heard(analyzer, talk(2))[-1].values
    assert "arousal" in heard(analyzer, talk(1), at=12.0, gap=0.5)[-1].values, "a short gap ends the turn only"
    assert "arousal" not in heard(analyzer, talk(1), at=100.0, gap=80.0)[-1].values
    assert "arousal" in heard(analyzer, talk(1), at=104.0)[-1].values
    analyzer.finish()
    assert "arousal" not in heard(analyzer, talk(1), at=110.0)[-1].values
    analyzer.close()
    assert not analyzer._habit._sum.any()


def test_lost_sound_ends_the_turn(trusting: Arousal) -> None:
    analyzer = VoiceAnalyzer(VoiceSettings(), trusting)
    assert heard(analyzer, spoken()) == []
    (turn,) = analyzer.analyze(AudioBlock(np.zeros(160, np.float32), 5.0, 3.0))
    assert turn.time < 1.0


def test_a_louder_higher_voice_is_more_aroused_than_usual() -> None:
    model = Arousal.bundled()
    habit = Habit(model)
    for _ in range(10):
        habit.note(model.mean, 2.0)
    usual = model.judge(habit.deviation(model.mean))
    higher = model.mean.copy()
    higher[
        [k for k, name in enumerate(NAMES) if name in ("pitch_middle", "pitch_low", "pitch_high", "pitch_loud")]
    ] += 0.5
    assert abs(usual) < 0.05
    assert model.judge(habit.deviation(higher)) > 0.2
    assert model.judge(habit.deviation(2 * model.mean - higher)) < -0.2


def test_one_long_turn_does_not_outweigh_the_habit() -> None:
    model = Arousal.bundled()
    habit = Habit(model)
    habit.note(model.mean, 2.0)
    habit.note(model.mean + 1.0, 500.0)
    assert np.all(habit.deviation(model.mean + 1.0) > 0.3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_broken_samples_are_survived(trusting: Arousal, value: float) -> None:
    analyzer = VoiceAnalyzer(VoiceSettings(), trusting)
    samples = padded(spoken())
    samples[3_000:3_010] = value
    for turn in [*heard(analyzer, samples), *analyzer.finish()]:
        assert np.isfinite(list(turn.values.values())).all()


def test_a_steady_tone_and_noise_are_not_speech() -> None:
    analyzer = VoiceAnalyzer(VoiceSettings(), Arousal.bundled())
    t = np.arange(6 * AUDIO_RATE) / AUDIO_RATE
    rng = np.random.default_rng(0)
    for sound in (0.3 * np.sin(2 * np.pi * 220 * t), 0.1 * rng.standard_normal(len(t)), np.sign(np.sin(600 * t)) * 0.2):
        assert [*heard(analyzer, sound.astype(np.float32)), *analyzer.finish()] == []
