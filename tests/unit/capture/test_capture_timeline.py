"""Time stamps that jump: one rule for pictures and sound, in files and in streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.capture import iter_media, read_media
from edge_agent.capture.media import iter_frames
from edge_agent.capture.timing import FAR_RESTARTING_S, FAR_S, Steps, Timeline
from edge_agent.domain.media import AudioBlock, Frame
from tests.support.recordings import joined


def times(stamps: list[tuple[int, float]], far: float = FAR_S, seconds: float = 0.1) -> tuple[list[float], Timeline]:
    """Where packets of streams, given by number and stamp, come to lie."""
    timeline = Timeline(0.0, far)
    return [round(at + timeline.shift(stream, at, seconds), 3) for stream, at in stamps], timeline


def test_stamps_in_order_stay_as_they_are() -> None:
    stamps = [(n % 2, n / 20) for n in range(20)]
    placed, timeline = times(stamps)
    assert placed == [round(at, 3) for _stream, at in stamps]
    assert timeline.jumps == []
    assert timeline.end == pytest.approx(1.05)


@pytest.mark.parametrize("by", [-0.5, -4.0, -1000.0, 4000.0, 90_000.0])
def test_a_jump_is_taken_out_of_every_stream_alike(by: float) -> None:
    before = [(stream, n / 10) for n in range(10) for stream in (0, 1)]
    after = [(stream, n / 10 + 1.0 + by) for n in range(10) for stream in (0, 1)]
    placed, timeline = times([*before, *after])
    assert placed == [round(n / 10, 3) for n in range(20) for _stream in (0, 1)]
    assert [(round(j.time, 3), round(j.by, 3)) for j in timeline.jumps] == [(1.0, by)]


def test_a_late_packet_from_before_the_jump_changes_nothing() -> None:
    placed, timeline = times([(0, 0.0), (1, 0.0), (0, 0.1), (0, 50.0), (1, 0.1), (0, 50.1), (1, 50.0)], far=10)
    assert placed == [0.0, 0.0, 0.1, 0.2, 0.1, 0.3, 0.2]
    assert len(timeline.jumps) == 1


def test_a_pause_is_none() -> None:
    placed, timeline = times([(0, 0.0), (0, 9.0)], far=FAR_RESTARTING_S)
    assert placed == [0.0, 9.0]
    placed, timeline = times([(0, 0.0), (0, 3000.0)])
    assert placed == [0.0, 3000.0]
    assert timeline.jumps == []


def test_a_picture_may_stand_still_while_the_sound_goes_on() -> None:
    sound = [(1, float(n)) for n in range(30)]
    placed, timeline = times([(0, 0.0), *sound, (0, 30.0)], far=10, seconds=1.0)
    assert placed[-1] == 30.0
    assert timeline.jumps == []


def test_a_clock_that_jumps_back_twice_is_accepted() -> None:
    placed, _timeline = times([(0, 0.0), (0, 0.1), (0, 5000.0), (0, 0.3), (0, 0.4)])
    assert placed == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_a_stream_that_begins_far_away_begins_with_the_others() -> None:
    placed, _timeline = times([(0, 0.0), (0, 0.1), (1, 90_000.0), (1, 90_000.1)])
    assert placed == [0.0, 0.1, 0.2, 0.3]


def test_a_packet_that_claims_to_last_for_a_day_does_not() -> None:
    timeline = Timeline(0.0, FAR_S)
    timeline.shift(0, 0.0, 90_000.0)
    assert 90_000.0 + timeline.shift(0, 90_000.0, 0.1) == pytest.approx(FAR_S)


def test_decoded_pictures_go_forward() -> None:
    steps, last, placed = Steps(10.0), 0.0, []
    for stamp in (0.1, 0.2, 0.0, 0.1, 500.0, 500.1):
        last = steps.place(stamp, last, last + 0.1)
        placed.append(round(last, 3))
    assert placed == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


# ---------------------------------------------------------------------- whole files


@pytest.mark.parametrize("offset", [0.0, 50.0, 80_000.0])
def test_joined_recordings_are_decoded_to_the_end(tmp_path: Path, offset: float) -> None:
    path = joined(tmp_path / "joined.ts", offset)
    info = read_media(path, whole=True)
    assert info.duration == pytest.approx(4.0, abs=0.2)
    assert len(list(info.warnings())) == 1
    assert f"joined.ts: the time stamps jump {'ahead' if offset else 'back'} by" in next(info.warnings())
    items = list(iter_media(path))
    frames = [item for item in items if isinstance(item, Frame)]
    blocks = [item for item in items if isinstance(item, AudioBlock)]
    steps = np.diff([frame.time for frame in frames])
    assert len(frames) >= 98
    assert steps.max() < 0.2
    assert steps.min() > 0
    assert frames[-1].time == pytest.approx(3.95, abs=0.2)
    assert blocks[-1].end == pytest.approx(4.0, abs=0.2)
    assert sum(block.gap for block in blocks) < 0.2


def test_a_pause_in_a_file_is_kept(tmp_path: Path) -> None:
    path = joined(tmp_path / "joined.ts", 7.0)
    info = read_media(path, whole=True)
    assert info.jumps == ()
    assert info.duration == pytest.approx(9.0, abs=0.2)
    assert max(frame.time for frame in iter_frames(path)) == pytest.approx(8.95, abs=0.1)
