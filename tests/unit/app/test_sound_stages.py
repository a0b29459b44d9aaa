"""The speech stage: at its own pace, with counted losses; and what is dropped when the microphone is switched off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from edge_agent.analysis.sound import AudioLane, SpeechLane
from edge_agent.app.sound import SpeechStage
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.media import AudioBlock
from edge_agent.domain.observation import LANGUAGE, Observation, SpeechReport
from edge_agent.domain.speech import Utterance
from edge_agent.plugin import AnalyzerSpec, AudioAnalyzer, Kind, SpeechAnalyzer
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.plugin.spec import Analyzer
from edge_agent.runtime.lifecycle import Stop
from edge_agent.runtime.supervisor import Supervisor
from tests.support import spoken


def active(kind: Kind, analyzer: Analyzer) -> ActiveAnalyzer:
    spec = AnalyzerSpec("one", kind, "test", factory=lambda _s, _c: analyzer)
    return ActiveAnalyzer(spec, analyzer, pytest.fail)


def blocks(*sounds: np.ndarray, begin: float = 100.0) -> list[AudioBlock]:
    """Sound in blocks of a tenth of a second, as a microphone gives it."""
    sound = np.concatenate(sounds)
    return [AudioBlock(sound[k : k + 1600], begin + k / 16000) for k in range(0, len(sound), 1600)]


def double(tell: bool = False) -> SpeechLane:
    settings = spoken.SpokenSettings()
    return SpeechLane(
        [active(Kind.SPEECH, spoken.Listener(settings)), active(Kind.TEXT, spoken.Reader(settings))], tell=tell
    )


def hear(lane: SpeechLane, sound: Sequence[AudioBlock]) -> list[SpeechReport]:
    return [r for r in (*(lane.offer(block) for block in sound), lane.finish()) if r.utterances]


class Slow(SpeechAnalyzer):
    """Says something at every block; each takes until ``go`` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.heard: list[AudioBlock] = []
        self.forgotten = 0

    def analyze(self, block: AudioBlock) -> Sequence[Utterance]:
        self.begun.set()
        assert self.go.wait(20)
        self.heard.append(block)
        return [Utterance("so", block.time, block.end)]

    def forget(self) -> None:
        self.forgotten += 1


@contextmanager
def running(stage: SpeechStage) -> Iterator[Supervisor]:
    supervisor = Supervisor(SystemClock(lambda: True), Stop())
    supervisor.start(stage.components())
    try:
        yield supervisor
    finally:
        supervisor.stop()


def test_a_lane_counts_what_was_said_and_keeps_the_words_to_itself() -> None:
    found = hear(double(), blocks(spoken.say(0), spoken.say(2)))
    assert [(r.utterances, r.words, r.said) for r in found] == [(1, 6, ()), (1, 4, ())]
    assert [o.name for r in found for o in r.observations] == [LANGUAGE, "language_unknown"]
    (told, _) = hear(double(tell=True), blocks(spoken.say(0), spoken.say(2)))
    assert told.said[0].utterance.text == spoken.SENTENCES[0]


def test_an_utterance_without_words_is_lost() -> None:
    class Behind(SpeechAnalyzer):
        def analyze(self, block: AudioBlock) -> Sequence[Utterance]:
            return [
                Utterance("", block.time, block.time + 2.5),
                Utterance("", block.time, block.time + 9.0, 0.0),
                Utterance("so so", block.time, block.end),
            ]

    lane = SpeechLane([active(Kind.SPEECH, Behind()), active(Kind.TEXT, spoken.Reader(spoken.SpokenSettings()))])
    report = lane.offer(blocks(spoken.say(0))[0])
    assert (report.utterances, report.words, report.lost, len(report.observations)) == (1, 2, 2.5, 1)


def test_sound_before_a_loss_is_not_joined_to_what_follows() -> None:
    lane = double()
    first, second = blocks(spoken.say(0)[:8000]), blocks(spoken.say(1)[:16000], begin=105.0)
    for block in first:
        lane.offer(block)
    report = lane.offer(second[0], after_loss=True)
    assert (report.utterances, round(report.lost, 2)) == (1, 4.5)


