"""Make decoded pictures upright with square pixels, and read orientation, pages and tiles of still-picture files.

The metadata is read here because decoder versions differ in what they pass on: mirrored orientations, and the tile grid
of HEIC files from phones, would be lost. Strict: a picture that cannot be shown whole is refused. Pure.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from edge_agent.capture.formats import JPEG, PNG, TIFF, WEBP, Format
from edge_agent.domain.media import Frame, PixelFormat

log = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]

MAX_PIXELS = 8192 * 8192
_SQUARE = 0.01
"""Deviation of the aspect ratio from 1 up to which pixels count as square."""
_MAX_ASPECT = 4.0
"""Largest plausible aspect ratio of a pixel; a larger one is an error of the file."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Orientation: how a stored picture becomes upright, rows and columns swapped first, then mirrored."""

    swap: bool = False
    mirror: bool = False
    """Exchange left and right."""
    flip: bool = False
    """Exchange top and bottom."""

    @classmethod
    def of_matrix(cls, a: float, b: float, c: float, d: float) -> Turn:
        """Return the nearest turn to a display matrix, which shows pixel (x, y) at (ax + cy, bx + dy)."""
        if abs(a * d - b * c) <= 1e-6 * max(abs(a), abs(b), abs(c), abs(d), 1e-9) ** 2:
            return cls()  # singular: the picture would become a line
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @classmethod
    def of_exif(cls, orientation: int) -> Turn:
        """Return the turn for an EXIF orientation; none for undefined numbers."""
        return _EXIF.get(orientation, cls())

    def then(self, other: Turn) -> Turn:
        """Combine this turn with another one after it."""
        mirror, flip = (self.flip, self.mirror) if other.swap else (self.mirror, self.flip)
        return Turn(self.swap != other.swap, mirror != other.mirror, flip != other.flip)

    def apply(self, image: Image) -> Image:
        """Turn a picture [height, width, channels]; the result is contiguous."""
        if self.swap:
            image = image.swapaxes(0, 1)
        image = image[:: -1 if self.flip else 1, :: -1 if self.mirror else 1]
        return np.ascontiguousarray(image)


UPRIGHT = Turn()
"""No turn."""

_EXIF = {
    2: Turn(mirror=True),
    3: Turn(mirror=True, flip=True),
    4: Turn(flip=True),
    5: Turn(swap=True),
    6: Turn(swap=True, mirror=True),
    7: Turn(swap=True, mirror=True, flip=True),
    8: Turn(swap=True, flip=True),
}


def square_size(width: int, height: int, aspect: float | None) -> tuple[int, int]:
    """Return the size that makes pixels of ``aspect`` (width over height) square, enlarging one side."""
    if not aspect or not 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT or abs(aspect - 1) < _SQUARE:
        return width, height
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return size if size[0] * size[1] <= MAX_PIXELS else (width, height)


class Picture:
    """Decoded picture that is converted lazily. ``time`` in seconds from the start of the recording.

    ``render`` converts it to BGR with square pixels, or raises ValueError; ``turn`` is applied after that. ``planes``
    copies its I420 planes, or returns None where it is in another format.
    """

    __slots__ = ("_planes", "_render", "_turn", "index", "time")

    def __init__(
        self,
        render: Callable[[], Image],
        turn: Callable[[], Turn],
        time: float,
        index: int,
        planes: Callable[[], Image | None] = lambda: None,
    ) -> None:
        self._render = render
        self._planes = planes
        self._turn = turn
        self.time = time
        self.index = index

    def to_frame(self, time: float, *, live: bool = False) -> Frame | None:
        """Convert to an upright frame with the given time; None when the format cannot be converted.

        ``live``: in I420 where it is in that format, which spares the conversion; else in BGR.
        """
        try:
            turn = self._turn()
            if live and turn == UPRIGHT and (planes := self._planes()) is not None:
                return Frame(planes, PixelFormat.I420, planes.shape[1], planes.shape[0] * 2 // 3, time, self.index)
            image = turn.apply(self._render())
        except ValueError as error:
            log.debug("picture %d cannot be converted: %s", self.index, error)
            return None
        return Frame.from_bgr(image, time, self.index)


# ---------------------------------------------------------------------- metadata of still pictures


_MAX_HEAD = 64 * 1024 * 1024
"""Bytes of a file that are searched for metadata."""
_ORIENTATION, _SUBFILE, _DNG_VERSION = 274, 254, 50706
_REDUCED = 1


class StillError(ValueError):
    """A picture that cannot be shown whole, and why."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiled picture: item numbers row by row; ``width`` and ``height`` of the whole."""

    rows: int
    columns: int
    width: int
    height: int
    tiles: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Still:
    """Metadata of a still picture: its turn, and in a HEIC or AVIF file its item number or its ``grid`` of tiles."""

    turn: Turn = UPRIGHT
    item: int | None = None
    grid: Grid | None = None


def read_still(file: BinaryIO, form: Format) -> Still | None:
    """Read the metadata of an open picture file; None for an animated one. Moves the position.

    Raises:
        StillError: it has several pages, or an unknown composition.
    """
    if form.name in ("HEIC", "AVIF"):
        return _heif(file)
    readers = {JPEG.name: _jpeg_exif, PNG.name: _png_exif, WEBP.name: _webp_exif, TIFF.name: _whole}
    if form.name not in readers:
        return Still()
    file.seek(0)
    exif = readers[form.name](file.read(_MAX_HEAD))
    directories = list(_directories(exif)) if exif else []
    if form.name == TIFF.name:
        _refuse_pages(directories)
    return Still(Turn.of_exif(directories[0].get(_ORIENTATION, 1)) if directories else UPRIGHT)


# ---------------------------------------------------------------------- EXIF and TIFF, which share a structure


def _whole(content: bytes) -> bytes:
    return content


def _jpeg_exif(content: bytes) -> bytes:
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        if content[at + 1] == 0xE1 and content[at + 4 : at + 10] == b"Exif\0\0":
            return content[at + 10 : at + 2 + length]
        at += 1 if content[at + 1] == 0xFF else 2 + length  # markers may be padded
    return b""


def _png_exif(content: bytes) -> bytes:
    at = 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] == b"eXIf":
            return content[at + 8 : at + 8 + length]
        at += 12 + length
    return b""


