"""The face detector with its real models: on a public-domain photograph, and on recordings and FER+ where they are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from pydantic import Field
from skimage.data import astronaut

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import Face
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.models import Catalogue, ModelStore, TfliteModel
from edge_agent.plugin import AnalyzerContext, FaceDetector, imaging
from edge_agent.plugin.testing import CHECKS, Subject
from edge_agent_face import FaceSettings, Range, edge_agent_register_analyzers
from edge_agent_face.blazeface import VARIANTS, BlazeFace

RANGES: Sequence[Range] = ("near", "far", "auto")


@pytest.fixture(scope="session")
def photograph() -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(astronaut()[:, :, ::-1])


@pytest.fixture
def context(model_store: ModelStore) -> AnalyzerContext:
    return AnalyzerContext(model_store)


def make(context: AnalyzerContext, **settings: object) -> FaceDetector:
    (spec,) = edge_agent_register_analyzers()
    return spec.factory(spec.settings(**settings), context)  # type: ignore[return-value]


def in_format(bgr: npt.NDArray[np.uint8], pixel_format: PixelFormat) -> Frame:
    frame = Frame.from_bgr(bgr, 0.0, 0)
    if pixel_format is PixelFormat.BGR:
        return frame
    code = cv2.COLOR_BGR2GRAY if pixel_format is PixelFormat.GRAY else cv2.COLOR_BGR2YUV_I420
    return replace(frame, data=cv2.cvtColor(bgr, code), format=pixel_format)


def place(picture: npt.NDArray[np.uint8], width: int, height: int, x: int, y: int) -> Frame:
    canvas = np.full((height, width, 3), 90, np.uint8)
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return Frame.from_bgr(canvas, 0.0, 0)


class TestPhotograph:
    """One smiling face, seen from many sides."""

    @pytest.mark.parametrize("pixel_format", list(PixelFormat))
    def test_near_finds_it(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8], pixel_format: PixelFormat
    ) -> None:
        (face,) = make(context).detect(in_format(photograph, pixel_format))
        expected = {PixelFormat.BGR: 0.92, PixelFormat.I420: 0.92, PixelFormat.GRAY: 0.84}[pixel_format]
        assert face.score == pytest.approx(expected, abs=0.02)
        assert (face.box.centre.x, face.box.centre.y) == (pytest.approx(0.44, abs=0.02), pytest.approx(0.25, abs=0.02))
        assert face.box.w == pytest.approx(0.18, abs=0.015)

    def test_far_finds_it(self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8]) -> None:
        (face,) = make(context, range="far").detect(Frame.from_bgr(photograph, 0.0, 0))
        (near,) = make(context).detect(Frame.from_bgr(photograph, 0.0, 0))
        assert face.score > 0.85
        assert face.box.iou(near.box) > 0.6

    @pytest.mark.parametrize("face_range", RANGES)
    def test_key_points_are_where_they_belong(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8], face_range: Range
    ) -> None:
        (face,) = make(context, range=face_range).detect(Frame.from_bgr(photograph, 0.0, 0))
        assert face.keypoints is not None
        points = face.keypoints
        assert points.right_ear.x < points.right_eye.x < points.nose.x < points.left_eye.x < points.left_ear.x
        assert max(points.right_eye.y, points.left_eye.y) < points.nose.y < points.mouth.y
        for x, y, point in (
            (0.395, 0.205, points.right_eye),
            (0.485, 0.21, points.left_eye),
            (0.43, 0.285, points.mouth),
        ):
            assert math.hypot(point.x - x, point.y - y) < 0.015

    @pytest.mark.parametrize(("width", "height"), [(640, 520), (520, 900), (1280, 720)])
    def test_position_does_not_depend_on_the_shape_of_the_frame(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8], width: int, height: int
    ) -> None:
        (face,) = make(context, range="far").detect(place(photograph, width, height, 0, height - 512))
        assert face.box.centre.x * width == pytest.approx(0.44 * 512, abs=10)
        assert face.box.centre.y * height == pytest.approx(height - 512 + 0.235 * 512, abs=10)
        assert face.box.w * width == pytest.approx(face.box.h * height, rel=0.02)

    @pytest.mark.parametrize("face_range", RANGES)
    @pytest.mark.parametrize("degrees", [-45, -30, -15, 15, 30, 45])
    def test_tilted_head_is_levelled(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8], face_range: Range, degrees: float
    ) -> None:
        detector = make(context, range=face_range)

        def look(picture: npt.NDArray[np.uint8]) -> tuple[float, list[npt.NDArray[np.uint8]]]:
            """Roll in degrees, and the expression crop as it is and levelled."""
            frame = Frame.from_bgr(picture, 0.0, 0)
            face = detector.detect(frame)[0]
            roll = imaging.roll(face, frame)
            boxes = [(imaging.expression_box(face.box, frame, angle), angle) for angle in (0.0, roll)]
            return math.degrees(roll), [imaging.crop_gray(frame, box, 48, angle) for box, angle in boxes]

        turn = cv2.getRotationMatrix2D((225, 128), -degrees, 1)
        before, (upright, _) = look(photograph)
        after, (crooked, levelled) = look(cv2.warpAffine(photograph, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE))
        assert after - before == pytest.approx(degrees, abs=13)  # the eyes are 12 pixels apart in the input

        def likeness(crop: npt.NDArray[np.uint8]) -> float:
            return float(np.corrcoef(upright.ravel(), crop.ravel())[0, 1])

        assert likeness(levelled) > likeness(crooked) + (0.05 if abs(degrees) < 30 else 0.15)

    def test_most_certain_first_and_no_more_than_asked_for(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8]
    ) -> None:
        head = photograph[20:250, 120:350]
        three = np.hstack([cv2.GaussianBlur(head, (0, 0), 3), head, cv2.flip(head, 1)])
        frame = place(three, 690, 400, 0, 100)
        faces = make(context, range="far", min_score=0.3).detect(frame)
        assert len(faces) == 3
        assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
        assert make(context, range="far", min_score=0.3, max_faces=2).detect(frame) == faces[:2]

    def test_small_faces_can_be_left_out(self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8]) -> None:
        frame = Frame.from_bgr(photograph, 0.0, 0)
        assert len(make(context, min_face=0.15).detect(frame)) == 1
        assert make(context, min_face=0.25).detect(frame) == []

    @pytest.mark.parametrize("face_range", RANGES)
    def test_nothing_is_found_in_nothing(self, context: AnalyzerContext, face_range: Range) -> None:
        detector = make(context, range=face_range)
        # The last is what a camera with its lens cap on delivers.
        noise = np.random.default_rng(0).normal(14, 7, (480, 640, 3)).clip(0, 255).astype(np.uint8)
        for picture in (np.zeros_like(noise), np.full_like(noise, 255), noise):
            assert detector.detect(Frame.from_bgr(picture, 0.0, 0)) == []


class TestLifeCycle:
    """Making, checking and refusing."""

    @pytest.mark.parametrize("face_range", RANGES)
    def test_self_check_passes(self, context: AnalyzerContext, face_range: Range) -> None:
        detector = make(context, range=face_range)
        detector.self_check()
        detector.close()

    def test_spec_names_the_model_of_the_range(self) -> None:
        (spec,) = edge_agent_register_analyzers()
        near, far = "blazeface-short", "blazeface-full"
        assert [spec.models(FaceSettings(range=r)) for r in RANGES] == [(near,), (far,), (near, far)]

    def test_a_missing_model_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="blazeface-short is not installed: run"):
            make(AnalyzerContext(ModelStore(tmp_path, Catalogue.load())))

    def test_another_model_is_refused(self, model_store: ModelStore) -> None:
        with pytest.raises(ModelError, match="not blazeface-full: its outputs have the shapes"):
            BlazeFace(VARIANTS["far"], TfliteModel(model_store.locate("blazeface-short")))


def crowd(photograph: npt.NDArray[np.uint8], width: int = 1280) -> npt.NDArray[np.uint8]:
    """A wide room with three faces about 50 pixels wide in it, as seen from 5 m."""
    room = np.full((720, width, 3), 90, np.uint8)
    head = cv2.resize(photograph[0:400, 60:400], (200, 235), interpolation=cv2.INTER_AREA)
    mask = np.zeros((*head.shape[:2], 1), np.float32)
    mask[12:-12, 12:-12] = 1
    mask[:, :, 0] = cv2.GaussianBlur(mask[:, :, 0], (0, 0), 5)
    for x, y in ((60, 40), (590, 350), (1000, 400)):
        place = room[y : y + 235, x : x + 200]
        place[:] = (place * (1 - mask) + head * mask).astype(np.uint8)
    return room


class TestAuto:
    """Faces too small for one look at the whole are found by looks at parts, and only there are looks spent."""

    @pytest.mark.parametrize("pixel_format", list(PixelFormat))
    def test_small_faces_are_found(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8], pixel_format: PixelFormat
    ) -> None:
        picture = crowd(photograph)
        frame = in_format(picture, pixel_format)
        assert make(context, min_score=0.5).detect(frame) == []
        assert len(make(context, range="far", min_score=0.5).detect(frame)) < 2
        faces = make(context, range="auto", min_score=0.5).detect(frame)
        places = sorted((round(face.box.centre.x, 2), round(face.box.centre.y, 2)) for face in faces)
        expected = [(0.123, 0.16), (0.537, 0.59), (0.857, 0.66)]
        if pixel_format is PixelFormat.GRAY:  # colour helps: without it the one at the edge is missed
            expected = expected[1:]
        assert [p for pair in places for p in pair] == pytest.approx([p for pair in expected for p in pair], abs=0.03)
        points = faces[0].keypoints
        assert points is not None
        assert points.right_eye.x < points.nose.x < points.left_eye.x

    def test_they_are_kept_while_nothing_moves(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8]
    ) -> None:
        detector = make(context, range="auto", min_score=0.5)
        for k in range(5):
            assert len(detector.detect(replace(Frame.from_bgr(crowd(photograph), 0.2 * k, k)))) == 3

    def test_a_person_entering_an_examined_room_is_found(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8]
    ) -> None:
        detector, room = make(context, range="auto", min_score=0.5), np.full((720, 1280, 3), 90, np.uint8)
        assert [len(detector.detect(Frame.from_bgr(room, 0.2 * k, k))) for k in range(4)] == [0] * 4
        assert len(detector.detect(Frame.from_bgr(crowd(photograph), 0.8, 4))) == 3

    def test_another_picture_size_or_an_earlier_time_starts_afresh(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8]
    ) -> None:
        detector, room = make(context, range="auto", min_score=0.5), np.full((720, 1280, 3), 90, np.uint8)
        for k in range(3):
            detector.detect(Frame.from_bgr(room, 9 + 0.2 * k, k))
        assert len(detector.detect(Frame.from_bgr(crowd(photograph, 1276), 9.6, 3))) == 3
        assert len(detector.detect(Frame.from_bgr(crowd(photograph), 0.0, 0))) == 3

    def test_one_face_near_costs_no_second_look(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8]
    ) -> None:
        """Once the rest of the room was examined, ``auto`` is as fast as ``near``: it gives the very same face."""
        frame = place(photograph, 640, 520, 0, 8)
        (near,) = make(context).detect(frame)
        detector = make(context, range="auto")
        for k in range(8):
            found = detector.detect(replace(frame, time=0.3 * k, index=k))
        assert found == [near]

    def test_more_looks_at_once_can_be_allowed(
        self, context: AnalyzerContext, photograph: npt.NDArray[np.uint8]
    ) -> None:
        frame = Frame.from_bgr(crowd(photograph), 0.0, 0)
        assert len(make(context, range="auto", min_score=0.5, extra_looks=1).detect(frame)) in {1, 2}
        assert len(make(context, range="auto", min_score=0.5, extra_looks=2).detect(frame)) == 3


class AutoSettings(FaceSettings):
    """As an operator who chose it; the contract suite makes settings without arguments."""

    range: Range = Field(default="auto", description="chosen")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_auto_keeps_the_contract_too(check: Callable[[Subject], None], context: AnalyzerContext) -> None:
    (spec,) = edge_agent_register_analyzers()
    check(Subject("edge_agent_face", replace(spec, settings=AutoSettings), context))


def frames(path: Path, every: int, pixel_format: str = "bgr24") -> Iterator[Frame]:
    with av.open(str(path)) as container:
        for index, picture in enumerate(container.decode(video=0)):
            if index % every == 0:
                form = PixelFormat.BGR if pixel_format == "bgr24" else PixelFormat.I420
                data = picture.to_ndarray(format=pixel_format)
                yield Frame(data, form, picture.width, picture.height, float(picture.time or 0), index)


def counts(detector: FaceDetector, path: Path, pixel_format: str) -> list[tuple[float, int]]:
    return [(frame.time, len(detector.detect(frame))) for frame in frames(path, 5, pixel_format)]


class TestRecordings:
    """The truth of ``kiosk.json``, and the crop rule on FER+."""

    @pytest.mark.parametrize("pixel_format", ["bgr24", "yuv420p"])
    @pytest.mark.parametrize("face_range", RANGES)
    def test_kiosk(self, context: AnalyzerContext, media: Path, face_range: Range, pixel_format: str) -> None:
        seen = counts(make(context, range=face_range), media / "kiosk.mp4", pixel_format)
        truth = json.loads((media / "kiosk.json").read_text())["video_segments"]
        for segment in truth:
            here = [n for t, n in seen if segment["start_s"] <= t < segment["end_s"]]
            assert here
            if isinstance(segment["faces"], int):
                right = sum(n == segment["faces"] for n in here) / len(here)
                assert right == 1 if segment["faces"] == 0 else right >= 0.9, segment

    def test_far_finds_the_group_that_near_is_blind_to(self, context: AnalyzerContext, shared: Path) -> None:
        def rate(face_range: Range) -> float:
            seen = counts(make(context, range=face_range), shared / "media" / "kiosk.mp4", "bgr24")
            group = [n for t, n in seen if 42 <= t < 53]
            return sum(n == 3 for n in group) / len(group)

        assert rate("far") >= 0.9
        assert rate("near") <= 0.5

    def test_expression_crop_is_framed_as_the_training_data(self, context: AnalyzerContext, shared: Path) -> None:
        with np.load(shared / "data" / "ferplus" / "ferplus_valid.npz") as data:
            pictures = data["images"][::30]
        detector, size, found = make(context), 240, []
        for picture in pictures:
            frame = place(cv2.cvtColor(cv2.resize(picture, (size, size)), cv2.COLOR_GRAY2BGR), 640, 480, 200, 120)
            faces: Sequence[Face] = detector.detect(frame)
            if len(faces) == 1:
                box = imaging.expression_box(faces[0].box, frame, imaging.roll(faces[0], frame))
                centre = box.centre
                found.append((centre.x * 640 - 200, centre.y * 480 - 120, box.w * 640))
        assert len(found) > 0.9 * len(pictures)
        x, y, side = np.median(np.array(found), axis=0) / size
        assert (x, y, side) == (pytest.approx(0.5, abs=0.03), pytest.approx(0.5, abs=0.03), pytest.approx(1, abs=0.05))