def test_what_does_not_fit_into_the_queue_is_lost_and_counted(eventually: Callable[..., None]) -> None:
    slow, reports = Slow(), list[SpeechReport]()
    stage = SpeechStage(SpeechLane([active(Kind.SPEECH, slow)]), SystemClock(lambda: True), reports.append, backlog=5)
    sound = blocks(np.zeros(16000 * 2, np.float32))
    with running(stage):
        stage.hear(sound[0])
        assert slow.begun.wait(20)
        for block in sound[1:]:  # returns at once, whatever the recognizer does
            stage.hear(block)
        figures = stage.document()
        assert figures is not None
        slow.go.set()
        eventually(lambda: len(slow.heard) == 6)
        eventually(lambda: stage.document() == {"waiting_s": 0.0, "lost_s": 1.4, "rejected": 0})
    assert [round(block.gap, 1) for block in slow.heard] == [0.0, 1.4, 0.0, 0.0, 0.0, 0.0]
    assert sum(r.lost for r in reports) == pytest.approx(1.4)


def test_switching_off_drops_what_waits_and_what_is_under_way(eventually: Callable[..., None]) -> None:
    slow, reports, clock = Slow(), list[SpeechReport](), SystemClock(lambda: True)
    stage = SpeechStage(SpeechLane([active(Kind.SPEECH, slow)]), clock, reports.append)
    with running(stage):
        begin = clock.monotonic()
        stage.hear(AudioBlock(np.zeros(1600, np.float32), begin))
        stage.hear(AudioBlock(np.zeros(1600, np.float32), begin + 0.1))
        assert slow.begun.wait(20)
        stage.apply(on=False)
        stage.apply(on=False)
        stage.hear(AudioBlock(np.zeros(1600, np.float32), begin + 0.2))  # read before the device was released
        slow.go.set()
        eventually(lambda: slow.forgotten == 1)
        stage.apply(on=True)
        stage.hear(AudioBlock(np.zeros(1600, np.float32), begin))  # still from before
        late = AudioBlock(np.zeros(1600, np.float32), clock.monotonic() + 0.01)
        stage.hear(late)
        eventually(lambda: reports)
        assert [block.time for block in slow.heard] == [begin, late.time]
        assert [report.time for report in reports] == [late.time]


def test_the_end_of_a_recording_waits_for_the_words_and_a_stop_does_not(eventually: Callable[..., None]) -> None:
    reports: list[SpeechReport] = []
    stage = SpeechStage(double(), SystemClock(lambda: True), reports.append)
    with running(stage) as supervisor:
        for block in blocks(spoken.say(0)[:16000]):
            stage.hear(block)
        stage.close()
        eventually(lambda: supervisor.finished(["speech"]))
    assert sum(report.utterances for report in reports) == 1
    slow = Slow()
    slow.go.set()
    stage = SpeechStage(SpeechLane([active(Kind.SPEECH, slow)]), SystemClock(lambda: True), reports.append)
    with running(stage) as supervisor:
        assert supervisor.stop() == []


def test_without_an_analyzer_of_speech_nothing_runs() -> None:
    lane = SpeechLane([active(Kind.TEXT, spoken.Reader(spoken.SpokenSettings()))])
    stage = SpeechStage(lane, SystemClock(lambda: True), lambda _r: None)
    assert (stage.wanted, stage.components(), stage.document()) == (False, [], None)
    stage.hear(AudioBlock(np.zeros(1600, np.float32), 1.0))
    stage.apply(on=False)
    stage.close()


def test_an_analyzer_of_sound_forgets_voices_when_told_to_and_one_that_cannot_goes_on() -> None:
    class Ear(AudioAnalyzer):
        known = 3

        def analyze(self, block: AudioBlock) -> Sequence[Observation]:
            return [Observation("known", {"voices": self.known}, block.time)]

        def finish(self) -> Sequence[Observation]:
            return [Observation("open", {"n": self.known}, 0.0)]  # is dropped: privacy has begun

        def forget(self) -> None:
            self.known = 0

    class Stranger:
        """Of a version before ``forget``, and without the base class."""

        def analyze(self, block: AudioBlock) -> Sequence[Observation]:
            return [Observation("old", {"n": 1.0}, block.time)]

        def finish(self) -> Sequence[Observation]:
            return ()

        def close(self) -> None:
            pass

    lane = AudioLane([active(Kind.AUDIO, Ear()), active(Kind.AUDIO, Stranger())])  # type: ignore[arg-type]
    lane.forget()
    report = lane.offer(AudioBlock(np.zeros(1600, np.float32), 1.0))
    assert {o.name: dict(o.values) for o in report.observations} == {"known": {"voices": 0}, "old": {"n": 1.0}}
