"""The analyzer around an engine whose scores follow the loudness: timing, gaps, thresholds, self-check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pytest

from edge_agent.domain.errors import PluginError
from edge_agent.domain.event import Event
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent_burst import LABELS, Label
from edge_agent_burst.analyzer import BurstAnalyzer
from edge_agent_burst.events import LabelPolicy, Reading
from edge_agent_burst.yamnet import Windows

WINDOW, HOP = 15_600, 3_840


class LoudIsCough:
    """An engine that calls everything loud a cough, with the loudness as its score."""

    def __init__(self, silence: float = 0.0) -> None:
        self._silence = silence
        self.reset()

    @property
    def policies(self) -> Mapping[Label, LabelPolicy]:
        return {label: LabelPolicy(on=0.5, off=0.25) for label in LABELS}

    def feed(self, samples: np.ndarray) -> Iterable[Reading]:
        yield from (self._read(b, w) for b, w in self._windows.feed(samples))

    def drain(self) -> Iterable[Reading]:
        yield from (self._read(b, w) for b, w in self._windows.drain())

    def reset(self) -> None:
        self._windows = Windows(WINDOW, HOP)

    def _read(self, begin: int, window: np.ndarray) -> Reading:
        scores = dict.fromkeys(LABELS, self._silence)
        scores["cough"] = max(self._silence, float(np.abs(window).max()))
        return Reading(begin / AUDIO_RATE, (begin + WINDOW) / AUDIO_RATE, scores)


def tone(seconds: float, *spans: tuple[float, float]) -> np.ndarray:
    time = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE
    mask = np.zeros(len(time))
    for start, end in spans:
        mask[round(start * AUDIO_RATE) : round(end * AUDIO_RATE)] = 0.9
    return (mask * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def play(analyzer: BurstAnalyzer, samples: np.ndarray, time: float = 100.0, block: int = 1600) -> list[Event]:
    events: list[Event] = []
    for position in range(0, len(samples), block):
        part = samples[position : position + block]
        events += [e for e in analyzer.analyze(AudioBlock(part, time + position / AUDIO_RATE)) if isinstance(e, Event)]
    return events


def analyzer(labels: Sequence[Label] = ("cough",), thresholds: Mapping[Label, float] | None = None) -> BurstAnalyzer:
    return BurstAnalyzer(LoudIsCough(), labels, thresholds or {})


@pytest.mark.parametrize("block", [160, 1_600, 16_000, 100_000, 777])
def test_event_has_the_time_of_the_sound(block: int) -> None:
    (event,) = play(analyzer(), tone(6, (2.0, 2.6)), block=block)
    assert (event.kind, event.label) == ("burst", "cough")
    assert event.score == pytest.approx(0.9, abs=0.01)
    assert event.start == pytest.approx(102.0, abs=0.05)
    assert event.seconds == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize("offset", [-0.3, 0.005, 0.02, 0.05])
def test_a_constant_offset_changes_nothing(offset: float) -> None:
    samples = 0.6 * tone(6, (2.0, 2.6))
    (plain,), (moved,) = play(analyzer(), samples), play(analyzer(), samples + np.float32(offset))
    assert (moved.label, moved.start, moved.seconds) == (plain.label, plain.start, plain.seconds)
    assert moved.score == pytest.approx(plain.score, abs=0.01)


def test_finish_reports_the_open_event_once() -> None:
    subject = analyzer()
    assert play(subject, tone(2.5, (2.0, 2.5))) == []
    (event,) = subject.finish()
    assert isinstance(event, Event)
    assert event.start == pytest.approx(102.0, abs=0.05)
    assert list(subject.finish()) == []


def test_a_clip_shorter_than_a_window_is_judged() -> None:
    subject = BurstAnalyzer(_OneVote(), ("cough",), {})
    play(subject, tone(0.5, (0.1, 0.4)))
    assert len(subject.finish()) == 1


class _OneVote(LoudIsCough):
    @property
    def policies(self) -> Mapping[Label, LabelPolicy]:
        return {label: LabelPolicy(on=0.5, off=0.25, agree=1, among=1) for label in LABELS}


def test_gap_ends_what_was_open_and_restarts_the_clock() -> None:
    subject = analyzer()
    play(subject, tone(2.5, (2.0, 2.5)))
    after = tone(5, (2.0, 2.6))
    events = list(subject.analyze(AudioBlock(after, 200.0, gap=97.5)))
    starts = [e.start for e in events if isinstance(e, Event)]
    assert starts == pytest.approx([102.0, 202.0], abs=0.05)


def test_labels_not_asked_for_are_not_reported() -> None:
    subject = analyzer(labels=("sneeze",))
    assert play(subject, tone(6, (2.0, 2.6))) + list(subject.finish()) == []


def test_threshold_overrides_the_engines() -> None:
    assert play(analyzer(thresholds={"cough": 0.95}), tone(6, (2.0, 2.6))) == []
    assert len(play(analyzer(thresholds={"cough": 0.3}), 0.4 * tone(6, (2.0, 2.6)))) == 1


def test_broken_samples_do_not_stick() -> None:
    samples = tone(6, (3.0, 3.6))
    samples[:100] = np.nan
    (event,) = play(analyzer(), samples)
    assert event.start == pytest.approx(103.0, abs=0.05)


def test_a_drifting_clock_is_corrected() -> None:
    """After 400 s a sound card that is 0.1 % slow would be 0.4 s off if samples alone were counted."""
    subject, seconds, events = analyzer(), 400, []
    samples = tone(seconds, (398.0, 398.6))
    for k in range(seconds):
        events += subject.analyze(AudioBlock(samples[k * AUDIO_RATE : (k + 1) * AUDIO_RATE], k * 1.001))
    events += subject.finish()
    assert [e.start for e in events if isinstance(e, Event)] == pytest.approx([398.4], abs=0.05)


def test_self_check_passes_and_leaves_no_trace() -> None:
    subject = analyzer()
    subject.self_check()
    (event,) = play(subject, tone(6, (2.0, 2.6)))
    assert event.start == pytest.approx(102.0, abs=0.05)


def test_self_check_refuses_a_model_with_bursts_in_silence() -> None:
    with pytest.raises(PluginError, match="silence"):
        BurstAnalyzer(LoudIsCough(silence=0.8), ("cough",), {}).self_check()
