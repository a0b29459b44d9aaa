"""Still pictures of the kinds that cameras make, put together here: mirrored, in tiles, in pages, in motion."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

RED, GREY = (255, 0, 0), (200, 200, 200)
UNDO: dict[int, Any] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a camera did to the picture whose EXIF orientation has this number."""


def corner(width: int = 160, height: int = 96) -> Image.Image:
    """Grey with a red quarter, top left."""
    picture = np.full((height, width, 3), GREY, np.uint8)
    picture[: height // 2, : width // 2] = RED
    return Image.fromarray(picture)


def is_upright(image: npt.NDArray[np.uint8], width: int = 160, height: int = 96) -> bool:
    """Whether a BGR picture is :func:`corner` as it should be seen."""
    y, x = height // 4, width // 4
    points = {(y, x): RED, (3 * y, x): GREY, (y, 3 * x): GREY, (3 * y, 3 * x): GREY}
    return image.shape == (height, width, 3) and all(
        np.abs(image[at][::-1].astype(int) - colour).max() < 30 for at, colour in points.items()
    )


def turned(path: Path, orientation: int) -> Path:
    """:func:`corner` stored so that this EXIF orientation makes it upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = corner().transpose(UNDO[orientation]) if orientation in UNDO else corner()
    stored.save(path, exif=exif)
    return path


def heic(
    path: Path, image: Image.Image, side: int, properties: Iterable[bytes] = (), *, kind: bytes = b"grid", lost: int = 0
) -> Path:
    """A grid of HEVC tiles with further ``properties`` of the whole, as phones write it, without telling ``lost``."""
    width, height = image.size
    columns, rows = -(-width // side), -(-height // side)
    whole = Image.new("RGB", (columns * side, rows * side))
    whole.paste(image)
    cuts = [
        whole.crop((x * side, y * side, (x + 1) * side, (y + 1) * side)) for y in range(rows) for x in range(columns)
    ]
    coded = [_hevc(np.asarray(cut)) for cut in cuts]
    count, grid = len(coded), len(coded) + 1
    infe = b"".join(_full(b"infe", 2, 1, struct.pack(">HH4s", n + 1, 0, b"hvc1"), b"\0") for n in range(count))
    infe += _full(b"infe", 2, 0, struct.pack(">HH4s", grid, 0, kind), b"\0")
    told = [struct.pack(">H", n + 1) for n in range(count - lost)]
    extra = list(properties)
    shared = [
        _box(b"hvcC", coded[0][0]),
        _full(b"ispe", 0, 0, struct.pack(">II", side, side)),
        _full(b"ispe", 0, 0, struct.pack(">II", width, height)),
        *extra,
    ]
    ipma = b"".join(struct.pack(">HB", n + 1, 2) + bytes([0x81, 2]) for n in range(count))
    ipma += struct.pack(">HB", grid, 1 + len(extra)) + bytes([3, *(0x84 + k for k in range(len(extra)))])
    meta_parts = [
        _full(b"hdlr", 0, 0, struct.pack(">I4sIII", 0, b"pict", 0, 0, 0), b"\0"),
        _full(b"pitm", 0, 0, struct.pack(">H", grid)),
        _full(b"iinf", 0, 0, struct.pack(">H", count + 1), infe),
        _box(b"iprp", _box(b"ipco", *shared), _full(b"ipma", 0, 0, struct.pack(">I", count + 1), ipma)),
        _full(b"iref", 0, 0, _box(b"dimg", struct.pack(">HH", grid, len(told)), *told)),
        _box(b"idat", struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)),
    ]
    head = _box(b"ftyp", b"heic", bytes(4), b"mif1", b"heic")

    def meta(base: int) -> bytes:
        places, at = b"", base
        for number, (_extra, data) in enumerate(coded):
            places += struct.pack(">HHHHII", number + 1, 0, 0, 1, at, len(data))
            at += len(data)
        places += struct.pack(">HHHHII", grid, 1, 0, 1, 0, 8)
        return _full(b"meta", 0, 0, *meta_parts, _full(b"iloc", 1, 0, struct.pack(">BBH", 0x44, 0, count + 1), places))

    body = meta(len(head) + len(meta(0)) + 8)
    path.write_bytes(head + body + _box(b"mdat", *[data for _extra, data in coded]))
    return path


def irot(quarters: int) -> bytes:
    """The property that turns a picture anticlockwise."""
    return _box(b"irot", bytes([quarters]))


def imir(axis: int) -> bytes:
    """The property that exchanges top and bottom (0) or left and right (1)."""
    return _box(b"imir", bytes([axis]))


def _hevc(image: npt.NDArray[np.uint8]) -> tuple[bytes, bytes]:
    """The decoder's configuration, and one coded picture."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream(
            "libx265", rate=1, options={"x265-params": "log-level=none:keyint=1:info=0", "crf": "20"}
        )
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as written:
        video = written.streams.video[0]
        data = b"".join(bytes(packet) for packet in written.demux(video) if packet.size)
        return bytes(video.codec_context.extradata or b""), data


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)
