"""Frames, turns and figures of a voice: independent of gain and block size, and defined for every sound."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.domain.media import AUDIO_RATE
from edge_agent.plugin.sound import HighPass
from edge_agent_voice.frontend import HOP_S, Frames, Frontend, Samples
from edge_agent_voice.prosody import NAMES, measure
from edge_agent_voice.turns import SpokenTurn, TurnCutter, stretches


def spoken(seconds: float = 2.0, hertz: float = 140.0, syllables: float = 4.0) -> Samples:
    """Something like syllables: a gliding buzz through two formants, on and off."""
    t = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
    pitch = hertz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / AUDIO_RATE
    buzz = sum(np.sin(k * phase) / (1 + ((k * hertz - 600) / 500) ** 2) for k in range(1, 20))
    gate = np.clip(2.5 * np.sin(np.pi * syllables * t) ** 2, 0.0, 1.0)
    room = np.random.default_rng(1).standard_normal(len(t)) * 1e-3
    return (0.2 * buzz * gate + room).astype(np.float32)


def padded(samples: Samples, before: float = 0.5, after: float = 1.5) -> Samples:
    quiet = np.random.default_rng(2).standard_normal(int((before + after) * AUDIO_RATE)).astype(np.float32) * 1e-3
    return np.concatenate([quiet[: int(before * AUDIO_RATE)], samples, quiet[int(before * AUDIO_RATE) :]])


def turns(samples: Samples, block: int = 1_600) -> list[SpokenTurn]:
    frontend, cutter, high_pass = Frontend(), TurnCutter(0.8, 10.0), HighPass()
    found = []
    for begin in range(0, len(samples), block):
        found += cutter.push(frontend.feed(high_pass.feed(samples[begin : begin + block])))
    return found + cutter.flush()


@pytest.mark.parametrize("hertz", [75.0, 110.0, 180.0, 260.0, 400.0, 550.0])
def test_the_pitch_of_men_women_and_children_is_found(hertz: float) -> None:
    t = np.arange(AUDIO_RATE) / AUDIO_RATE
    tone = sum(np.sin(2 * np.pi * k * hertz * t) / k for k in range(1, int(7_000 / hertz)))
    frames = Frontend().feed((0.1 * np.asarray(tone)).astype(np.float32))
    assert np.median(frames.pitch) == pytest.approx(hertz, rel=0.01)
    assert np.median(frames.voicing) > 0.85


def test_noise_is_not_periodic() -> None:
    noise = np.random.default_rng(0).standard_normal(AUDIO_RATE).astype(np.float32) * 0.1
    assert np.percentile(Frontend().feed(noise).voicing, 99) < 0.4


def test_rate_pauses_and_times_are_those_of_the_sound() -> None:
    (turn,) = turns(padded(np.concatenate([spoken(1.5), np.zeros(8_000, np.float32), spoken(1.5)])))
    assert turn.begin * HOP_S == pytest.approx(0.4, abs=0.25)
    measured = measure(turn)
    assert measured is not None
    figures, _ = measured
    assert figures.pitch_hz == pytest.approx(140.0, rel=0.1)
    assert figures.rate == pytest.approx(4.0, rel=0.35)
    assert figures.pauses >= 1
    assert figures.seconds < figures.turn_seconds
    assert figures.turn_seconds == pytest.approx(3.7, abs=0.4)


def test_a_pause_ends_a_turn_and_a_long_one_is_told_in_parts() -> None:
    assert len(turns(np.concatenate([padded(spoken()), padded(spoken())]))) == 2
    long = turns(padded(spoken(23.0)))
    assert [turn.cut for turn in long] == [True, True, False]
    assert all(turn.seconds <= 10.0 + HOP_S for turn in long)


@settings(max_examples=12, deadline=None)
@given(gain=st.floats(-20.0, 12.0))
def test_gain_changes_the_loudness_and_nothing_else(gain: float) -> None:
    samples = padded(spoken()) * 0.2
    figures, features = measure(turns(samples)[0]) or pytest.fail("no voice")
    others, same = measure(turns((samples * 10 ** (gain / 20)).astype(np.float32))[0]) or pytest.fail("no voice")
    assert others.loudness_db - figures.loudness_db == pytest.approx(gain, abs=0.1)
    assert (others.rate, others.pauses) == (figures.rate, figures.pauses)
    assert others.pitch_hz == pytest.approx(figures.pitch_hz, rel=1e-3)
    assert same == pytest.approx(features, abs=0.5), "dB, and smaller numbers of other units"


@settings(max_examples=12, deadline=None)
@given(block=st.integers(100, 20_000))
def test_the_size_of_the_blocks_does_not_matter(block: int) -> None:
    samples = padded(spoken())
    one, other = turns(samples)[0], turns(samples, block)[0]
    assert one.begin == other.begin
    assert other.frames.bands == pytest.approx(one.frames.bands, abs=1e-2)


WAVES = {
    "silence": np.zeros(3 * AUDIO_RATE),
    "constant": np.full(3 * AUDIO_RATE, 0.7),
    "clicks": (np.arange(3 * AUDIO_RATE) % 4_000 == 0).astype(float),
    "square": np.sign(np.sin(2 * np.pi * 150 * np.arange(3 * AUDIO_RATE) / AUDIO_RATE)),
    "clipped": np.clip(20 * spoken(3.0), -1, 1),
    "noise": np.random.default_rng(3).uniform(-1, 1, 3 * AUDIO_RATE),
    "denormal": np.full(3 * AUDIO_RATE, 1e-42),
}


@pytest.mark.parametrize("name", WAVES)
def test_every_sound_gives_finite_numbers_or_none(name: str) -> None:
    for turn in turns(WAVES[name].astype(np.float32)):
        measured = measure(turn)
        if measured is not None:
            assert np.isfinite(measured[1]).all()
            assert len(measured[1]) == len(NAMES)
            assert all(
                np.isfinite(value) for value in (measured[0].pitch_hz, measured[0].rate, measured[0].loudness_db)
            )
    if name in ("silence", "constant", "noise", "denormal"):
        assert turns(WAVES[name].astype(np.float32)) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), max_size=40), st.integers(0, 3))
def test_stretches_cover_the_flags_and_bridge_short_holes(flags: list[bool], bridge: int) -> None:
    found = stretches(np.array(flags, bool), bridge)
    covered = {k for begin, end in found for k in range(begin, end)}
    assert covered >= {k for k, flag in enumerate(flags) if flag}
    assert all(b - e > bridge for (_, e), (b, _) in pairwise(found))
    assert len(Frames.join([])) == 0


def test_what_was_before_a_turn_is_forgotten() -> None:
    cutter, frontend = TurnCutter(0.8, 10.0), Frontend()
    for _ in range(50):
        assert cutter.push(frontend.feed(np.zeros(AUDIO_RATE, np.float32))) == []
    assert sum(len(part) for part in cutter._kept) < 40
