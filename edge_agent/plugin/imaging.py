"""Image operations for analyzers: small luma plane, letterboxed input, aligned grey crop, JPEG.

Owns OpenCV's image processing; capture owns its decoding. Stateless; frames are not altered.

Costs are a few tens of microseconds at VGA because pictures are shrunk before they are converted. I420 is interpreted
as BT.601 in limited range, as in video files and in OpenCV; luma is stretched to full range so that every pixel format
gives the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import Box, Face
from edge_agent.domain.media import Frame, PixelFormat

Image = npt.NDArray[np.uint8]

EXPRESSION_SCALE = 1.19
"""Side of the expression crop in sides of the detector's box."""
EXPRESSION_RISE = 0.20
"""How far the crop's upper edge is above the box's, in heights of the box. Both are the medians of BlazeFace's boxes on
FER+ pictures, turned around: this crop of a face looks like a FER+ picture."""

_FULL_RANGE = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
"""Limited-range luma to 0..255."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Position of the picture in a square canvas, in fractions of the canvas."""

    left: float
    top: float
    width: float
    height: float

    def to_frame(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Convert canvas positions [..., 2] (x, y) to positions in the frame."""
        origin = np.array([self.left, self.top], np.float32)
        size = np.array([self.width, self.height], np.float32)
        return np.asarray((points - origin) / size, np.float32)


def luma(frame: Frame, width: int, height: int) -> Image:
    """Shrink the picture to grey, uint8 [height, width], averaged enough to avoid aliasing."""
    if frame.format is PixelFormat.BGR:
        return _convert(_shrink(frame.data, width, height), cv2.COLOR_BGR2GRAY)
    if frame.format is PixelFormat.GRAY:
        return _shrink(frame.data, width, height)
    return _stretch(_shrink(_planes(frame)[0], width, height))


def letterbox_rgb(frame: Frame, side: int) -> tuple[Image, Letterbox]:
    """Letterbox the picture into a black square, uint8 [side, side, 3] RGB; return it and the position in it."""
    scale = side / max(frame.width, frame.height)
    # Even, so that half-size chroma planes fit; the same for all formats, so that they agree.
    width, height = (max(2, round(size * scale / 2) * 2) for size in (frame.width, frame.height))
    left, top = (side - width) // 2, (side - height) // 2
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[top : top + height, left : left + width] = _small_rgb(frame, width, height)
    return canvas, Letterbox(left / side, top / side, width / side, height / side)


def jpeg(frame: Frame, longest: int, quality: int = 80) -> bytes:
    """Encode the picture as JPEG, shrunk to at most ``longest`` pixels a side."""
    scale = min(1.0, longest / max(frame.width, frame.height))
    width, height = (max(2, int(size * scale / 2 + 1e-6) * 2) for size in (frame.width, frame.height))
    image = _convert(_small_rgb(frame, width, height), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def bgr(frame: Frame) -> Image:
    """Return a copy of the picture in OpenCV's order, uint8 [height, width, 3]."""
    if frame.format is PixelFormat.BGR:
        return frame.data.copy()
    code = cv2.COLOR_GRAY2BGR if frame.format is PixelFormat.GRAY else cv2.COLOR_YUV2BGR_I420
    return _convert(frame.data, code)


def part(frame: Frame, box: Box) -> tuple[Frame, Box]:
    """Crop a frame to ``box``, widened to even pixels and clipped; return the crop and its exact box.

    The crop is a view of the same pixels, except in I420, whose planes are copied.
    """
    (x0, x1), (y0, y1) = _even(box.x, box.w, frame.width), _even(box.y, box.h, frame.height)
    if frame.format is PixelFormat.I420:
        luma_plane, *chroma_planes = _planes(frame)
        chroma = [plane[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2].ravel() for plane in chroma_planes]
        data = np.concatenate([luma_plane[y0:y1, x0:x1].ravel(), *chroma]).reshape(-1, x1 - x0)
    else:
        data = frame.data[y0:y1, x0:x1]
    place = Box(x0 / frame.width, y0 / frame.height, (x1 - x0) / frame.width, (y1 - y0) / frame.height)
    return replace(frame, data=data, width=x1 - x0, height=y1 - y0), place


def crop_gray(frame: Frame, box: Box, side: int, angle: float = 0.0) -> Image:
    """Crop ``box`` to grey, uint8 [side, side]; the edge is repeated beyond the frame.

    ``angle`` turns the box about its centre, in radians, clockwise as seen: with :func:`roll` a tilted head comes out
    upright. A box that is not square in pixels is stretched.
    """
    crop = _turned(frame, box, side, angle, _gray_part)
    return _stretch(crop) if frame.format is PixelFormat.I420 else crop


def crop_rgb(frame: Frame, box: Box, side: int, angle: float = 0.0) -> Image:
    """Crop ``box`` as :func:`crop_gray` does, in colour: uint8 [side, side, 3] RGB; grey pictures stay grey."""
    return _convert(_turned(frame, box, side, angle, _bgr_part), cv2.COLOR_BGR2RGB)


def _turned(
    frame: Frame, box: Box, side: int, angle: float, cut: Callable[[Frame, int, int, int, int], Image]
) -> Image:
    """Turn and scale the part of the picture that ``cut`` returns for the pixels x0, y0, x1, y1."""
    centre_x, centre_y = box.centre.x * frame.width, box.centre.y * frame.height
    width, height = box.w * frame.width, box.h * frame.height
    cos, sin = math.cos(angle), math.sin(angle)
    # Bilinear sampling of a big face would alias: average whole pixels first, on the needed part only.
    factor = max(1, int(min(width, height) // side))
    x0, x1 = _span(centre_x, (abs(width * cos) + abs(height * sin)) / 2 + factor, frame.width)
    y0, y1 = _span(centre_y, (abs(width * sin) + abs(height * cos)) / 2 + factor, frame.height)
    part = cut(frame, x0, y0, x1, y1)
    factor = min(factor, *part.shape[:2])
    if factor > 1:
        columns, rows = part.shape[1] // factor, part.shape[0] // factor
        part = _resize(part[: rows * factor, : columns * factor], columns, rows, cv2.INTER_AREA)
    # From pixel (u, v) of the crop to (x, y) of the part; the halves are because pixels have their place in the middle.
    step = np.array([[width * cos, -height * sin], [width * sin, height * cos]]) / (side * factor)
    centre = np.array([centre_x - x0, centre_y - y0]) / factor - 0.5
    matrix = np.column_stack([step, centre - step.sum(axis=1) * (side - 1) / 2])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(part, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def warp(frame: Frame, transform: npt.NDArray[np.float64], side: int) -> Image:
    """Return what the affine ``transform`` [2, 3] of pixels maps to a square, BGR uint8 [side, side, 3]; beyond the
    frame the edge is repeated."""
    inverse = np.linalg.inv(np.vstack([transform, (0.0, 0.0, 1.0)]))
    corners = (inverse @ np.array([(x, y, 1.0) for x in (0, side) for y in (0, side)]).T)[:2]
    # Only the needed part is converted, and averaged first where it is much larger: bilinear sampling would alias.
    factor = max(1, int(np.sqrt(abs(np.linalg.det(inverse[:2, :2])))))
    low, high = corners.min(1) - factor, corners.max(1) + factor
    size = np.array([frame.width, frame.height])
    piece, place = part(frame, Box(*(low / size), *((high - low) / size)))
    pixels = bgr(piece)
    moved = transform.copy()
    moved[:, 2] += transform[:, :2] @ (place.x * frame.width, place.y * frame.height)
    if factor > 1:
        small = (max(1, pixels.shape[1] // factor), max(1, pixels.shape[0] // factor))
        moved[:, :2] *= (pixels.shape[1] / small[0], pixels.shape[0] / small[1])
        pixels = np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
    square = cv2.warpAffine(pixels, moved, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(square, np.uint8)


def face_recognizer(path: Path) -> Any:
    """Load OpenCV's face recogniser (SFace, ONNX); its ``feature`` takes a BGR picture uint8 [112, 112, 3].

    Raises:
        ModelError: not such a model, or this OpenCV has none.
    """
    try:
        return cv2.FaceRecognizerSF.create(str(path), "")
    except (cv2.error, AttributeError) as error:
        raise ModelError(f"{path.name} cannot be used by OpenCV: {str(error).strip().splitlines()[-1]}") from error


def expression_box(box: Box, frame: Frame, angle: float = 0.0) -> Box:
    """Return the square (in pixels) around a detector's ``box`` that frames a face as in the emotion models' training.

    ``angle`` is the head's roll: the crop lies higher than the box along the tilted head. Pass the same to
    :func:`crop_gray`.
    """
    size = (box.w * frame.width + box.h * frame.height) / 2
    side = EXPRESSION_SCALE * size
    rise = (0.5 + EXPRESSION_RISE - EXPRESSION_SCALE / 2) * size
    x = box.centre.x * frame.width + rise * math.sin(angle)
    y = box.centre.y * frame.height - rise * math.cos(angle)
    return Box((x - side / 2) / frame.width, (y - side / 2) / frame.height, side / frame.width, side / frame.height)


def roll(face: Face, frame: Frame) -> float:
    """Return the roll of the head by its eyes, in radians, clockwise as seen; 0 without key points."""
    if face.keypoints is None:
        return 0.0
    start, end = face.keypoints.right_eye, face.keypoints.left_eye
    return math.atan2((end.y - start.y) * frame.height, (end.x - start.x) * frame.width)


def _planes(frame: Frame) -> tuple[Image, Image, Image]:
    """Return Y, U and V of an I420 frame as views."""
    chroma = frame.data[frame.height :].reshape(2, frame.height // 2, frame.width // 2)
    return frame.data[: frame.height], chroma[0], chroma[1]


def _resize(image: Image, width: int, height: int, interpolation: int = cv2.INTER_LINEAR) -> Image:
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)


def _convert(image: Image, code: int) -> Image:
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def _stretch(limited: Image) -> Image:
    return np.asarray(cv2.LUT(limited, _FULL_RANGE), np.uint8)


def _shrink(image: Image, width: int, height: int) -> Image:
    if min(image.shape[1] / width, image.shape[0] / height) < 2:
        return _resize(image, width, height)
    # Sixteen pixels count for each result at a fraction of the cost of averaging them all.
    return _resize(_resize(image, 2 * width, 2 * height), width, height, cv2.INTER_AREA)


def _small_rgb(frame: Frame, width: int, height: int) -> Image:
    if frame.format is not PixelFormat.I420:
        code = cv2.COLOR_BGR2RGB if frame.format is PixelFormat.BGR else cv2.COLOR_GRAY2RGB
        return _convert(_resize(frame.data, width, height), code)
    small = np.empty((height * 3 // 2, width), np.uint8)
    y, u, v = _planes(frame)
    small[:height] = _resize(y, width, height)
    chroma = small[height:].reshape(2, height // 2, width // 2)
    chroma[0] = _resize(u, width // 2, height // 2)
    chroma[1] = _resize(v, width // 2, height // 2)
    return _convert(small, cv2.COLOR_YUV2RGB_I420)


def _span(centre: float, reach: float, size: int) -> tuple[int, int]:
    """Return the pixel range [first, last) within ``reach`` of ``centre``, not empty and within 0..size."""
    first = min(max(math.floor(centre - reach), 0), size - 1)
    return first, min(max(math.ceil(centre + reach), first + 1), size)


def _even(begin: float, length: float, size: int) -> tuple[int, int]:
    """Return the even pixel range [first, last) of a range in fractions of ``size``, at least two pixels long."""
    first = min(max(math.floor(begin * size / 2) * 2, 0), max(0, (size - 2) // 2 * 2))
    last = min(math.ceil((begin + length) * size / 2) * 2, size)
    return first, max(last, min(first + 2, size))


def _gray_part(frame: Frame, x0: int, y0: int, x1: int, y1: int) -> Image:
    part = frame.data[y0:y1, x0:x1]
    return _convert(part, cv2.COLOR_BGR2GRAY) if frame.format is PixelFormat.BGR else part


def _bgr_part(frame: Frame, x0: int, y0: int, x1: int, y1: int) -> Image:
    if frame.format is not PixelFormat.I420:
        found = frame.data[y0:y1, x0:x1]
        return _convert(found, cv2.COLOR_GRAY2BGR) if frame.format is PixelFormat.GRAY else found
    box = Box(x0 / frame.width, y0 / frame.height, (x1 - x0) / frame.width, (y1 - y0) / frame.height)
    wider, place = part(frame, box)
    left, top = x0 - round(place.x * frame.width), y0 - round(place.y * frame.height)
    return bgr(wider)[top : top + y1 - y0, left : left + x1 - x0]
