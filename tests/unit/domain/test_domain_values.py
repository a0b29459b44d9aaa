"""The small arithmetic of boxes, sound blocks and clocks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.domain import errors, event, observation
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.face import Box, Point
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame, PixelFormat

QUICK = settings(max_examples=60)

FRACTIONS = st.floats(-1.0, 2.0)
BOXES = st.builds(Box, FRACTIONS, FRACTIONS, st.floats(0.0, 2.0), st.floats(0.0, 2.0))


@QUICK
@given(BOXES, BOXES)
def test_overlap_is_a_share_and_the_same_from_both_sides(a: Box, b: Box) -> None:
    assert 0 <= a.iou(b) <= 1 + 1e-9
    assert a.iou(b) == pytest.approx(b.iou(a))


@QUICK
@given(BOXES)
def test_a_box_is_itself(box: Box) -> None:
    assert box.iou(box) == (pytest.approx(1) if min(box.w, box.h) > 1e-6 else pytest.approx(0.5, abs=0.5))


def test_boxes_that_only_touch_do_not_overlap() -> None:
    assert Box(0, 0, 1, 1).iou(Box(1, 0, 1, 1)) == 0
    assert Box(0, 0, 1, 1).iou(Box(0.5, 0, 1, 1)) == pytest.approx(1 / 3)
    assert Box(0, 0, 0, 0).iou(Box(0, 0, 0, 0)) == 0


def test_centre_and_area() -> None:
    box = Box(0.1, 0.2, 0.4, 0.2)
    assert (box.centre, box.area) == (Point(pytest.approx(0.3), pytest.approx(0.3)), pytest.approx(0.08))
    assert Box(0, 0, -1, 1).area == 0


def test_a_block_has_its_length_and_end() -> None:
    block = AudioBlock(np.zeros(AUDIO_RATE // 2, np.float32), 7.0)
    assert (block.seconds, block.end, block.gap) == (0.5, 7.5, 0.0)


def test_a_picture_of_opencv_is_wrapped_without_copying() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    frame = Frame.from_bgr(image, 1.5, 7)
    assert (frame.width, frame.height, frame.format, frame.time, frame.index) == (64, 48, PixelFormat.BGR, 1.5, 7)
    assert frame.data is image


def test_a_manual_clock_moves_only_by_request() -> None:
    clock = ManualClock(wall=100.0, monotonic=5.0)
    clock.advance(2.5)
    assert (clock.wall(), clock.monotonic(), clock.synced()) == (102.5, 7.5, True)
    clock.set_wall(0.0, synced=False)
    assert (clock.wall(), clock.monotonic(), clock.synced()) == (0.0, 7.5, False)


def test_names_that_reach_topics_and_payloads_are_plain_words() -> None:
    names = [v for m in (event, observation) for k, v in vars(m).items() if k.isupper() and isinstance(v, str)]
    assert len(names) >= 3
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9_]*", name)] == []
    assert all(re.fullmatch(r"[a-z]+", word) for word in observation.EMOTIONS)
    assert all(re.fullmatch(r"[a-z_]+", word) for word in observation.BLINDING)


def test_every_family_of_errors_has_an_exit_code_of_its_own() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.EdgeAgentError)]
    codes = {k: k.exit_code for k in kinds if "exit_code" in vars(k)}
    assert len(codes) > 5
    assert len(set(codes.values())) == len(codes)
    assert 0 not in codes.values()
