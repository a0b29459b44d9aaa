"""Recordings as cameras and microphones: real time, in step, looped, late readers, closing."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.capture import Demand, ReplayGroup, media
from edge_agent.capture.replay import AudioReplay, VideoReplay
from edge_agent.domain.clock import ManualClock, SystemClock
from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AudioBlock, Frame
from tests.support.cameras import Collector, collecting, wait_for
from tests.support.recordings import joined, picture, tone, write


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, ten pictures a second, with sound."""
    path = tmp_path_factory.mktemp("replay") / "clip.mkv"
    return write(path, [(n / 10, picture(n)) for n in range(20)], tone(2.0))


def both(path: Path, clock: SystemClock | ManualClock, *, loop: bool = False) -> tuple[VideoReplay, AudioReplay]:
    group = ReplayGroup(clock)
    video = VideoReplay(path, clock, group.timeline(path), loop=loop)
    # The same file by another name shares the timeline.
    audio = AudioReplay(path, clock, group.timeline(path.parent / "." / path.name), loop=loop)
    return video, audio


def test_real_time_and_in_step(clip: Path) -> None:
    clock = SystemClock(lambda: True)
    video, audio = both(clip, clock)
    start = time.monotonic()
    with collecting(video) as pictures, collecting(audio) as sound:
        assert pictures.ended.wait(20)
        assert sound.ended.wait(20)
    assert time.monotonic() - start == pytest.approx(2.0, abs=0.8)
    begin = sound.items[0].time
    for frame in pictures.items:
        assert frame.time == pytest.approx(begin + frame.index / 10, abs=1e-3)
    assert sum(b.seconds for b in sound.items) == pytest.approx(2.0, abs=0.05)
    assert pictures.count + sound.count > 30


def test_pictures_that_nobody_wants_are_counted_and_are_no_drops(clip: Path) -> None:
    clock = SystemClock(lambda: True)
    demand = Demand()
    video = VideoReplay(clip, clock, ReplayGroup(clock).timeline(clip), wanted=demand.wants)
    video.open()
    frames = []
    while (frame := video.read()) is not None:
        frames.append(frame)
        demand.not_before(frame.time + 0.45)
    assert [frame.index for frame in frames] == [0, 5, 10, 15]
    assert [frame.skipped for frame in frames] == [0, 4, 8, 12]


def test_nothing_comes_before_its_time(clip: Path) -> None:
    clock = ManualClock()
    video, audio = both(clip, clock)
    with collecting(video) as pictures, collecting(audio) as sound:
        wait_for(lambda: pictures.count == 1, what="the first picture, which is due at once")
        time.sleep(0.6)
        assert (pictures.count, sound.count) == (1, 0)
        clock.advance(0.45)
        wait_for(lambda: sound.count == 4, what="sound that is over")
        wait_for(lambda: pictures.count >= 2, what="a picture")
        time.sleep(0.3)
        assert sound.count == 4
        assert pictures.items[-1].index == 4
        assert all(frame.time <= clock.monotonic() for frame in pictures.items)


