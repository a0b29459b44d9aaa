"""Rendered faces: the labels, the truth about pose and gaze, and that they look like faces to the shipped model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent.domain.errors import MediaError
from training.emotion.dataset import CLASSES
from training.emotion.faces import acted, expressions, paint, render
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


def sitter(side: int = acted.LARGE) -> acted.Sitter:
    """A striped picture that lies on the front of the head, 37 pixels for an eye distance, as in FER+."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    x, y = (columns - side / 2) / 37, (side / 2 - rows) / 37 - 0.56
    across = (x - acted.ACROSS[0]) / (acted.ACROSS[1] - acted.ACROSS[0]) * (acted.CELLS - 1)
    down = (y - acted.DOWN[0]) / (acted.DOWN[1] - acted.DOWN[0]) * (acted.CELLS - 1)
    inside = (np.abs(x) < 0.9).astype(np.float32)
    stripes = (0.5 + 0.4 * np.sin(y * 12)).astype(np.float32)
    mouth = ((np.abs(x) < 0.6) & (y < -0.75)).astype(np.float32)
    return acted.Sitter(stripes, across, down, inside, mouth, np.float32([[37, 0, 0], [0, -37, 0]]))


def test_a_photograph_moves_as_the_head_does(head: Head) -> None:
    front, rng, still = acted.Front(head), np.random.default_rng(0), np.ones((acted.CELLS, acted.CELLS), np.float32)
    weights = {"browDown_L": 1.0, "browDown_R": 1.0}
    frown = expressions.Act("anger", 1.0, weights, expressions.target("anger", 1.0))
    move, shade = front.moved(frown, rng)
    assert 0.2 < shade.min() <= shade.max() <= 1.25
    before = acted.edited(sitter(), np.zeros_like(move), still, rng).astype(int)
    after = acted.edited(sitter(), move, still, rng).astype(int)
    brow, chin, beside = (slice(4, 10), slice(14, 34)), (slice(40, 47), slice(16, 32)), (slice(0, 48), slice(0, 6))
    assert np.abs(after[brow] - before[brow]).mean() > 10
    assert np.abs(after[chin] - before[chin]).mean() < 3
    assert (after[beside] == before[beside]).all()
    # Moved down: the row above, not the one below, is what comes.
    errors = [np.abs(np.roll(before, by, 0)[brow] - after[brow]).mean() for by in (-1, 1)]
    assert errors[1] < errors[0]


def test_parted_lips_show_the_inside_of_the_mouth(head: Head) -> None:
    front, rng = acted.Front(head), np.random.default_rng(0)
    gape = expressions.Act("surprise", 1.0, {"jawOpen": 1.4}, expressions.target("surprise", 1.0))
    move, shade = front.moved(gape, rng)
    picture = np.full((acted.LARGE, acted.LARGE), 0.8, np.float32)
    picture[:, :8] = 0.1  # beside the face, and as dark as it gets
    dark = acted.edited(replace(sitter(), image=picture), move, np.ones_like(shade), rng)[:, 8:] < 190
    rows, columns = np.nonzero(dark)
    assert 20 < len(rows) < 400
    assert abs(columns.mean() + 8 - 23.5) < 2
    assert rows.min() > 25


def test_a_photograph_without_a_face_is_no_sitter(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acted, "TfliteModel", lambda _path: lambda _x: [np.zeros((1, 1404), np.float32), np.zeros(1)])
    with pytest.raises(MediaError, match="no face is found in any of 3 photographs"):
        acted.Sitters(FACEKIT, heads.landmarks(FACEKIT)[17:], np.zeros((3, 48, 48), np.uint8))
