"""Anchors, decoding and blending suppression against values worked out by hand, and against what must always hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent_face.blazeface import VARIANTS, Detections, decode, iou, join, make_anchors, suppress

SIDE = 128


def test_anchors_of_the_published_networks() -> None:
    near, far = (make_anchors(VARIANTS[name].layers) for name in ("near", "far"))
    assert (near.shape, far.shape) == ((896, 2), (2304, 2))
    # 8-pixel cells twice, row by row, then 16-pixel cells six times.
    np.testing.assert_allclose(near[[0, 1, 2, 32]] * SIDE, [[4, 4], [4, 4], [12, 4], [4, 12]])
    np.testing.assert_allclose(near[[512, 517, 518]] * SIDE, [[8, 8], [8, 8], [24, 8]])
    np.testing.assert_allclose(far[[0, 1, 48, -1]] * 192, [[2, 2], [6, 2], [2, 6], [190, 190]])


def one_anchor(regressors: list[float], logit: float, min_score: float = 0.5) -> Detections:
    anchors = np.array([[0.5, 0.25]], np.float32)
    return decode(np.array([regressors], np.float32), np.array([logit], np.float32), anchors, SIDE, min_score)


def test_decoding_by_hand() -> None:
    found = one_anchor([12.8, 0, 25.6, 51.2, *[6.4, -6.4] * 6], logit=math.log(9))
    np.testing.assert_allclose(found.score, [0.9], rtol=1e-6)
    np.testing.assert_allclose(found.corner, [[[0.5, 0.05], [0.7, 0.45]]], atol=1e-6)
    np.testing.assert_allclose(found.points, [[[0.55, 0.2]] * 6], atol=1e-6)


def test_threshold_is_on_the_score() -> None:
    box = [0, 0, 10, 10, *[0] * 12]
    assert len(one_anchor(box, math.log(3) + 0.01, min_score=0.75)) == 1
    assert len(one_anchor(box, math.log(3) - 0.01, min_score=0.75)) == 0


@pytest.mark.parametrize("bad", [[0, 0, -5, 10], [0, 0, 10, 0], [math.nan, 0, 10, 10], [0, 0, math.inf, 10]])
def test_boxes_that_are_none_are_dropped(bad: list[float]) -> None:
    assert len(one_anchor([*bad, *[0] * 12], 5)) == 0


def test_extreme_logits_do_not_overflow() -> None:
    with np.errstate(over="raise", invalid="raise"):
        assert one_anchor([0, 0, 10, 10, *[0] * 12], 1e4).score.tolist() == [1.0]


def test_nothing_found_is_empty_and_shaped() -> None:
    found = suppress(one_anchor([0, 0, 10, 10, *[0] * 12], -50))
    assert (len(found), found.corner.shape, found.points.shape) == (0, (0, 2, 2), (0, 6, 2))


def detections(*faces: tuple[float, float, float]) -> Detections:
    """Squares of side 0.2 at x with a score, all key points at their upper left corner; y is given last."""
    score = np.array([s for _, s, _ in faces], np.float32)
    corner = np.array([[[x, y], [x + 0.2, y + 0.2]] for x, _, y in faces], np.float32).reshape(-1, 2, 2)
    return Detections(score, corner, np.repeat(corner[:, :1], 6, axis=1))


def test_overlapping_detections_are_blended_by_score() -> None:
    found = suppress(detections((0.10, 0.9, 0), (0.14, 0.6, 0), (0.60, 0.55, 0)))
    np.testing.assert_allclose(found.score, [0.9, 0.55])
    np.testing.assert_allclose(found.corner[:, 0, 0], [(0.10 * 0.9 + 0.14 * 0.6) / 1.5, 0.60], rtol=1e-6)
    np.testing.assert_allclose(found.points[:, 5, 0], found.corner[:, 0, 0])


def test_only_overlap_with_the_best_counts() -> None:
    # The third overlaps the second, not the first: it is a face of its own.
    found = suppress(detections((0.10, 0.9, 0), (0.19, 0.8, 0), (0.28, 0.7, 0)))
    assert len(found) == 2


def test_iou_by_hand() -> None:
    boxes = np.array([[[0, 0], [2, 2]], [[1, 0], [3, 2]], [[5, 5], [6, 6]]], np.float32)
    np.testing.assert_allclose(iou(boxes[0], boxes), [1, 1 / 3, 0], rtol=1e-6)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.5, 1), st.floats(0, 1)), max_size=30))
def test_suppression_always_keeps_the_best_and_separates_the_rest(faces: list[tuple[float, float, float]]) -> None:
    candidates = detections(*sorted(faces, key=lambda face: -face[1]))
    found = suppress(candidates)
    assert len(found) <= len(candidates)
    assert (len(found) == 0) == (len(candidates) == 0)
    assert (np.diff(found.score) <= 0).all()
    if len(found):
        assert found.score[0] == candidates.score[0]
        assert found.corner.min() >= candidates.corner.min() - 1e-5
        assert found.corner.max() <= candidates.corner.max() + 1e-5


def at(*faces: tuple[float, float, float, float, float]) -> Detections:
    """Detections (score, x, y, w, h)."""
    rows = np.array(faces, np.float32).reshape(-1, 5)
    corner = np.stack([rows[:, 1:3], rows[:, 1:3] + rows[:, 3:]], axis=1)
    return Detections(rows[:, 0], corner, np.repeat(corner.mean(axis=1, keepdims=True), 6, axis=1))


def test_looks_are_joined_without_counting_anyone_twice() -> None:
    one, again, other = (0.6, 0.1, 0.1, 0.2, 0.2), (0.9, 0.11, 0.1, 0.2, 0.2), (0.7, 0.6, 0.6, 0.1, 0.1)
    found = join(at(one), [at(again, other)], sure=0.95)
    np.testing.assert_allclose(found.score, [0.9, 0.7], rtol=1e-6)
    np.testing.assert_allclose(found.corner[0, 0], [0.11, 0.1], atol=1e-6)


def test_a_face_the_first_look_is_sure_of_is_taken_from_it() -> None:
    one, again, other = (0.6, 0.1, 0.1, 0.2, 0.2), (0.9, 0.11, 0.1, 0.2, 0.2), (0.7, 0.6, 0.6, 0.1, 0.1)
    found = join(at(one), [at(other), at(again)], sure=0.55)
    np.testing.assert_allclose(found.score, [0.7, 0.6], rtol=1e-6)
    np.testing.assert_allclose(found.corner[1, 0], [0.1, 0.1], atol=1e-6)


def test_a_part_of_a_face_is_no_other_face() -> None:
    whole, part, beside = (0.9, 0.2, 0.2, 0.4, 0.4), (0.6, 0.3, 0.3, 0.1, 0.1), (0.5, 0.55, 0.3, 0.2, 0.2)
    assert join(at(whole), [at(part, beside)], 0.6).score.tolist() == pytest.approx([0.9, 0.5])
    assert join(at((0.5, *whole[1:])), [at(part)], 0.6).score.tolist() == pytest.approx([0.6])


def test_joining_nothing_gives_nothing() -> None:
    assert len(join(at(), [at(), at()], 0.6)) == 0
    assert len(join(at(), [], 0.6)) == 0