def test_joined_recordings_play_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A jump of 22 hours is not waited for, and told once."""
    path = joined(tmp_path / "2024-05-01-06:12:33 joined.ts", 80_000.0)
    video, audio = both(path, SystemClock(lambda: True))
    with collecting(video) as pictures, collecting(audio) as sound:
        assert pictures.ended.wait(60)
        assert sound.ended.wait(60)
    begin = sound.items[0].time
    assert sound.items[-1].end - begin == pytest.approx(4.0, abs=0.2)
    assert pictures.items[-1].time - begin == pytest.approx(3.96, abs=0.2)
    assert caplog.text.count("time stamps jump ahead by") == 1


def test_late_reader_skips_pictures_instead_of_drifting(clip: Path) -> None:
    clock = ManualClock()
    video, _ = both(clip, clock)
    video.open()
    first = video.read()
    clock.advance(1.23)
    second = video.read()
    assert first is not None
    assert second is not None
    # One picture had been decoded ahead; what is shown is at most that one and the newest.
    assert (first.index, second.index) in [(0, 1), (0, 12)]
    third = video.read() if second.index == 1 else second
    assert third is not None
    assert third.index == 12
    video.close()


def test_very_late_sound_is_a_gap(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", sound=tone(20.0, 16_000), rate=16_000)
    clock = ManualClock()
    _, audio = both(path, clock)
    audio.open()
    blocks: list[AudioBlock] = []
    clock.advance(1.0)
    for _ in range(10):
        blocks.append(audio.read() or pytest.fail("ended"))
    clock.advance(9.0)
    for _ in range(10):
        blocks.append(audio.read() or pytest.fail("ended"))
    assert [b.gap for b in blocks if b.gap] == [pytest.approx(4.0, abs=0.11)]
    assert blocks[-1].time == pytest.approx(5.9, abs=0.11)
    audio.close()


def test_loop_stays_monotonic_and_in_step(clip: Path) -> None:
    clock = ManualClock()
    video, audio = both(clip, clock, loop=True)
    with collecting(video) as pictures, collecting(audio) as sound:
        wait_for(lambda: pictures.count, what="the first picture")
        for _ in range(140):
            clock.advance(0.05)
            time.sleep(0.002)
            wait_for(lambda: pictures.items and pictures.items[-1].time > clock.monotonic() - 0.2, what="pictures")
        wait_for(lambda: sound.items and sound.items[-1].end > 6.8, what="sound")
    times = [frame.time for frame in pictures.items]
    assert times == sorted(set(times))
    assert times[-1] > 6.7
    indices = [frame.index for frame in pictures.items]
    assert indices == sorted(set(indices))
    for frame in pictures.items:
        assert frame.time == pytest.approx(frame.index / 10, abs=2e-3), "a pass lasts two seconds"
    ends = [(a.end, b.time, b.gap) for a, b in itertools.pairwise(sound.items)]
    for end, following, gap in ends:
        assert following - end == pytest.approx(gap, abs=2e-3)
    assert sum(gap for _, _, gap in ends) < 0.01


def test_a_loop_that_skips_late_sound_ends_when_it_is_stopped(clip: Path) -> None:
    """Stopped between two blocks, it must not begin one pass after the other."""
    clock = ManualClock()
    _, audio = both(clip, clock, loop=True)
    audio.open()
    clock.advance(0.5)
    assert audio.read() is not None
    playback = audio._playback
    pacer = playback._pacer
    assert pacer is not None
    pacer.stop()
    assert next(playback._items, None) is None
    audio.close()


def test_rejoining_finds_the_recording_further_on(clip: Path) -> None:
    clock = ManualClock()
    video, audio = both(clip, clock)
    video.open()
    audio.open()
    video.close()
    clock.advance(1.05)
    video.open()
    frame = video.read()
    assert frame is not None
    assert frame.index == 10
    video.close()
    audio.close()


def test_all_gone_then_it_begins_anew(clip: Path) -> None:
    clock = ManualClock()
    video, _ = both(clip, clock)
    for begin in (0.0, 50.0):
        video.open()
        frame = video.read()
        assert frame is not None
        assert (frame.index, frame.time) == (0, begin)
        video.close()
        clock.advance(50.0)


def test_close_interrupts_and_is_idempotent(clip: Path) -> None:
    for source in both(clip, ManualClock()):
        collector = Collector(source)
        time.sleep(0.3)
        assert collector.close() < 2
        source.close()
        assert source.read() is None


def test_still_picture_repeats_when_looped(tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    clock = ManualClock()
    once = VideoReplay(path, clock, ReplayGroup(clock).timeline(path), still_fps=4)
    once.open()
    assert isinstance(once.read(), Frame)
    assert once.read() is None
    looped = VideoReplay(path, clock, ReplayGroup(clock).timeline(path), still_fps=4, loop=True)
    with collecting(looped) as pictures:
        wait_for(lambda: pictures.count, what="the picture")
        for _ in range(8):
            clock.advance(0.25)
            wait_for(
                lambda: pictures.items and pictures.items[-1].time > clock.monotonic() - 0.5, what="the picture again"
            )
    assert pictures.count > 4
    assert [f.time for f in pictures.items] == [f.index * 0.25 for f in pictures.items]


def test_what_a_file_lacks_is_said(tmp_path: Path, clip: Path) -> None:
    clock = ManualClock()
    silent = write(tmp_path / "silent.mkv", [(0.0, picture(0)), (0.1, picture(1))])
    blind = write(tmp_path / "blind.wav", sound=tone(0.2))
    with pytest.raises(MediaError, match="holds no sound"):
        both(silent, clock)[1].open()
    with pytest.raises(MediaError, match="holds no picture"):
        both(blind, clock)[0].open()
    with pytest.raises(MediaError, match="no such file"):
        both(tmp_path / "none.mp4", clock)[0].open()


def test_reading_thread_may_differ_from_closing_thread(clip: Path) -> None:
    """Closing in the middle of decoding must not pull the decoder away under the reader."""
    clock = SystemClock(lambda: True)
    for _ in range(10):
        video, _ = both(clip, clock, loop=True)
        video.open()
        thread = threading.Thread(target=lambda video=video: [video.read() for _ in range(5)])
        thread.start()
        time.sleep(0.01)
        video.close()
        thread.join(5)
        assert not thread.is_alive()


def test_machine_that_is_too_slow_still_shows_pictures(clip: Path) -> None:
    class Racing(ManualClock):
        """Whatever is done takes longer than a picture lasts."""

        def monotonic(self) -> float:
            self.advance(0.15)
            return super().monotonic()

    clock = Racing()
    video, _ = both(clip, clock)
    video.open()
    frames = []
    while (frame := video.read()) is not None:
        frames.append(frame.index)
    assert len(frames) >= 3
    assert frames == sorted(set(frames))


def test_a_pass_ends_at_the_duration_of_the_file(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Picture and sound stay in step although one of them is longer than the file claims to be."""
    real = media.read_media
    monkeypatch.setattr(media, "read_media", lambda path, **how: replace(real(path, **how), duration=1.05))
    clock = ManualClock()
    video, audio = both(clip, clock, loop=True)
    video.open()
    audio.open()
    assert video.read() is not None
    clock.advance(2.0)
    while (frame := video.read()) is not None and frame.time < 1.9:
        pass
    assert frame is not None
    assert (frame.index, frame.time) == (20, pytest.approx(1.95)), "eleven pictures, then the tenth of the second pass"
    clock.advance(0.1)
    blocks = [block for _ in range(19) if (block := audio.read())]
    assert sum(b.seconds + b.gap for b in blocks) == pytest.approx(blocks[-1].end)
    assert sum(b.gap for b in blocks) < 0.001, "the second pass follows the first"
    assert blocks[10].end == pytest.approx(1.05), "cut where the pass ends"
    video.close()
    audio.close()


def test_passes_that_are_over_are_not_decoded(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    real = media.iter_pictures
    monkeypatch.setattr(media, "iter_pictures", lambda path, **how: (decoded.append(1), real(path, **how))[1])
    clock = ManualClock()
    video, _ = both(clip, clock, loop=True)
    video.open()
    assert video.read() is not None
    clock.advance(20_000.0)
    while (frame := video.read()) is not None and frame.time < 19_999.0:
        pass
    assert frame is not None
    assert len(decoded) < 5
    video.close()