def _webp_exif(content: bytes) -> bytes:
    at = 12
    while at + 8 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == b"EXIF":
            return content[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
        at += 8 + length + length % 2
    return b""


def _directories(content: bytes, most: int = 1000) -> Iterator[dict[int, int]]:
    """Yield the numeric fields of each TIFF directory, by tag; stops at damage."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or len(content) < 8:
        return
    (at,) = struct.unpack_from(order + "I", content, 4)
    seen: set[int] = set()
    while 8 <= at <= len(content) - 2 and at not in seen and len(seen) < most:
        seen.add(at)
        (count,) = struct.unpack_from(order + "H", content, at)
        end = at + 2 + 12 * count
        if end > len(content):
            return
        found = {}
        for entry in range(at + 2, end, 12):
            tag, kind = struct.unpack_from(order + "HH", content, entry)
            if kind in (1, 3, 4):
                found[tag] = struct.unpack_from(order + {1: "B", 3: "H", 4: "I"}[kind], content, entry + 8)[0]
        yield found
        if end + 4 > len(content):
            return
        (at,) = struct.unpack_from(order + "I", content, end)


def _refuse_pages(directories: list[dict[int, int]]) -> None:
    if not directories:
        return
    if _DNG_VERSION in directories[0] or directories[0].get(_SUBFILE, 0) & _REDUCED:
        raise StillError("a camera raw file, of which only the preview could be read: save it as JPEG or PNG")
    pages = sum(not found.get(_SUBFILE, 0) & _REDUCED for found in directories)
    if pages > 1:
        raise StillError(f"holds {pages} pages: save each as a picture of its own")


# ---------------------------------------------------------------------- HEIC and AVIF: items in boxes

_CODED = (b"hvc1", b"hev1", b"av01", b"avc1", b"jpeg")


def _heif(file: BinaryIO) -> Still | None:
    file.seek(0)
    content = file.read(_MAX_HEAD)
    top = dict(_boxes(content))
    if b"moov" in top:
        return None
    if b"meta" not in top:
        raise StillError("the file does not declare a picture")
    try:
        return _primary(content, dict(_boxes(top[b"meta"][4:])))
    except (struct.error, IndexError, KeyError) as error:
        raise StillError("the file is damaged: the metadata of its picture ends early") from error


def _primary(content: bytes, meta: dict[bytes, bytes]) -> Still:
    """Read the primary item: a coded picture, or a grid of coded tiles."""
    primary = _number(meta[b"pitm"], 4, 2 if meta[b"pitm"][0] == 0 else 4)
    kinds = dict(_item_kinds(meta[b"iinf"]))
    turn, sizes = _properties(meta[b"iprp"], primary)
    kind = kinds[primary]
    if kind in _CODED:
        return Still(turn, item=primary)
    if kind != b"grid":
        way = kind.decode("ascii", "replace")
        raise StillError(f"a picture with an unknown composition ({way}): save it as JPEG or PNG")
    tiles = next(_references(meta[b"iref"], b"dimg", primary))
    told = _item_data(content, meta, primary)
    wide = told[1] & 1
    rows, columns = told[2] + 1, told[3] + 1
    width, height = struct.unpack_from(">II" if wide else ">HH", told, 4)
    if sizes and sizes != (width, height):
        raise StillError("the file is damaged: it declares two sizes of its picture")
    if len(tiles) != rows * columns or any(kinds.get(tile) not in _CODED for tile in tiles):
        raise StillError(f"the file is damaged: {rows} x {columns} tiles are declared, {len(tiles)} are present")
    if not 0 < width * height <= MAX_PIXELS:
        raise StillError(f"the picture is too large: {width} x {height}")
    return Still(turn, grid=Grid(rows, columns, width, height, tiles))


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(content):
        size, header = _number(content, at, 4), 8
        kind = content[at + 4 : at + 8]
        if size == 1 and at + 16 <= len(content):
            size, header = _number(content, at + 8, 8), 16
        elif size == 0:
            size = len(content) - at
        if size < header:
            return
        yield kind, content[at + header : at + size]
        at += size


def _item_kinds(iinf: bytes) -> Iterator[tuple[int, bytes]]:
    for kind, entry in _boxes(iinf[6 if iinf[0] == 0 else 8 :]):
        if kind == b"infe" and entry[0] in (2, 3):
            size = 2 if entry[0] == 2 else 4
            yield _number(entry, 4, size), entry[6 + size : 10 + size]


def _references(iref: bytes, wanted: bytes, source: int) -> Iterator[tuple[int, ...]]:
    """Yield the items that ``source`` refers to, in order."""
    size = 2 if iref[0] == 0 else 4
    for kind, entry in _boxes(iref[4:]):
        if kind == wanted and _number(entry, 0, size) == source:
            count = _number(entry, size, 2)
            yield tuple(_number(entry, size + 2 + size * k, size) for k in range(count))


def _properties(iprp: bytes, item: int) -> tuple[Turn, tuple[int, int] | None]:
    """Return the turn of an item, by its properties in order, and its size before turning."""
    parts = dict(_boxes(iprp))
    known = list(_boxes(parts[b"ipco"]))
    turn, size = UPRIGHT, None
    for number in _associations(parts[b"ipma"], item):
        kind, told = known[number - 1]
        if kind == b"irot":
            for _ in range(told[0] & 3):  # quarters, anticlockwise
                turn = turn.then(Turn(swap=True, flip=True))
        elif kind == b"imir":
            turn = turn.then(Turn(mirror=True) if told[0] & 1 else Turn(flip=True))
        elif kind == b"ispe":
            size = (_number(told, 4, 4), _number(told, 8, 4))
    return turn, size


def _associations(ipma: bytes, item: int) -> list[int]:
    """Return the property numbers of an item, counted from 1."""
    wide, long = ipma[3] & 1, 2 if ipma[0] == 0 else 4
    at = 8
    for _ in range(_number(ipma, 4, 4)):
        found, count = _number(ipma, at, long), ipma[at + long]
        at += long + 1
        step = 2 if wide else 1
        if found == item:
            mask = 0x7FFF if wide else 0x7F
            return [n for k in range(count) if (n := _number(ipma, at + step * k, step) & mask)]
        at += step * count
    return []


def _item_data(content: bytes, meta: dict[bytes, bytes], item: int) -> bytes:
    """Return the bytes of an item stored in one extent, in the file or in the ``idat`` box."""
    iloc = meta[b"iloc"]
    version, sizes = iloc[0], (iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15 if iloc[0] else 0)
    long = 4 if version == 2 else 2
    at = 6 + long
    for _ in range(_number(iloc, 6, long)):
        found, way = _number(iloc, at, long), 0
        at += long
        if version:
            way, at = iloc[at + 1] & 15, at + 2
        base, extents = _number(iloc, at + 2, sizes[2]), _number(iloc, at + 2 + sizes[2], 2)
        at += 4 + sizes[2]
        if found == item and extents == 1 and way in (0, 1):
            begin = base + _number(iloc, at + sizes[3], sizes[0])
            length = _number(iloc, at + sizes[3] + sizes[0], sizes[1])
            return (meta[b"idat"] if way else content)[begin : begin + length]
        at += extents * (sizes[0] + sizes[1] + sizes[3])
    raise KeyError(item)


def _number(content: bytes, at: int, size: int) -> int:
    if at + size > len(content):
        raise IndexError(at)
    return int.from_bytes(content[at : at + size], "big")
