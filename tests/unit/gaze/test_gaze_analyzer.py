"""Reading the gaze of a photographed face with the real networks: what is said, how often, and when nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as pictures

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import Box, Face, KeyPoints, Point, TrackedFace
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.domain.observation import FACEMESH, GAZE
from edge_agent.models import Catalogue, ModelStore
from edge_agent.plugin import AnalyzerContext
from edge_agent_gaze import GazeSettings
from edge_agent_gaze.analyzer import GazeAnalyzer

FACE = Face(
    Box(0.350, 0.159, 0.181, 0.181),
    0.92,
    KeyPoints(
        Point(0.401, 0.196), Point(0.487, 0.212), Point(0.437, 0.242), Point(0.431, 0.282), Point(0.348, 0.213),
        Point(0.529, 0.244),
    ),
)  # fmt: skip
"""What BlazeFace finds in the astronaut's photograph, 93 pixels wide."""

Make = Callable[..., GazeAnalyzer]


@pytest.fixture(scope="module")
def make(model_store: ModelStore) -> Make:
    return lambda **options: GazeAnalyzer(GazeSettings(**options), AnalyzerContext(model_store))


def photo(time: float = 0.0, layout: PixelFormat = PixelFormat.BGR) -> Frame:
    bgr = np.ascontiguousarray(pictures.astronaut()[..., ::-1])
    codes = {PixelFormat.GRAY: cv2.COLOR_BGR2GRAY, PixelFormat.I420: cv2.COLOR_BGR2YUV_I420}
    image = cv2.cvtColor(bgr, codes[layout]) if layout in codes else bgr
    return Frame(image, layout, 512, 512, time, 0)


def tracked(track: str = "a", face: Face = FACE) -> TrackedFace:
    return TrackedFace(track, face, 0.0)


@pytest.mark.parametrize("layout", list(PixelFormat))
def test_the_astronaut_turned_a_little_and_smiling_with_open_eyes(make: Make, layout: PixelFormat) -> None:
    (found,) = make().analyze(photo(layout=layout), [tracked()])
    assert (found.name, found.track) == (GAZE, "a")
    values = found.values
    assert abs(values["head_yaw"]) < 20
    assert abs(values["head_pitch"]) < 20
    assert values["head_roll"] == pytest.approx(3.5, abs=3)
    assert abs(values["yaw"]) < 20
    assert values["eyes_open"] > 0.5
    assert 0 <= values["mouth_open"] <= 1
    assert values["sure"] in (0.0, 1.0)


def test_the_points_lie_on_the_face_and_the_irises_in_the_eyes(make: Make) -> None:
    found = {o.name: o.values for o in make(mesh=True).analyze(photo(), [tracked()])}
    points = np.array(list(found[FACEMESH].values())).reshape(478, 3)
    assert list(found[FACEMESH])[:4] == ["x0", "y0", "z0", "x1"]
    assert points[:, :2].min(axis=0) == pytest.approx([180, 80], abs=25)
    assert points[468, :2] == pytest.approx([203, 101], abs=2), "read off the enlarged photograph"
    assert points[473, :2] == pytest.approx([246.5, 103], abs=2)


def test_each_track_is_read_at_its_rate_and_the_last_reading_holds(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    analyzer, reads = make(per_second=2.0), []
    run = analyzer._mesh
    monkeypatch.setattr(analyzer, "_mesh", lambda frame, face: (reads.append(frame.time), run(frame, face))[1])
    told = [analyzer.analyze(photo(k / 5), [tracked()]) for k in range(11)]
    assert reads == [0.0, 0.6, 1.2, 1.8]
    assert all(len(found) == 1 for found in told)
    assert told[1][0].values == told[0][0].values
    assert told[1][0].time == 0.2
    analyzer.analyze(photo(2.0), [tracked(), tracked("b")])
    assert reads[-1] == 2.0, "a new track is read at once"


def test_small_faces_cost_nothing_and_a_lost_track_is_forgotten(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    analyzer = make()
    analyzer.analyze(photo(0.0), [tracked()])
    monkeypatch.setattr(analyzer, "_mesh", lambda *_: pytest.fail("no network may run"))
    small = replace(FACE, box=Box(0.35, 0.16, 0.15, 0.15))
    assert analyzer.analyze(photo(0.1), [tracked("c", small)]) == []
    assert analyzer.analyze(photo(0.1), []) == []
    assert analyzer.analyze(photo(9.0), []) == []
    assert analyzer._readings == {}


def test_what_is_no_face_is_not_read(make: Make) -> None:
    grey = Frame(np.full((512, 512, 3), 128, np.uint8), PixelFormat.BGR, 512, 512, 0.0, 0)
    assert make().analyze(grey, [tracked()]) == []


def test_a_face_without_key_points_and_beyond_the_edge_is_read(make: Make) -> None:
    beyond = Face(Box(-0.2, 0.8, 0.4, 0.4), 0.9)
    assert len(make().analyze(photo(), [tracked("a", replace(FACE, keypoints=None)), tracked("b", beyond)])) >= 1


def test_without_its_models_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="models pull face-mesh"):
        GazeAnalyzer(GazeSettings(), AnalyzerContext(ModelStore(tmp_path, Catalogue.load())))
