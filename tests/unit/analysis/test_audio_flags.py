"""Flags of the sound stand until the analyzer answers again, and go with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_agent.analysis.sound import AudioLane
from edge_agent.domain.event import BURST, Event
from edge_agent.domain.media import AudioBlock
from edge_agent.domain.observation import FLAG, Observation
from edge_agent.plugin import AudioAnalyzer, Kind
from tests.unit.analysis.lanes import active

Answer = Sequence[Observation | Event]


class Scripted(AudioAnalyzer):
    """Answers each block with the next of ``answers``; raises when there is none left."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)

    def analyze(self, block: AudioBlock) -> Answer:
        return self.answers.pop(0)

    def finish(self) -> Answer:
        return ()


def flag(value: float) -> Observation:
    return Observation(FLAG, {"dead": value, "clipping": 0.0}, 0.0)


def test_a_flag_stands_until_the_next_answer_about_flags() -> None:
    level, cough = Observation("level", {"dbfs": -40.0}, 0.0), Event(BURST, "cough", 0.9, 0.0, 0.3)
    lane = AudioLane([active(Kind.AUDIO, Scripted([[flag(1.0), level], [cough], [flag(0.0)], [flag(1.0)]]), "q")])
    reports = [lane.offer(AudioBlock(np.zeros(1600, np.float32), second)) for second in range(5)]
    assert [sorted(r.flags) for r in reports] == [["dead"], ["dead"], [], ["dead"], []]
    assert reports[0].observations == (level,)
    assert reports[1].events == (cough,)
    assert lane.finish().flags == frozenset()


def test_two_analyzers_flags_add_up() -> None:
    one, other = Scripted([[flag(1.0)]]), Scripted([[Observation(FLAG, {"gap": 1.0}, 0.0)]])
    lane = AudioLane([active(Kind.AUDIO, one, "a"), active(Kind.AUDIO, other, "b")])
    assert lane.offer(AudioBlock(np.zeros(1600, np.float32), 0.0)).flags == {"dead", "gap"}
