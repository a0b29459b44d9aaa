"""Media formats that are read, recognised by a file's first bytes and never by its name.

The command line, uploads and sockets all ask :func:`sniff`, and the decoder is told which format to expect: text is
never "played", a playlist is never followed, and raw samples are never taken for music. Pure.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

Medium = Literal["picture", "film", "sound"]

_HEAD = 8192
"""Bytes that suffice to recognise any format."""


@dataclass(frozen=True, slots=True)
class Format:
    """A media format. ``demuxer``: libavformat's name. ``restarts``: a broadcast format, whose clock can restart."""

    name: str
    medium: Medium
    demuxer: str
    restarts: bool = False


_HEIF = Format("HEIC", "picture", "mov")
_HEIF_BRANDS = frozenset((b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"avif", b"avis"))
_MP4 = Format("MP4/MOV", "film", "mov")
_OLD_MOV = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""Boxes with which a QuickTime file without ``ftyp`` begins."""

JPEG = Format("JPEG", "picture", "jpeg_pipe")
TIFF = Format("TIFF", "picture", "tiff_pipe")
PNG = Format("PNG", "picture", "png_pipe")
WEBP = Format("WebP", "picture", "webp_pipe")
_TS = Format("MPEG-TS", "film", "mpegts", restarts=True)
_H264 = Format("H.264", "film", "h264")
_H265 = Format("H.265", "film", "hevc")
_MP3 = Format("MP3", "sound", "mp3")
_AAC = Format("AAC", "sound", "aac")

_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", Format("GIF", "picture", "gif")),
    (b"GIF89a", Format("GIF", "picture", "gif")),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Format("JPEG 2000", "picture", "j2k_pipe")),
    (b"\xff\x4f\xff\x51", Format("JPEG 2000", "picture", "j2k_pipe")),
    (b"\x1aE\xdf\xa3", Format("Matroska/WebM", "film", "matroska")),
    (b"OggS", Format("Ogg", "sound", "ogg")),
    (b"\0\0\x01\xba", Format("MPEG-PS", "film", "mpeg", restarts=True)),
    (b"\0\0\x01\xb3", Format("MPEG-PS", "film", "mpegvideo")),
    (b"FLV\x01", Format("FLV", "film", "flv", restarts=True)),
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), Format("WMV/WMA", "film", "asf")),
    (b".RMF", Format("RealMedia", "film", "rm")),
    (b"nut/multimedia container\0", Format("NUT", "film", "nut")),
    (b"DKIF", Format("IVF", "film", "ivf")),
    (b"YUV4MPEG2 ", Format("Y4M", "film", "yuv4mpegpipe")),
    (b"\x1f\x07\x00", Format("DV", "film", "dv")),
    (bytes.fromhex("060e2b34020501010d010201"), Format("MXF", "film", "mxf")),
    (b"fLaC", Format("FLAC", "sound", "flac")),
    (b"#!AMR", Format("AMR", "sound", "amr")),
    (b".snd", Format("AU", "sound", "au")),
    (b"caff", Format("CAF", "sound", "caf")),
    (b"wvpk", Format("WavPack", "sound", "wv")),
    (b"MAC ", Format("Monkey's Audio", "sound", "ape")),
    (b"TTA1", Format("TTA", "sound", "tta")),
    (b"MPCK", Format("Musepack", "sound", "mpc8")),
    (b"Creative Voice File\x1a", Format("VOC", "sound", "voc")),
    (bytes.fromhex("726966662e91cf11a5d628db04c10000"), Format("WAV", "sound", "w64")),
    (b"\x7f\xfe\x80\x01", Format("DTS", "sound", "dts")),
)
_RIFF: dict[bytes, Format] = {
    b"WAVE": Format("WAV", "sound", "wav"),
    b"AVI ": Format("AVI", "film", "avi"),
    b"AVIX": Format("AVI", "film", "avi"),
    b"WEBP": WEBP,
}
_FORM: dict[bytes, Format] = {
    b"AIFF": Format("AIFF", "sound", "aiff"),
    b"AIFC": Format("AIFF", "sound", "aiff"),
}
_BMP = Format("BMP", "picture", "bmp_pipe")
_PNM: dict[bytes, Format] = {
    **{magic: Format("PNM", "picture", "pbm_pipe") for magic in (b"P1", b"P4")},
    **{magic: Format("PNM", "picture", "pgm_pipe") for magic in (b"P2", b"P5")},
    **{magic: Format("PNM", "picture", "ppm_pipe") for magic in (b"P3", b"P6")},
}
_AC3 = Format("AC-3", "sound", "ac3")

TABLE: tuple[Format, ...] = (
    *(JPEG, PNG, WEBP, _HEIF, replace(_HEIF, name="AVIF"), _BMP, TIFF),
    *(_MP4, *_RIFF.values(), _MP3, _AAC, *_FORM.values(), _TS),
    *(form for _magic, form in _MAGIC),
    *(replace(JPEG, name="MJPEG", medium="film"), _H264, _H265, _AC3, *_PNM.values()),
)
"""Every format, some more than once."""


def names(medium: Medium) -> str:
    """List the names of all formats of a medium, separated by commas."""
    return ", ".join(dict.fromkeys(form.name for form in TABLE if form.medium == medium))


ACCEPTED = f"pictures ({names('picture')}), films ({names('film')}) and sounds ({names('sound')})"
"""Accepted formats, for the error when a file is refused."""


def sniff(file: BinaryIO) -> Format | None:
    """Recognise the format of an open file by its contents; None when unknown. Moves the position."""
    start = 0
    file.seek(0)
    head = file.read(_HEAD)
    while (tag := _tag_size(head)) and tag < 1 << 28:  # ID3 tag (title, cover): the sound follows
        start += tag
        file.seek(start)
        head = file.read(_HEAD)
    found = _match(head)
    if found is None and start:  # some writers pad behind the tag
        found = _chained(head.lstrip(b"\0"))
    if found is None or found.medium != "picture":
        return found
    file.seek(0)
    return _refine(found, head, file)


def sniff_bytes(content: bytes) -> Format | None:
    """Recognise a file in memory, as :func:`sniff`."""
    return sniff(io.BytesIO(content))


def _match(head: bytes) -> Format | None:
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    if head[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM":
        return _FORM.get(head[8:12])
    if head[:2] in _PNM and head[2:3].isspace():
        return _PNM[head[:2]]
    # The size of the header tells a bitmap from a text that begins with BM.
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124):
        return _BMP
    return _boxed(head) or _transport(head) or _raw_video(head) or _chained(head)


def _boxed(head: bytes) -> Format | None:
    """Recognise MP4, QuickTime, HEIC and AVIF by the name of the first box."""
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))}
        major_is_still = head[8:12] in _HEIF_BRANDS
        avif = bool(brands & {b"avif", b"avis"})
        return replace(_HEIF, name="AVIF" if avif else "HEIC") if major_is_still else _MP4
    return _MP4 if head[4:8] in _OLD_MOV else None


def _transport(head: bytes) -> Format | None:
    """Recognise a transport stream by sync bytes at equal distances, from any offset within a packet."""
    for stride in (188, 192, 204):
        count = min(5, len(head) // stride)
        if count >= 2 and any(
            all(head[at + stride * k] == 0x47 for k in range(count))
            for at in range(min(stride, len(head) - stride * (count - 1)))
        ):
            return _TS
    return None


def _raw_video(head: bytes) -> Format | None:
    """Recognise raw H.264 and H.265 (``rpicam-vid -o film.h264``) by the type of the first unit."""
    start = head.find(b"\0\0\x01", 0, 8)
    if start < 0 or head[:start].strip(b"\0") or len(head) < start + 5:
        return None
    unit = head[start + 3]
    if unit & 0x9F in (0x07, 0x09):  # a set of parameters, or a delimiter
        return _H264
    return _H265 if unit & 0x81 == 0 and (unit >> 1) in (32, 33, 35) and head[start + 4] == 1 else None


# ---------------------------------------------------------------------- sound in chained frames: MP3, AAC, AC-3

_FRAMES = 3
"""Consecutive frames that are required: a single header occurs in any noise."""
_REACH = 4096
_L3 = ((0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320), (0, *range(8, 64, 8), *range(64, 161, 16)))
_MPEG_KBPS: dict[tuple[bool, int], tuple[int, ...]] = {
    (True, 1): tuple(range(0, 449, 32)),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): _L3[0],
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): _L3[1],
    (False, 3): _L3[1],
}
"""Bit rates by (MPEG 1 or not, layer)."""
_MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_AC3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)


def _chained(head: bytes) -> Format | None:
    """Recognise MP3, AAC or AC-3, which have no file header: frames in a row of one kind and the announced length."""
    at = -1
    while (at := _next_sync(head, at + 1)) >= 0:
        for read, form in _FRAMED:
            if _follow(head, at, read):
                return form
    return None


def _next_sync(head: bytes, start: int) -> int:
    found = [at for sync in (b"\xff", b"\x0b\x77") if (at := head.find(sync, start, _REACH)) >= 0]
    return min(found, default=-1)


def _follow(head: bytes, at: int, read: Callable[[bytes], tuple[int, int]]) -> bool:
    """Return whether frames are chained from ``at`` on, or to the end of a short file."""
    first = None
    for count in range(_FRAMES):
        if at + 8 > len(head):
            return count >= 2
        length, kind = read(head[at : at + 8])
        if not length or first not in (None, kind):
            return False
        at, first = at + length, kind
    return True


def _mpeg_frame(head: bytes) -> tuple[int, int]:
    """Parse an MPEG audio header: length of the frame in bytes (0: no header), and the fields that all frames share."""
    version, layer, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 2 & 3
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or version == 1 or layer == 4 or rate == 3 or head[2] >> 4 in (0, 15):
        return 0, 0
    bits = 1000 * _MPEG_KBPS[version == 3, layer][head[2] >> 4]
    hertz, padding, common = _MPEG_RATES[version][rate], head[2] >> 1 & 1, head[1] << 2 | rate
    if layer == 1:
        return 4 * (12 * bits // hertz + padding), common
    return (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding, common


def _adts_frame(head: bytes) -> tuple[int, int]:
    """Parse an ADTS (AAC) header, likewise."""
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    known = head[0] == 0xFF and head[1] & 0xF6 == 0xF0 and head[2] >> 2 & 15 < 13 and length > 7
    return (length, int.from_bytes(head[1:4], "big") >> 6) if known else (0, 0)


def _ac3_frame(head: bytes) -> tuple[int, int]:
    """Parse an AC-3 header, likewise."""
    rate, code = head[4] >> 6, head[4] & 63
    if head[:2] != b"\x0b\x77" or rate == 3 or code >= 38:
        return 0, 0
    kbps = _AC3_KBPS[code >> 1]
    return (4 * kbps, 2 * (320 * kbps // 147 + (code & 1)), 6 * kbps)[rate], head[5] | rate << 8


_FRAMED: tuple[tuple[Callable[[bytes], tuple[int, int]], Format], ...] = (
    (_mpeg_frame, _MP3),
    (_adts_frame, _AAC),
    (_ac3_frame, _AC3),
)


def _tag_size(head: bytes) -> int:
    """Return the length of an ID3 tag at the beginning; 0 without one."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)


# ---------------------------------------------------------------------- animated pictures


def _refine(form: Format, head: bytes, file: BinaryIO) -> Format:
    """Choose the demuxer for animated pictures, which differs from that for still ones of the same format."""
    if form is PNG and b"acTL" in head:
        return replace(form, demuxer="apng")
    if form is WEBP and head[12:16] == b"VP8X" and head[20] & 2:
        return replace(form, demuxer="webp_anim")
    if form is JPEG and _is_motion_jpeg(file):
        return replace(form, name="MJPEG", medium="film", demuxer="mjpeg")
    return form


def _is_motion_jpeg(file: BinaryIO) -> bool:
    """Return whether another JPEG follows that is no second rendering of the first, as phones append (MPF)."""
    content = file.read(1 << 24)
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        if content[at + 1] == 0xE2 and content[at + 4 : at + 8] == b"MPF\0":
            return False
        at += 1 if content[at + 1] == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    end = content.find(b"\xff\xd9", at)
    return end >= 0 and content[end + 2 : end + 66].lstrip(b"\0").startswith(b"\xff\xd8\xff")
