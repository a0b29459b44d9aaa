"""Picture operations on pictures whose every pixel is known, in all pixel formats."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.domain.face import Box, Face, KeyPoints, Point
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.plugin import imaging

FORMATS = list(PixelFormat)


def frame_of(bgr: npt.NDArray[np.uint8], pixel_format: PixelFormat) -> Frame:
    height, width = bgr.shape[:2]
    if pixel_format is PixelFormat.GRAY:
        bgr = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    elif pixel_format is PixelFormat.I420:
        bgr = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    bgr.setflags(write=False)  # nothing may alter a frame
    return Frame(bgr, pixel_format, width, height, 0.0, 0)


def scene(width: int = 640, height: int = 480) -> npt.NDArray[np.uint8]:
    """Smooth, coloured, different in every corner."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    red = 40 + 150 * x / width
    green = 60 + 120 * y / height
    blue = 100 + 60 * np.sin(6 * x / width) * np.cos(5 * y / height)
    return np.stack([blue, green, red], axis=-1).round().astype(np.uint8)


def gray(bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(np.float64)


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(80, 60), (500, 400), (640, 480), (700, 500)])
def test_luma_is_the_picture_in_grey(pixel_format: PixelFormat, width: int, height: int) -> None:
    small = imaging.luma(frame_of(scene(), pixel_format), width, height)
    assert (small.shape, small.dtype) == ((height, width), np.uint8)
    expected = cv2.resize(gray(scene()), (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(small - expected).max() < 4


def test_luma_averages_noise_away() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    small = imaging.luma(frame_of(noise, PixelFormat.BGR), 80, 60)
    single = cv2.resize(gray(noise), (80, 60), interpolation=cv2.INTER_NEAREST)
    assert small.std() < single.std() / 3


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080), (480, 640), (64, 64), (100, 50), (1000, 60)])
def test_letterbox_shows_the_whole_picture_in_the_middle(pixel_format: PixelFormat, width: int, height: int) -> None:
    canvas, box = imaging.letterbox_rgb(frame_of(scene(width, height), pixel_format), 128)
    assert (canvas.shape, canvas.dtype) == ((128, 128, 3), np.uint8)
    left, top = round(box.left * 128), round(box.top * 128)
    w, h = round(box.width * 128), round(box.height * 128)
    assert max(w, h) == 128
    assert abs(w / h - width / height) / (width / height) < 2.5 / min(w, h)
    assert abs(128 - 2 * left - w) <= 1
    assert abs(128 - 2 * top - h) <= 1
    outside = np.ones((128, 128), bool)
    outside[top : top + h, left : left + w] = False
    assert not canvas[outside].any()
    picture = scene(width, height)
    if pixel_format is PixelFormat.GRAY:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    expected = cv2.resize(picture, (w, h), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
    # Colour has half the resolution in I420, which shows when a few rows are left of the picture.
    limit = 6 if min(w, h) < 10 else 3
    assert np.abs(canvas[top : top + h, left : left + w].astype(int) - expected).mean() < limit


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (1920, 1080)])
def test_letterbox_maps_back(width: int, height: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    u, v = 0.7, 0.2
    cv2.circle(picture, (round(u * width), round(v * height)), width // 20, (255, 255, 255), -1)
    canvas, box = imaging.letterbox_rgb(frame_of(picture, PixelFormat.BGR), 128)
    y, x = np.nonzero(canvas[:, :, 0] > 127)
    spot = np.array([[(x.mean() + 0.5) / 128, (y.mean() + 0.5) / 128]], np.float32)
    np.testing.assert_allclose(box.to_frame(spot), [[u, v]], atol=0.006)


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize(
    "box", [Box(0.3, 0.3, 0.3, 0.4), Box(0.1, 0.5, 0.06, 0.08), Box(0, 0, 1, 1), Box(0.2, 0.1, 0.6, 0.8)]
)
def test_crop_shows_what_the_box_covers(pixel_format: PixelFormat, box: Box) -> None:
    picture = scene()
    crop = imaging.crop_gray(frame_of(picture, pixel_format), box, 48)
    assert (crop.shape, crop.dtype) == ((48, 48), np.uint8)
    x0, x1 = round(box.x * 640), round((box.x + box.w) * 640)
    y0, y1 = round(box.y * 480), round((box.y + box.h) * 480)
    expected = cv2.resize(gray(picture)[y0:y1, x0:x1], (48, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(crop - expected).max() < 5


@pytest.mark.parametrize("size", [40, 96, 150, 400])
def test_crop_does_not_alias(size: int) -> None:
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 200
    crop = imaging.crop_gray(frame_of(stripes, PixelFormat.BGR), Box(0.1, 0.05, size / 640, size / 480), 20)
    assert np.abs(crop.astype(int) - 100).max() <= 25


def test_crop_of_a_large_face_is_placed_to_the_pixel() -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[100:400, 173:473] = 255
    exact = imaging.crop_gray(frame_of(picture, PixelFormat.BGR), Box(173 / 640, 100 / 480, 300 / 640, 300 / 480), 48)
    assert exact[:, 1:-1].min() == 255
    shifted = imaging.crop_gray(frame_of(picture, PixelFormat.BGR), Box(98 / 640, 100 / 480, 300 / 640, 300 / 480), 48)
    assert abs(shifted[24].mean() / 255 - 0.75) < 0.01


@pytest.mark.parametrize("angle", [-0.9, -0.3, 0.5, math.pi / 2])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_turned_crop_levels_what_was_turned(angle: float, pixel_format: PixelFormat) -> None:
    upright = np.zeros((480, 640, 3), np.uint8)
    cv2.rectangle(upright, (270, 190), (330, 240), (255, 255, 255), -1)
    cv2.rectangle(upright, (320, 240), (370, 290), (120, 120, 120), -1)
    turn = cv2.getRotationMatrix2D((320, 240), -math.degrees(angle), 1)
    turned = cv2.warpAffine(upright, turn, (640, 480))
    box = Box(200 / 640, 120 / 480, 240 / 640, 240 / 480)
    level = imaging.crop_gray(frame_of(upright, pixel_format), box, 48)
    levelled = imaging.crop_gray(frame_of(turned, pixel_format), box, 48, angle)
    crooked = imaging.crop_gray(frame_of(turned, pixel_format), box, 48)
    assert np.corrcoef(level.ravel(), levelled.ravel())[0, 1] > 0.97
    assert np.corrcoef(level.ravel(), crooked.ravel())[0, 1] < 0.9


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("angle", [0.0, 0.7])
@pytest.mark.parametrize(
    "box",
    [Box(-0.2, -0.2, 0.3, 0.4), Box(0.9, 0.9, 0.5, 0.6), Box(-3, -3, 0.5, 0.5), Box(2, 2, 0.5, 0.5), Box(-1, -1, 3, 3)],
)
def test_crop_beyond_the_frame_repeats_its_edge(pixel_format: PixelFormat, angle: float, box: Box) -> None:
    picture = scene()
    picture[:] = np.maximum(picture, 30)
    crop = imaging.crop_gray(frame_of(picture, pixel_format), box, 48, angle)
    assert crop.shape == (48, 48)
    assert crop.min() >= 25


@pytest.mark.parametrize(("width", "height"), [(2, 2), (64, 64), (16, 200)])
def test_tiny_frames_are_no_error(width: int, height: int) -> None:
    frame = frame_of(scene(width, height), PixelFormat.I420)
    assert imaging.crop_gray(frame, Box(0.2, 0.2, 0.5, 0.5), 48, 0.3).shape == (48, 48)
    assert imaging.letterbox_rgb(frame, 128)[0].shape == (128, 128, 3)
    assert imaging.luma(frame, 80, 60).shape == (60, 80)


def test_expression_box_is_the_documented_one() -> None:
    frame = frame_of(scene(), PixelFormat.BGR)
    box = imaging.expression_box(Box(200 / 640, 200 / 480, 100 / 640, 100 / 480), frame)
    assert box.x * 640 == pytest.approx(200 - 9.5)
    assert box.y * 480 == pytest.approx(200 - 20)
    assert (box.w * 640, box.h * 480) == (pytest.approx(119), pytest.approx(119))


def test_expression_box_rises_along_a_tilted_head() -> None:
    frame = frame_of(scene(), PixelFormat.BGR)
    face = Box(200 / 640, 200 / 480, 100 / 640, 100 / 480)
    # A head that fell to the right (clockwise by a quarter) has its top to the right.
    tilted = imaging.expression_box(face, frame, math.pi / 2).centre
    assert tilted.x * 640 == pytest.approx(250 + 10.5)
    assert tilted.y * 480 == pytest.approx(250)


def test_roll_is_measured_in_pixels() -> None:
    frame = frame_of(scene(), PixelFormat.BGR)
    right, left, other = Point(100 / 640, 100 / 480), Point(200 / 640, 200 / 480), Point(0, 0)
    face = Face(Box(0, 0, 1, 1), 0.9, KeyPoints(right, left, other, other, other, other))
    assert imaging.roll(face, frame) == pytest.approx(math.pi / 4)
    assert imaging.roll(Face(Box(0, 0, 1, 1), 0.9), frame) == 0.0


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize(
    "box", [Box(0, 0, 1, 1), Box(0.25, 0.1, 0.5, 0.6), Box(0.9, 0.9, 0.4, 0.4), Box(-0.2, 0, 0.3, 1)]
)
def test_a_part_is_what_the_box_covers(pixel_format: PixelFormat, box: Box) -> None:
    frame = frame_of(scene(), pixel_format)
    piece, place = imaging.part(frame, box)
    assert (piece.width, piece.height) == (round(place.w * 640), round(place.h * 480))
    assert place.x <= max(box.x, 0) + 1e-9
    assert place.x + place.w >= min(box.x + box.w, 1) - 1e-9
    whole = imaging.crop_gray(frame, place, 64)
    alone = imaging.crop_gray(piece, Box(0, 0, 1, 1), 64)
    assert np.abs(whole.astype(int) - alone).max() <= 2


@pytest.mark.parametrize(("width", "height"), [(2, 2), (3, 5), (641, 481)])
def test_a_part_is_never_empty(width: int, height: int) -> None:
    for box in (Box(0.99, 0.99, 0.001, 0.001), Box(2, 2, 1, 1), Box(-3, -3, 1, 1)):
        piece, place = imaging.part(frame_of(scene(width, height), PixelFormat.BGR), box)
        assert min(piece.width, piece.height) >= 2
        assert max(place.x + place.w, place.y + place.h) <= 1


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize(("longest", "size"), [(320, (320, 240)), (2000, (640, 480)), (100, (100, 74))])
def test_jpeg_is_the_picture_made_smaller(pixel_format: PixelFormat, longest: int, size: tuple[int, int]) -> None:
    found = cv2.imdecode(np.frombuffer(imaging.jpeg(frame_of(scene(), pixel_format), longest), np.uint8), 1)
    assert found.shape == (size[1], size[0], 3)
    original = scene() if pixel_format is not PixelFormat.GRAY else cv2.cvtColor(gray(scene()).astype(np.uint8), 8)
    expected = cv2.resize(original, size, interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(float) - expected).mean() < 6
