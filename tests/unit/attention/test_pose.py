"""Head pose of a turned, nodded and tilted head, and what counts as looking."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.domain.face import Box, Face, KeyPoints, Point, TrackedFace
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.domain.observation import ATTENTION, GAZE
from edge_agent_attention import AttentionSettings, edge_agent_register_analyzers
from edge_agent_attention.analyzer import AttentionAnalyzer, Pose, head_pose

HEAD = {  # millimetres; x to the viewer's right, y down, z to the viewer; the origin between the eyes
    "right_eye": (-31, 0, 0),
    "left_eye": (31, 0, 0),
    "nose": (0, 31.2, 27),
    "mouth": (0, 65, 0),
    "right_ear": (-70, 15, -90),
    "left_ear": (70, 15, -90),
}


def head(yaw: float = 0, pitch: float = 0, roll: float = 0, aspect: float = 4 / 3) -> KeyPoints:
    """The head turned by angles in degrees, seen from far away in a frame of ``aspect``."""
    a, b, c = (math.radians(v) for v in (yaw, pitch, roll))
    turn = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    nod = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    tilt = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    seen = {name: tilt @ turn @ nod @ np.array(point, float) for name, point in HEAD.items()}
    return KeyPoints(**{name: Point(0.5 + p[0] / 1000 / aspect, 0.5 + p[1] / 1000) for name, p in seen.items()})


def pose(points: KeyPoints, aspect: float = 4 / 3) -> Pose:
    found = head_pose(points, aspect)
    assert found is not None
    return found


@pytest.mark.parametrize("aspect", [4 / 3, 16 / 9, 3 / 4])
def test_a_face_from_the_front_looks_straight(aspect: float) -> None:
    found = pose(head(aspect=aspect), aspect)
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((0, 0, 0), abs=0.5)


@pytest.mark.parametrize("yaw", [-50, -30, -15, 15, 30, 50])
def test_yaw_within_ten_degrees(yaw: float) -> None:
    assert pose(head(yaw=yaw)).yaw == pytest.approx(yaw, abs=12)


@pytest.mark.parametrize("pitch", [-30, -15, 15, 30])
def test_pitch_within_ten_degrees(pitch: float) -> None:
    assert pose(head(pitch=pitch)).pitch == pytest.approx(pitch, abs=10)


@given(st.floats(-40, 40), st.floats(-40, 40))
def test_a_tilted_head_turns_the_same(roll: float, yaw: float) -> None:
    upright, tilted = pose(head(yaw=yaw)), pose(head(yaw=yaw, roll=roll))
    assert tilted.yaw == pytest.approx(upright.yaw, abs=0.1)
    assert tilted.roll - upright.roll == pytest.approx(roll, abs=0.1)


@given(st.floats(0, 55), st.floats(0, 5))
def test_turning_further_never_reads_as_less(yaw: float, more: float) -> None:
    assert pose(head(yaw=yaw + more)).yaw >= pose(head(yaw=yaw)).yaw - 1e-6


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=12, max_size=12))
def test_nonsense_gives_no_pose_or_a_finite_one(numbers: list[float]) -> None:
    points = KeyPoints(*(Point(x, y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)))
    found = head_pose(points, 4 / 3)
    assert found is None or all(math.isfinite(v) for v in (found.yaw, found.pitch, found.roll))


def looking(settings: AttentionSettings, points: KeyPoints | None) -> list[dict[str, float]]:
    frame = Frame(np.zeros((480, 640), np.uint8), PixelFormat.GRAY, 640, 480, 2.0, 30)
    tracked = TrackedFace("a", Face(Box(0.4, 0.4, 0.2, 0.2), 0.9, points), 0.0)
    found = AttentionAnalyzer(settings).analyze(frame, [tracked])
    assert all((o.name, o.track, o.time) == (ATTENTION, "a", 2.0) for o in found)
    return [dict(o.values) for o in found]


def test_a_frontal_face_looks_and_a_turned_one_does_not() -> None:
    (straight,) = looking(AttentionSettings(), head())
    (away,) = looking(AttentionSettings(), head(yaw=50))
    assert straight["looking"] == 1
    assert straight["score"] > 0.95
    assert away["looking"] == 0
    assert away["score"] < 0.1


def test_the_direction_of_the_screen_can_be_configured() -> None:
    beside = AttentionSettings(yaw_deg=40)
    assert looking(beside, head())[0]["looking"] == 0
    assert looking(beside, head(yaw=40))[0]["looking"] == 1


def test_without_key_points_nothing_is_said() -> None:
    assert looking(AttentionSettings(), None) == []


def test_the_plugin_registers_an_analyzer_that_checks_itself() -> None:
    (spec,) = edge_agent_register_analyzers()
    analyzer = spec.factory(spec.settings(), None)  # type: ignore[arg-type]
    analyzer.self_check()
    analyzer.close()


def attend(yaw: float, gaze: dict[str, float] | None, **options: float) -> dict[str, float]:
    """What is said of a head turned by ``yaw`` whose eyes are measured as ``gaze``."""
    observed = {} if gaze is None else {GAZE: gaze}
    face = TrackedFace("a", Face(Box(0.4, 0.4, 0.2, 0.3), 0.9, head(yaw)), 0.0, observed=observed)
    frame = Frame(np.zeros((480, 640), np.uint8), PixelFormat.GRAY, 640, 480, 0.0, 0)
    (found,) = AttentionAnalyzer(AttentionSettings(**options)).analyze(frame, [face])
    return dict(found.values)


def test_eyes_decide_where_they_are_sure() -> None:
    """A head turned away whose eyes look into the camera attends; one turned to it whose eyes look aside does not."""
    glance = attend(35, {"yaw": 3.0, "pitch": -2.0, "sure": 1.0})
    aside = attend(0, {"yaw": 24.0, "pitch": 0.0, "sure": 1.0})
    assert (glance["looking"], glance["eyes"]) == (1.0, 1.0)
    assert (aside["looking"], aside["eyes"]) == (0.0, 1.0)


@pytest.mark.parametrize("gaze", [None, {"yaw": 40.0, "pitch": 0.0, "sure": 0.0}])
def test_the_head_decides_where_the_eyes_are_not_sure(gaze: dict[str, float] | None) -> None:
    assert attend(0, gaze) == pytest.approx({**attend(0, None), "eyes": 0.0})
    assert attend(0, gaze)["looking"] == 1.0


def test_eyes_have_a_cone_of_their_own_and_the_same_target() -> None:
    aside = {"yaw": 24.0, "pitch": 0.0, "sure": 1.0}
    assert attend(0, aside, eyes_cone_deg=30)["looking"] == 1.0
    assert attend(0, aside, yaw_deg=22)["looking"] == 1.0
