"""Head pose and openness from a mesh: exact on the fitted head itself, symmetrical, and silent on nonsense."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent_gaze.geometry import RIGID, Direction, Geometry, HeadPose
from edge_agent_gaze.mesh import LEFT_EYE, POINTS, RIGHT_EYE, FloatArray

GEOMETRY = Geometry.bundled()
SIDE = 100.0
"""Pixels in a distance of the eyes."""


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation of a head to the viewer's right, up, and clockwise, in degrees."""
    a, b, c = (math.radians(v) for v in (yaw, -pitch, -roll))
    y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return z @ y @ x


def mesh(rotation: np.ndarray, gap: float = 0.3) -> FloatArray:
    """The fitted head, turned and seen from far away; lids are open by ``gap`` of the eye's width."""
    points = np.zeros((POINTS, 3), np.float32)
    seen = GEOMETRY.points @ rotation.T * SIDE
    points[list(RIGID), :2] = seen[:, :2] * [1, -1] + [300, 200]
    down = (rotation[:2, 1] * [-1, 1]).astype(np.float32)
    for indices, iris in ((RIGHT_EYE, 468), (LEFT_EYE, 473)):
        corners = points[[indices[0], indices[8]], :2]
        width = float(np.linalg.norm(corners[0] - corners[1]))
        for k, index in enumerate(indices[:16]):
            if k in (0, 8):
                continue
            share = (k if k < 8 else k - 8) / 8
            side = 0.5 if k < 8 else -0.5
            points[index, :2] = corners[0] * (1 - share) + corners[1] * share + side * gap * width * down
        points[iris : iris + 5, :2] = corners.mean(axis=0)
    return points


def pose(points: FloatArray) -> HeadPose:
    found = GEOMETRY.pose(points)
    assert found is not None
    return found


@given(st.floats(-45, 45), st.floats(-35, 35), st.floats(-40, 40))
def test_the_pose_of_the_fitted_head_is_found_at_every_angle(yaw: float, pitch: float, roll: float) -> None:
    rotation = turned(yaw, pitch, roll)
    found = pose(mesh(rotation))
    assert math.degrees(math.acos(min(1.0, float(found.rotation[:, 2] @ rotation[:, 2])))) < 6
    assert found.error < 0.05
    assert found.scale == pytest.approx(SIDE, rel=0.1)


def test_the_signs_are_those_of_the_attention_s_settings() -> None:
    assert pose(mesh(turned(25, 0, 0))).nose.yaw == pytest.approx(25, abs=3)
    assert pose(mesh(turned(0, 15, 0))).nose.pitch == pytest.approx(15, abs=3)
    assert pose(mesh(turned(0, 0, 20))).roll == pytest.approx(20, abs=2)


def test_irises_to_the_viewer_s_right_look_there_and_a_mirrored_face_looks_to_the_other_side() -> None:
    right, left = mesh(np.eye(3)), mesh(np.eye(3))
    right[468:, 0] += 0.07 * SIDE
    left[468:, 0] -= 0.07 * SIDE
    looks = [GEOMETRY.look(points, pose(points)).gaze for points in (right, left)]
    assert looks[0].yaw > 8
    assert looks[0].yaw - looks[1].yaw > 20


def test_openness_of_the_eyes_falls_with_the_gap_of_the_lids() -> None:
    opened = [GEOMETRY.look(m, pose(m)).eyes_open for m in (mesh(np.eye(3), gap) for gap in (0.05, 0.15, 0.2, 0.45))]
    assert opened == sorted(opened)
    assert (opened[0], opened[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_points_that_are_no_head_have_no_pose(value: float) -> None:
    assert GEOMETRY.pose(np.full((POINTS, 3), value, np.float32)) is None


def test_a_direction_is_told_in_degrees() -> None:
    found = Direction.of(np.array([1.0, 0.0, 1.0]))
    assert (found.yaw, found.pitch) == pytest.approx((45, 0))
