"""The shipped emotion model through the analyzer: one public-domain photograph of a smiling face in many disguises."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError
from skimage import data

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import Box, Face, KeyPoints, Point, TrackedFace
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.domain.observation import EMOTION, EMOTIONS, Observation
from edge_agent.models import Catalogue, ModelStore
from edge_agent.plugin import AnalyzerContext
from edge_agent_emotion import EmotionSettings, Prior, edge_agent_register_analyzers
from edge_agent_emotion.analyzer import SIDE, EmotionAnalyzer, EmotionModel, Expectation, softmax

Image = npt.NDArray[np.uint8]

FACE = Face(
    Box(0.350, 0.159, 0.181, 0.181),
    0.92,
    KeyPoints(
        Point(0.401, 0.196),
        Point(0.487, 0.212),
        Point(0.437, 0.242),
        Point(0.431, 0.282),
        Point(0.348, 0.213),
        Point(0.529, 0.244),
    ),
)
"""Where BlazeFace finds the face in the photograph."""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> AnalyzerContext:
    """An empty store: the model comes with the package."""
    return AnalyzerContext(ModelStore(tmp_path_factory.mktemp("models"), Catalogue.load()))


@pytest.fixture(scope="module")
def analyzer(context: AnalyzerContext) -> EmotionAnalyzer:
    return EmotionAnalyzer(EmotionSettings(), context)


@pytest.fixture(scope="module")
def photograph() -> Image:
    return np.ascontiguousarray(data.astronaut()[:, :, ::-1])


def read(analyzer: EmotionAnalyzer, frame: Frame, face: Face = FACE) -> Observation:
    (observation,) = analyzer.analyze(frame, [TrackedFace("t1", face, 0.0)])
    return observation


def test_a_smile_is_happiness(analyzer: EmotionAnalyzer, photograph: Image) -> None:
    found = read(analyzer, Frame.from_bgr(photograph, 12.5, 0))
    assert (found.name, found.track, found.time) == (EMOTION, "t1", 12.5)
    assert tuple(found.values) == EMOTIONS
    assert sum(found.values.values()) == pytest.approx(1)
    assert found.values["happiness"] > 0.8


def test_the_memory_layout_of_the_picture_makes_no_difference(analyzer: EmotionAnalyzer, photograph: Image) -> None:
    grey = cv2.cvtColor(photograph, cv2.COLOR_BGR2GRAY)
    planes = cv2.cvtColor(photograph, cv2.COLOR_BGR2YUV_I420)
    frames = [
        Frame.from_bgr(photograph, 0.0, 0),
        Frame(np.asarray(grey, np.uint8), PixelFormat.GRAY, 512, 512, 0.0, 0),
        Frame(np.asarray(planes, np.uint8), PixelFormat.I420, 512, 512, 0.0, 0),
    ]
    first, *others = (np.array(list(read(analyzer, frame).values.values())) for frame in frames)
    for other in others:
        assert np.abs(other - first).max() < 0.1


@pytest.mark.parametrize("degrees", [-25, 25])
def test_a_tilted_head_is_levelled_by_the_eyes(analyzer: EmotionAnalyzer, photograph: Image, degrees: float) -> None:
    turn = cv2.getRotationMatrix2D((256, 256), degrees, 1.0)
    tilted = np.asarray(cv2.warpAffine(photograph, turn, (512, 512)), np.uint8)

    def moved(x: float, y: float) -> Point:
        px, py = turn @ (x * 512, y * 512, 1)
        return Point(px / 512, py / 512)

    assert FACE.keypoints is not None
    names = ("right_eye", "left_eye", "nose", "mouth", "right_ear", "left_ear")
    points = KeyPoints(*(moved(p.x, p.y) for p in (getattr(FACE.keypoints, name) for name in names)))
    centre = moved(FACE.box.centre.x, FACE.box.centre.y)
    box = replace(FACE.box, x=centre.x - FACE.box.w / 2, y=centre.y - FACE.box.h / 2)
    found = read(analyzer, Frame.from_bgr(tilted, 0.0, 0), replace(FACE, box=box, keypoints=points))
    assert found.values["happiness"] > 0.8


@pytest.mark.parametrize("shift", [(0.02, 0.0), (-0.02, 0.0), (0.0, 0.02), (0.0, -0.02)])
def test_a_detector_that_is_a_little_off_does_not_change_the_answer(
    analyzer: EmotionAnalyzer, photograph: Image, shift: tuple[float, float]
) -> None:
    box = replace(FACE.box, x=FACE.box.x + shift[0], y=FACE.box.y + shift[1])
    found = read(analyzer, Frame.from_bgr(photograph, 0.0, 0), replace(FACE, box=box))
    assert max(found.values, key=found.values.__getitem__) == "happiness"


def test_a_face_that_is_small_or_uncertain_is_not_judged(context: AnalyzerContext, photograph: Image) -> None:
    analyzer = EmotionAnalyzer(EmotionSettings(min_face_px=30, min_score=0.5), context)
    frame = Frame.from_bgr(photograph, 0.0, 0)
    wide = 30 / 512
    faces = {
        "judged": replace(FACE, box=Box(0.4, 0.2, wide + 1e-6, wide), score=0.5),
        "small": replace(FACE, box=Box(0.4, 0.2, wide - 1e-3, wide), score=0.5),
        "uncertain": replace(FACE, score=0.49),
    }
    found = analyzer.analyze(frame, [TrackedFace(name, face, 0.0) for name, face in faces.items()])
    assert [observation.track for observation in found] == ["judged"]
    assert analyzer.analyze(frame, []) == []


def test_every_face_is_read_separately(analyzer: EmotionAnalyzer, photograph: Image) -> None:
    wall = Face(Box(0.7, 0.6, 0.2, 0.2), 0.9)
    found = analyzer.analyze(
        Frame.from_bgr(photograph, 0.0, 0), [TrackedFace("wall", wall, 0.0), TrackedFace("person", FACE, 0.0)]
    )
    assert [observation.track for observation in found] == ["wall", "person"]
    assert found[0].values != found[1].values


def test_the_self_check_passes_and_a_missing_model_is_reported(analyzer: EmotionAnalyzer) -> None:
    analyzer.self_check()

    class Nothing:
        def locate(self, name: str) -> Path:
            raise ModelError(f"{name} is not installed")

    with pytest.raises(ModelError, match="emotion is not installed"):
        EmotionAnalyzer(EmotionSettings(), AnalyzerContext(Nothing()))


def test_a_model_that_gives_nonsense_fails_the_self_check(context: AnalyzerContext) -> None:
    analyzer = EmotionAnalyzer(EmotionSettings(), context)
    for nonsense in (np.zeros(7), np.full(8, np.nan)):
        analyzer._model = lambda crop, p=nonsense: p  # type: ignore[assignment]
        with pytest.raises(ModelError, match="instead of 8 probabilities"):
            analyzer.self_check()


def test_softmax_is_a_distribution_however_large_the_logits() -> None:
    rng = np.random.default_rng(0)
    for scale in (0.01, 1.0, 1e3, 1e30):
        p = softmax((rng.normal(size=(5, 8)) * scale).astype(np.float32))
        assert np.isfinite(p).all()
        assert p.sum(axis=-1) == pytest.approx(1)
    assert softmax(np.float32([[0.0, math.log(3)]])) == pytest.approx(np.array([[0.25, 0.75]]))


@pytest.mark.parametrize("prior", get_args(Prior))
def test_every_prior_answers_with_a_distribution(context: AnalyzerContext, photograph: Image, prior: Prior) -> None:
    analyzer = EmotionAnalyzer(EmotionSettings(prior=prior), context)
    p = read(analyzer, Frame.from_bgr(photograph, 0.0, 0)).values
    assert sum(p.values()) == pytest.approx(1)
    assert p["happiness"] > 0.7


def test_the_less_prior_the_likelier_what_is_rare(context: AnalyzerContext) -> None:
    doubtful = np.full((SIDE, SIDE), 128, np.uint8)
    logits = EmotionModel(context).logits(doubtful)
    rare = [sum(Expectation.bundled(prior)(logits)[5:]) for prior in ("trained", "between", "balanced")]
    assert rare[0] < rare[1] < rare[2]
    np.testing.assert_allclose(EmotionModel(context, "balanced")(doubtful), Expectation.bundled("balanced")(logits))


def test_without_the_prior_the_evidence_is_left() -> None:
    frequency = np.array([0.5, 0.3, 0.1, 0.04, 0.03, 0.01, 0.01, 0.01])
    evidence = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 1.0, 1.0])
    p = Expectation(frequency, 1.0, 1.0)(np.log(frequency * evidence))
    np.testing.assert_allclose(p, evidence / evidence.sum())


def test_options_have_bounds() -> None:
    for options in ({"min_face_px": 3}, {"min_score": 1.5}, {"min_fase_px": 30}, {"prior": "flat"}):
        with pytest.raises(ValidationError):
            EmotionSettings.model_validate(options)


def test_the_plugin_registers_one_face_analyzer_with_its_bundled_model() -> None:
    (spec,) = edge_agent_register_analyzers()
    assert (spec.name, spec.kind.value, list(spec.models(EmotionSettings()))) == ("emotion", "face", ["emotion"])
    assert SIDE == 48
