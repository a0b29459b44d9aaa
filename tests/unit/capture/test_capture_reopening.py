"""Back-off, seams, and the life of a reopening source."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from edge_agent.capture.reopening import DEVICE_BACK_OFF, REMIND_S, BlockSeam, FrameSeam, Reopening, SourceStatus
from edge_agent.domain.clock import ManualClock, SystemClock
from edge_agent.domain.errors import DeviceUnavailableError, MediaError
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.retry import BackOff
from edge_agent.settings.schema import CameraSettings, MicrophoneSettings

CLOCK = SystemClock(lambda: True)
QUICK = BackOff(first=0.01, longest=0.05)
GONE = DeviceUnavailableError("the camera is gone")


def frame(index: int) -> Frame:
    return Frame.from_bgr(np.zeros((2, 2, 3), np.uint8), float(index), index)


class Scripted:
    """Plays one list per opening: an error to raise or an item to return; an error at the start fails the opening."""

    def __init__(self, *openings: list[Frame | Exception | None]) -> None:
        self._openings = list(openings)
        self._now: list[Frame | Exception | None] = []
        self.closed = 0

    def open(self) -> None:
        self._now = self._openings.pop(0) if self._openings else [GONE]
        if self._now and isinstance(self._now[0], Exception):
            raise self._now[0]

    def read(self) -> Frame | None:
        item = self._now.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1


def reopening(source: Scripted) -> Reopening[Frame]:
    return Reopening(source, FrameSeam(), CLOCK, "camera", QUICK)


def test_a_returned_device_is_noticed_in_time() -> None:
    # The slowest case: the pause, and opening that takes as long as it may by default (8 + 5 s).
    assert DEVICE_BACK_OFF.longest + 13 < 30


def test_a_device_that_falls_silent_again_and_again_is_replaced_in_time() -> None:
    assert DEVICE_BACK_OFF.longest + max(CameraSettings().timeout_s, MicrophoneSettings().timeout_s) < 20


def test_reads_on_across_losses_with_rising_indices() -> None:
    source = reopening(Scripted([GONE], [frame(0), frame(2), GONE], [GONE], [frame(0), frame(1), None]))
    source.open()
    assert not source.status.available
    frames = []
    while (item := source.read()) is not None:
        frames.append(item)
        assert source.status.available
    assert [f.index for f in frames] == [0, 2, 3, 4]
    assert source.status.reopens == 1
    assert source.status.error == "the camera is gone"


def test_source_that_keeps_its_own_count_is_not_counted_twice() -> None:
    seam = FrameSeam()
    given = [seam.join(frame(i), fresh=fresh).index for i, fresh in ((0, True), (1, False), (5, True), (6, False))]
    assert given == [0, 1, 5, 6]


def test_other_errors_pass_through() -> None:
    source = reopening(Scripted([MediaError("no such file")]))
    with pytest.raises(MediaError, match="no such file"):
        source.open()
    assert source.status == SourceStatus(available=False, reopens=0, error="no such file")
    source = reopening(Scripted([frame(0), MediaError("broken")]))
    source.open()
    assert source.read() is not None
    with pytest.raises(MediaError, match="broken"):
        source.read()
    source.close()
    assert source.status.error == "broken"  # else it would look as if it were only starting
    source.renew()
    assert source.status.error == ""


def test_close_interrupts_waiting() -> None:
    source = Reopening(Scripted(), FrameSeam(), CLOCK, "camera", BackOff(first=60.0))
    source.open()
    result: list[Frame | None] = []
    thread = threading.Thread(target=lambda: result.append(source.read()))
    thread.start()
    time.sleep(0.1)
    start = time.monotonic()
    source.close()
    thread.join(5)
    assert result == [None]
    assert time.monotonic() - start < 2


def test_waiting_gives_signs_of_life() -> None:
    source = reopening(Scripted([GONE], [GONE], [frame(0)]))
    beats: list[int] = []
    source.on_wait = lambda: beats.append(1)
    source.open()
    assert source.read() is not None
    assert len(beats) >= 2


def test_open_again_after_close() -> None:
    inner = Scripted([frame(0)], [frame(0)])
    source = reopening(inner)
    source.open()
    assert source.read() is not None
    source.close()
    assert inner.closed == 1
    assert source.read() is None
    source.open()
    again = source.read()
    assert again is not None
    assert again.index == 1


def test_closed_while_the_device_is_being_opened_leaves_it_closed() -> None:
    entered, go = threading.Event(), threading.Event()

    class Slow(Scripted):
        def open(self) -> None:
            entered.set()
            go.wait(10)

    inner = Slow()
    source = reopening(inner)
    thread = threading.Thread(target=source.open)
    thread.start()
    entered.wait(10)
    source.close()
    before = inner.closed
    go.set()
    thread.join(5)
    assert inner.closed == before + 1
    assert not source.status.available
    assert source.read() is None


@pytest.mark.parametrize("own_gap", [0.0, 9.0])
def test_block_seam_keeps_the_larger_gap(own_gap: float) -> None:
    seam = BlockSeam()
    seam.join(AudioBlock(np.zeros(1600, np.float32), 1.0), fresh=True)
    after = seam.join(AudioBlock(np.zeros(1600, np.float32), 4.1, own_gap), fresh=True)
    assert after.gap == pytest.approx(max(3.0, own_gap))


def test_quick_retry_after_a_long_good_time() -> None:
    skipped = [0.0]

    class Jumping:
        monotonic: Callable[[], float] = staticmethod(lambda: time.monotonic() + skipped[0])
        wall = monotonic
        synced: Callable[[], bool] = staticmethod(lambda: True)

    class LongLived(Scripted):
        def read(self) -> Frame | None:
            skipped[0] += 100.0
            return super().read()

    losses = [[frame(0), GONE] for _ in range(6)]
    source = Reopening(
        LongLived(*losses, [frame(0)]), FrameSeam(), Jumping(), "camera", BackOff(first=0.05, longest=10.0)
    )
    source.open()
    start = time.monotonic()
    for _ in range(7):
        assert source.read() is not None
    # Six first pauses are 0.3 s; six that double are 3.15 s.
    assert time.monotonic() - start < 2


def test_why_a_device_is_not_there_is_repeated_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """A refused permission was said once at the start and never again."""
    clock = ManualClock()
    refused = DeviceUnavailableError("camera /dev/video0 may not be opened; add the user to group video")
    tries = round(3 * REMIND_S / DEVICE_BACK_OFF.longest)
    source = Scripted(*([refused] for _ in range(tries)), [frame(0)])
    camera = Reopening(source, FrameSeam(), clock, "camera")
    camera.on_wait = lambda: clock.advance(DEVICE_BACK_OFF.longest)
    with caplog.at_level("WARNING"):
        camera.open()
        assert camera.read() is not None
    assert 2 <= len([r for r in caplog.records if "group video" in r.getMessage()]) <= 5
