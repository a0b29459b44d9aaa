"""Rendered faces: the labels, the truth about pose and gaze, and that they look like faces to the shipped model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.emotion.dataset import CLASSES
from training.emotion.faces import expressions, paint, render
from training.emotion.faces import head as heads
from training.emotion.faces.head import Head
from training.emotion.faces.raster import drawn

FACEKIT = Path(__file__).resolve().parents[4] / "shared" / "data" / "facekit" / "ict_facekit.npz"


@pytest.fixture(scope="module")
def head() -> Head:
    if not FACEKIT.is_file():
        pytest.skip("needs ../shared/data/facekit (the head model, which is not part of the repository)")
    return heads.load(FACEKIT)


def test_a_target_is_a_distribution_that_depends_on_the_intensity() -> None:
    for label in CLASSES:
        faint, strong = expressions.target(label, 0.2), expressions.target(label, 1.0)
        for p in (faint, strong):
            assert p.sum() == pytest.approx(1, abs=1e-5)
            assert p.min() > 0
        assert CLASSES[int(strong.argmax())] == label
        if label != "neutral":
            assert faint[0] > strong[0]
            assert faint[CLASSES.index(label)] < strong[CLASSES.index(label)]


def test_a_triangle_is_drawn_where_it_is_and_the_nearer_one_is_seen() -> None:
    points = np.float32(
        [[2, 2, 0], [2, 8, 0], [8, 8, 0], [2, 2, 1], [2, 5, 1], [5, 5, 1], [14, 2, 0], [14, 8, 0], [8, 2, 0]]
    )
    values = np.float32([1, 1, 1, 5, 5, 5, 9, 9, 9])
    picture = np.zeros((16, 16), np.float32)
    triangles = np.int32([[0, 1, 2], [3, 4, 5], [7, 6, 8][::-1]])  # the last one faces away
    hit = drawn(picture, points, values, triangles, np.zeros(3, bool))
    assert picture[6, 4] == pytest.approx(1)
    assert picture[4, 2] == pytest.approx(5)
    assert not hit[3, 12]
    assert 18 <= hit.sum() <= 26  # half of 6 x 6, and the edge
    assert drawn(picture, points, values, triangles, np.ones(3, bool)).sum() > hit.sum() + 15


def test_every_prototype_names_shapes_of_the_head(head: Head) -> None:
    for prototypes in expressions.PROTOTYPES.values():
        for prototype in prototypes:
            assert all(head.sides(name) for name in prototype)
    folding = {name for _, shapes in paint.LINES for name in shapes}
    assert all(head.sides(name) for name in folding)
    with pytest.raises(KeyError, match="no expression shape is called smirk"):
        head.sides("smirk")


def test_the_head_is_found_where_a_face_has_its_parts(head: Head) -> None:
    teeth, eyes = head.neutral[head.of("M_Teeth")].mean(0), head.neutral[head.of("M_IrisLeft")].mean(0)
    assert teeth[1] == pytest.approx(-1.05, abs=0.1)
    assert eyes == pytest.approx([0.5, 0, 0], abs=0.05)
    assert 100 < head.iris.sum() < 2000
    open_mouth = head.posed({"jawOpen": 1.0}, np.zeros(len(head.identities), np.float32))
    assert (open_mouth - head.neutral)[:, 1].min() < -0.3
    normals = head.normals(head.neutral)
    nose = head.neutral[:, 2].argmax()
    assert normals[nose, 2] > 0.5


def test_a_seed_gives_the_same_faces_and_another_seed_other_ones(head: Head) -> None:
    first, again, other = (render.collect(head, 8, seed) for seed in (7, 7, 8))
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["images"], other["images"])
    assert first["images"].shape == (8, 48, 48)
    assert first["images"].dtype == np.uint8
    assert [CLASSES[k] for k in first["labels"]] == list(CLASSES)
    assert first["strengths"][0] == 0
    assert first["strengths"][1:].min() >= 0.25
    assert min(image.std() for image in first["images"]) > 8


def test_the_truth_about_pose_is_in_the_picture(head: Head) -> None:
    def turned(degrees: float) -> np.ndarray:
        radians = np.radians(degrees)
        c, s = np.cos(radians), np.sin(radians)
        rotation = np.float32([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        pose = render.Pose(rotation, degrees, 0, 8.0, 40.0, np.zeros(2))
        return pose.seen(head.neutral, 96)[1][head.neutral[:, 2].argmax()]  # the tip of the nose

    assert turned(20)[0] > turned(0)[0] + 5  # the person's left is the picture's right
    assert turned(0)[0] == pytest.approx(48, abs=1)


def test_the_command_writes_what_training_reads(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.heads, "load", lambda path: head)
    command = (
        f"render --facekit {FACEKIT} --count 64 --seed 3 --side 32 --out {tmp_path}/f.npz --sheet {tmp_path}/f.png"
    )
    monkeypatch.setattr("sys.argv", command.split())
    render.main()
    with np.load(tmp_path / "f.npz") as made:
        assert made["images"].shape == (64, 32, 32)
        assert made["targets"].shape == (64, len(CLASSES))
        assert set(made) == {"images", "targets", "labels", "strengths", "yaw", "pitch", "gaze"}
    assert (tmp_path / "f.png").stat().st_size > 10_000
