"""The latest picture: kept only while the camera may be open, and only while it is what the camera sees."""

from __future__ import annotations

import numpy as np

from edge_agent.domain.clock import ManualClock
from edge_agent.domain.media import Frame
from edge_agent.live.bus import FRESH_S, Preview


def a_frame(index: int) -> Frame:
    return Frame.from_bgr(np.zeros((4, 4, 3), np.uint8), float(index), index)


class Switch:
    on = True


def test_it_is_the_latest_while_it_is_fresh() -> None:
    clock = ManualClock()
    preview = Preview(clock, lambda: True)
    assert preview.latest() is None
    for index in range(3):
        preview.show(a_frame(index))
    latest = preview.latest()
    assert latest is not None
    assert latest.index == 2
    clock.advance(FRESH_S + 0.1)
    assert preview.latest() is None


def test_what_was_seen_before_privacy_is_not_shown_after_it() -> None:
    switch = Switch()
    preview = Preview(ManualClock(), lambda: switch.on)
    preview.show(a_frame(0))
    switch.on = False
    assert preview.latest() is None
    preview.forget()
    preview.show(a_frame(1))  # was on its way
    switch.on = True
    assert preview.latest() is None
    preview.show(a_frame(2))
    assert preview.latest() is not None


def test_every_frame_is_wanted_only_while_somebody_looks() -> None:
    clock = ManualClock()
    preview = Preview(clock, lambda: True)
    assert not preview.watched
    preview.latest()
    clock.advance(FRESH_S - 0.1)
    assert preview.watched
    clock.advance(0.2)
    assert not preview.watched
