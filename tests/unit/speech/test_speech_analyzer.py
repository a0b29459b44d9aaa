"""The speech analyzer around a scripted voice detector and recognizer: times, block sizes, gaps, bad sound, delay."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.speech import Utterance
from edge_agent_speech import SpeechSettings
from edge_agent_speech.analyzer import Delay, Loudness, UtteranceAnalyzer
from edge_agent_speech.segments import CHUNK, Samples


class Loud:
    """Takes whatever is loud for a voice."""

    def voice(self, chunk: Samples) -> float:
        assert chunk.shape == (CHUNK,)
        assert np.isfinite(chunk).all()
        return 0.95 if float(np.abs(chunk).max()) > 0.1 else 0.01

    def reset(self) -> None:
        """Remembers nothing."""


class Typist:
    """Says the same of whatever it hears, and takes ``work`` seconds of a scripted clock for it."""

    def __init__(self, work: float = 0.0) -> None:
        self.time, self.work = 0.0, work

    def now(self) -> float:
        return self.time

    def text(self, samples: Samples) -> str:
        assert np.abs(samples).max() <= 1.0
        self.time += self.work
        return "the same as before"

    def close(self) -> None:
        """Holds nothing."""


def make(typist: Typist | None = None, **options: float | None) -> UtteranceAnalyzer:
    typist = typist or Typist()
    return UtteranceAnalyzer(SpeechSettings(**options), Loud(), typist, typist.now)  # type: ignore[arg-type]


def sound(*pieces: tuple[float, float]) -> Samples:
    """Seconds of a buzz at a level, one after the other."""
    buzz = [level * np.sign(np.sin(np.arange(round(s * AUDIO_RATE)) * 0.3)) for s, level in pieces]
    return np.concatenate(buzz).astype(np.float32)


def heard(analyzer: UtteranceAnalyzer, samples: Samples, size: int = 1_600, time: float = 50.0) -> list[Utterance]:
    found: list[Utterance] = []
    for at in range(0, len(samples), size):
        found += analyzer.analyze(AudioBlock(samples[at : at + size], time + at / AUDIO_RATE))
    return [*found, *analyzer.finish()]


TALK = sound((1.0, 0.0), (2.0, 0.4), (1.5, 0.0), (1.0, 0.4), (1.0, 0.0))


def test_utterances_have_the_time_of_the_sound() -> None:
    first, second = heard(make(), TALK)
    assert first.start == pytest.approx(50.7, abs=0.1)
    assert first.end == pytest.approx(53.3, abs=0.1)
    assert second.start == pytest.approx(54.2, abs=0.1)
    assert first.confidence == 1.0, "every hearing was the same"


class Dreamer(Typist):
    """Hears other words in sound of another length, but the first ``firm`` of them."""

    def __init__(self, firm: int) -> None:
        super().__init__()
        self.firm, self.lengths = firm, list[int]()

    def text(self, samples: Samples) -> str:
        self.lengths.append(len(samples))
        words = [f"firm{k}" for k in range(self.firm)]
        return " ".join([*words, *(f"w{k}x{len(samples)}" for k in range(3 - self.firm))])


@pytest.mark.parametrize(("firm", "confidence"), [(0, None), (1, None), (2, 2 / 3), (3, 1.0)])
def test_a_short_utterance_counts_when_other_hearings_repeat_it(firm: int, confidence: float | None) -> None:
    dreamer = Dreamer(firm)
    (found,) = heard(make(dreamer), sound((1.0, 0.0), (2.0, 0.4), (1.0, 0.0)))
    if confidence is None:
        assert (found.text, found.confidence, len(dreamer.lengths)) == ("", 0.0, 3), "rejected, and counted as such"
    else:
        assert (found.count, found.confidence) == (3, pytest.approx(confidence))
        length = dreamer.lengths[0]
        assert dreamer.lengths == pytest.approx([length, length * 10 / 9, length * 0.9], abs=1)


def test_what_is_no_sentence_is_rejected_and_counted() -> None:
    class Gasper(Typist):
        def text(self, samples: Samples) -> str:
            return "Oh, oh!"

    (found,) = heard(make(Gasper()), sound((1.0, 0.0), (2.0, 0.4), (1.0, 0.0)))
    assert (found.text, found.confidence) == ("", 0.0)


@pytest.mark.parametrize("size", [1, 160, 511, 512, 5_000, len(TALK)])
def test_the_size_of_blocks_does_not_matter(size: int) -> None:
    part = TALK[: AUDIO_RATE * 2] if size == 1 else TALK
    expected = heard(make(), part)
    found = heard(make(), part, size)
    assert [u.text for u in found] == [u.text for u in expected]
    assert [u.start for u in found] == pytest.approx([u.start for u in expected])


def test_a_gap_ends_an_utterance_and_moves_the_time() -> None:
    analyzer = make()
    assert analyzer.analyze(AudioBlock(sound((2.0, 0.4)), 10.0)) == []
    (before,) = analyzer.analyze(AudioBlock(sound((1.0, 0.0), (1.0, 0.4)), 32.0, gap=20.0))
    (after,) = analyzer.finish()
    assert before.end <= 12.1
    assert after.start == pytest.approx(32.7, abs=0.1)
    assert analyzer.finish() == []


def test_a_drifting_clock_is_followed() -> None:
    analyzer = make()
    analyzer.analyze(AudioBlock(sound((10.0, 0.0)), 10.0))
    analyzer.analyze(AudioBlock(sound((1.0, 0.4)), 20.5))
    (found,) = analyzer.finish()
    assert found.start == pytest.approx(20.2, abs=0.1)


@pytest.mark.parametrize(
    "bad",
    [
        np.full(AUDIO_RATE, np.nan, np.float32),
        np.full(AUDIO_RATE, np.inf, np.float32),
        np.full(AUDIO_RATE, 1e30, np.float32),
        np.full(AUDIO_RATE, 0.7, np.float32),
        np.zeros(0, np.float32),
    ],
    ids=["nan", "infinite", "huge", "constant offset", "empty"],
)
def test_bad_sound_is_silence_or_clipped_and_speech_after_it_is_found(bad: Samples) -> None:
    analyzer = make()
    analyzer.analyze(AudioBlock(bad, 0.0))
    analyzer.analyze(AudioBlock(sound((2.0, 0.0), (1.0, 0.4)), len(bad) / AUDIO_RATE))
    assert analyzer.finish()[-1].text


def test_a_slow_recognizer_skips_utterances_and_says_so() -> None:
    talk = np.concatenate([sound((1.0, 0.4), (1.0, 0.0))] * 20)
    found = heard(make(Typist(work=2.0), max_delay_s=10.0), talk)  # each utterance is heard three times
    done = [u for u in found if u.text]
    assert len(found) == 20, "an utterance that was skipped is reported without words"
    assert 5 <= len(done) <= 9, "6 s of work fit into 40 s about 6 times"
    assert found[0].text
    assert any(u.text for u in found[-4:]), "it does not recover"
    assert all(u.end > u.start for u in found)


def test_a_recording_is_transcribed_whole_however_long_it_takes() -> None:
    talk = np.concatenate([sound((1.0, 0.4), (1.0, 0.0))] * 20)
    assert all(u.text for u in heard(make(Typist(work=60.0), max_delay_s=None), talk))


def test_delay_is_paid_back_by_time_that_passes() -> None:
    delay = Delay(2.0)
    delay.note(work=3.0)
    assert delay.exceeded
    delay.note(sound=1.5)
    assert not delay.exceeded
    delay.note(sound=100.0)
    delay.note(work=2.0)
    assert not delay.exceeded, "time that passed before is not saved up"


def test_quiet_sound_is_raised_and_noise_after_loud_sound_is_not() -> None:
    loudness = Loudness()
    quiet = sound((1.0, 0.01)).reshape(-1)[:CHUNK]
    assert np.abs(loudness.level(quiet)).max() == pytest.approx(0.3, rel=0.01)
    loud = sound((1.0, 0.5))[:CHUNK]
    assert loudness.level(loud) is loud
    assert np.abs(loudness.level(quiet)).max() == pytest.approx(0.01, rel=0.01)
    for _ in range(2_000):
        raised = loudness.level(quiet)
    assert np.abs(raised).max() == pytest.approx(0.3, rel=0.01)
    assert np.abs(loudness.level(np.full(CHUNK, 1e-4, np.float32))).max() < 0.01, "silence is not raised to a sound"
