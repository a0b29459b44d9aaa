"""What is told of a period's pictures and sound."""

from __future__ import annotations

from edge_agent.domain.summary import StreamSums, Window
from edge_agent.web.analytics import streaming


def test_rates_gaps_and_delays_of_a_period() -> None:
    sums = StreamSums(1200, 150, 3, 80.0, 100.0, frozenset({"dark"}), latency=9.0, slowest=0.4512, resized=2)
    assert streaming(Window(0.0, 100.0, stream=sums)) == {
        "video_fps": 15.0,
        "analysed_fps": 1.88,
        "dropped": 3,
        "gaps": {"video": 20.0, "audio": 0.0},
        "latency": {"mean": 0.06, "longest": 0.451},
        "resolution_changes": 2,
        "flags": ["dark"],
    }


def test_without_pictures_there_are_no_rates() -> None:
    told = streaming(Window(0.0, 100.0, stream=StreamSums(audio_seconds=40.0)))
    assert (told["video_fps"], told["analysed_fps"], told["latency"]) == (None, None, None)
    assert told["gaps"] == {"video": 100.0, "audio": 60.0}
