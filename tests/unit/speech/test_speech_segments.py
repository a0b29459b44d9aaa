"""Cutting sound into utterances by scripted probabilities of a voice, and judging what was recognised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent_speech.segments import (
    CHUNK,
    CHUNK_S,
    LEAD_S,
    Segmenter,
    SegmentPolicy,
    SpeechSegment,
    agreement,
    doubtful,
    plausible,
    stretched,
)

POLICY = SegmentPolicy()


def cut(voices: list[float], policy: SegmentPolicy = POLICY) -> list[SpeechSegment]:
    """What a segmenter makes of chunks with these probabilities; each sample holds the number of its chunk."""
    segmenter = Segmenter(policy)
    chunks = [np.full(CHUNK, number, np.float32) for number in range(len(voices))]
    found = [segmenter.feed(chunk, voice) for chunk, voice in zip(chunks, voices, strict=True)]
    return [segment for segment in (*found, segmenter.finish()) if segment]


def chunks(seconds: float) -> int:
    return round(seconds / CHUNK_S)


def test_an_utterance_ends_after_the_pause_and_keeps_the_sound_around_it() -> None:
    quiet, spoken = chunks(2.0), chunks(1.0)
    (found,) = cut([0.01] * quiet + [0.95] * spoken + [0.01] * quiet)
    assert found.start == pytest.approx((2.0 - LEAD_S) * 16_000, abs=2 * CHUNK)
    assert found.seconds == pytest.approx(1.0 + 2 * LEAD_S, abs=3 * CHUNK_S)
    assert found.voiced == pytest.approx(1.0, abs=CHUNK_S)
    assert found.samples[0] * CHUNK == found.start, "the samples are not those at the start"


def test_a_short_pause_does_not_end_it() -> None:
    (found,) = cut([0.9] * 20 + [0.0] * (chunks(POLICY.pause) - 1) + [0.9] * 20 + [0.0] * 60)
    assert found.voiced == pytest.approx(40 * CHUNK_S)


def test_a_falling_voice_is_still_one() -> None:
    assert len(cut([0.9] * 30 + [0.4] * 30 + [0.9] * 30)) == 1


@pytest.mark.parametrize(
    "voices",
    [
        pytest.param([0.99] * 8, id="too short, as a click or a cough"),
        pytest.param([0.55] * 60, id="not sure enough"),
        pytest.param([0.45] * 500, id="never above the threshold"),
        pytest.param([], id="nothing"),
    ],
)
def test_what_is_no_utterance_is_dropped(voices: list[float]) -> None:
    assert cut([0.0] * 30 + voices + [0.0] * 60) == []


def test_a_long_one_is_split_where_the_voice_is_least_and_loses_nothing() -> None:
    dip = chunks(11.0)
    voices = [0.95] * chunks(25.0)
    voices[dip - 4 : dip + 4] = [0.5] * 8
    first, second = cut(voices)
    assert first.seconds == pytest.approx(11.0, abs=0.2)
    assert second.start == first.end
    assert second.end == len(voices) * CHUNK


@given(st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), max_size=900))
def test_utterances_are_in_order_apart_and_not_too_long(voices: list[float]) -> None:
    policy = SegmentPolicy(longest=4.0)
    found = cut(voices, policy)
    end = 0
    for segment in found:
        assert segment.start >= end
        assert 0 < segment.seconds <= policy.longest + 1e-6
        assert segment.voiced >= policy.shortest
        assert segment.samples[0] * CHUNK == segment.start
        end = segment.end
    assert end <= len(voices) * CHUNK


def test_sound_outside_of_utterances_is_forgotten() -> None:
    segmenter = Segmenter(POLICY)
    for _ in range(1_000):
        segmenter.feed(np.zeros(CHUNK, np.float32), 0.0)
    assert len(segmenter._kept) <= chunks(LEAD_S) + 1


def test_repr_shows_no_sound() -> None:
    (found,) = cut([0.9] * 60)
    assert "array" not in repr(found)


@pytest.mark.parametrize(
    ("text", "voiced", "expected"),
    [
        ("I am so happy to see you.", 1.5, True),
        ("Yes.", 0.3, True),
        ("No, no, no, no!", 1.0, True),
        ("Señor García's café", 1.5, True),
        ("", 1.0, False),
        ("...", 1.0, False),
        ("♪ ♪", 4.0, False),
        ("Uh-huh. Oh!", 1.0, False),
        ("Ha ha ha ha", 2.0, False),
        ("吃的大", 1.0, False),
        ("It's funny. It's funny. It's funny. It's funny.", 5.0, False),
        ("The cat, the cat, the cat, the cat,", 0.5, False),
        ("I think that we should all go home before it gets dark", 0.3, False),
    ],
)
def test_what_nobody_can_have_said_is_dropped(text: str, voiced: float, expected: bool) -> None:
    assert plausible(text, voiced) is expected


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        ("Thank you.", "thank you", 1.0),
        ("It’s here", "it's HERE!", 1.0),
        ("Thank you.", "Uh-huh", 0.0),
        ("I can see you", "I can hear you", 0.75),
        ("you", "", 0.0),
        ("Eight.", "8", 1.0),
    ],
)
def test_agreement_is_the_share_of_common_words(first: str, second: str, share: float) -> None:
    assert agreement(first, second) == agreement(second, first) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "voice", "expected"),
    [
        ("Yes, please.", 0.97, True),
        ("Where did you put it last week?", 0.97, False),
        ("Where did you put it?", 0.8, True),
    ],
)
def test_short_utterances_and_unsure_voices_are_doubted(text: str, voice: float, expected: bool) -> None:
    assert doubtful(text, SpeechSegment(np.zeros(CHUNK, np.float32), 0, 1.0, voice)) is expected


@pytest.mark.parametrize(
    ("text", "voice", "expected"), [("Yeah.", 0.85, False), ("Yeah.", 0.95, True), ("Oh yes I see", 0.85, True)]
)
def test_a_word_or_two_need_a_sure_voice(text: str, voice: float, expected: bool) -> None:
    assert plausible(text, 1.0, voice) is expected


@pytest.mark.parametrize("factor", [10 / 9, 0.9])
def test_stretched_sound_keeps_its_shape(factor: float) -> None:
    wave = np.sin(np.arange(16_000) * 0.1).astype(np.float32)
    found = stretched(wave, factor)
    assert found.dtype == np.float32
    assert len(found) == int(16_000 * factor)
    assert np.abs(found - np.sin(np.arange(len(found)) * 0.1 / factor)).max() < 0.01
