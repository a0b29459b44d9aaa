"""What is told of a period's pictures and sound, and of its steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.domain.observation import NetworkSums
from edge_agent.domain.summary import FaceSums, StreamSums, Summary, Window
from edge_agent.live.history import History
from edge_agent.runtime.machine import clock_is_synced
from edge_agent.summary.merging import merge
from edge_agent.summary.summariser import withhold
from edge_agent.web.analytics import hug_report, report, streaming
from tests.support.web_side import BEARER, Web

NOON = 1_790_000_400.0


def test_rates_gaps_and_delays_of_a_period() -> None:
    sums = StreamSums(1200, 150, 3, 80.0, 100.0, frozenset({"dark"}), latency=9.0, slowest=0.4512, resized=2)
    assert streaming(Window(0.0, 100.0, stream=sums)) == {
        "video_fps": 15.0,
        "analysed_fps": 1.88,
        "dropped": 3,
        "gaps": {"video": 20.0, "audio": 0.0},
        "latency": {"mean": 0.06, "longest": 0.451},
        "resolution_changes": 2,
        "bitrate": None,
        "buffering": None,
        "flags": ["dark"],
    }


def test_bitrate_and_buffering_of_a_network_camera() -> None:
    first = Window(0.0, 10.0, network=NetworkSums(1_000_000, 8.0, 1, 0.4))
    second = Window(10.0, 20.0, network=NetworkSums(250_000, 2.0, 0, 0.0))
    told = streaming(merge(first, second))
    assert told["bitrate"] == 1_000_000
    assert told["buffering"] == {"events": 1, "seconds": 0.4, "ratio": 0.04}
    assert withhold(first, 2).network == NetworkSums(), "movement takes bytes, and could tell that somebody was there"


def test_nothing_known_is_said_as_such_in_the_shape_of_the_hug_api() -> None:
    told = hug_report(None, NOON, "kiosk-1")
    assert told["timestamp"].startswith("2026-09-21T")
    assert set(told["streaming_quality"].values()) == set(told["viewer_engagement"].values()) == {None}
    unsearched = hug_report(Window(0.0, 60.0), NOON, "kiosk-1")["viewer_engagement"]
    assert unsearched["watch_time"] is None, "nobody looked for people, which is not the same as nobody"
    people = Window(0.0, 60.0, faces=FaceSums(2, 90.0, 60.0, 1, 2), stream=StreamSums(resized=1))
    told = hug_report(people, NOON, "kiosk-1")
    assert told["viewer_engagement"]["watch_time"] == 90.0
    assert told["viewer_engagement"]["average_watch_time"] == 30.0
    assert told["streaming_quality"]["resolution_changes"] == 1


def test_without_pictures_there_are_no_rates() -> None:
    told = streaming(Window(0.0, 100.0, stream=StreamSums(audio_seconds=40.0)))
    assert (told["video_fps"], told["analysed_fps"], told["latency"]) == (None, None, None)
    assert told["gaps"] == {"video": 100.0, "audio": 60.0}


def test_steps_of_windows_that_do_not_fit_into_a_minute_leave_no_gap() -> None:
    history = History()
    for k in range(27):
        faces, stream = FaceSums(1, 7.0, 7.0, 1, 0), StreamSums(70, 21, 0, 7.0, 7.0)
        history.add(Summary(NOON + 7.0 * k, "synced", Window(7.0 * k, 7.0 * (k + 1), faces, stream=stream)))
    steps = report(history, NOON, NOON + 600, "kiosk-1", 60)["series"]
    assert [(step["start"], step["seconds"]) for step in steps] == [
        ("2026-09-21T14:20:00.000Z", 63.0),
        ("2026-09-21T14:21:03.000Z", 63.0),
        ("2026-09-21T14:22:06.000Z", 63.0),
    ]
    assert [step["streaming"]["gaps"] for step in steps] == [{"video": 0.0, "audio": 0.0}] * 3


@pytest.mark.parametrize("trusted", [True, False])
def test_an_empty_history_names_the_unsynchronised_clock_as_reason(tmp_path: Path, trusted: bool) -> None:
    """B9, on the real clock."""
    web = Web(tmp_path, device=f"trust_clock = {str(trusted).lower()}")
    try:
        status, body = web.ask("GET", "/api/v1/analytics", BEARER)
    finally:
        web.stop()
    known = trusted or clock_is_synced()
    assert status == 200
    assert (b'"unknown":null' in body) == known
    assert (b'"unknown":"clock"' in body) != known
    assert web.agent.clock.synced() == known


def test_unwatched_steps_have_nulls_not_zeros() -> None:
    history = History()
    window = Window(0.0, 30.0, unseen={"privacy": 30.0})
    for k in range(2):
        history.add(Summary(NOON + 30 * k, "synced", replace(window, begin=30.0 * k, end=30.0 * (k + 1))))
    (first, *_) = report(history, NOON, NOON + 600, "kiosk-1", 60)["series"]
    assert first["viewers"]["faces"]["max"] is None
    assert first["viewers"]["unknown"] == {"people": {"privacy": 60.0}}
