"""Formats are recognised by what files hold, and pictures come out whole, upright and with square pixels."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest
from PIL import Image

from edge_agent.capture import iter_media, read_media
from edge_agent.capture.formats import TABLE, Medium, names, sniff_bytes
from edge_agent.capture.media import iter_frames
from edge_agent.capture.picture import Turn, square_size
from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AudioBlock
from tests.support.pictures import corner, heic, imir, irot, is_upright, turned
from tests.support.recordings import FPS, picture, tone, write

FILMS = {
    "mp4": "libx264",
    "mov": "libx264",
    "mkv": "libx264",
    "webm": "libvpx",
    "avi": "mpeg4",
    "ts": "libx264",
    "m2ts": "libx264",
    "mpg": "mpeg1video",
    "vob": "mpeg2video",
    "flv": "flv",
    "wmv": "wmv2",
    "asf": "wmv2",
    "ogv": "libtheora",
    "nut": "mpeg4",
    "h264": "libx264",
    "hevc": "libx265",
    "mjpeg": "mjpeg",
    "gif": "gif",
}
SOUNDS = {
    "wav": "pcm_s16le",
    "w64": "pcm_s16le",
    "aiff": "pcm_s16be",
    "flac": "flac",
    "mp3": "libmp3lame",
    "mp2": "mp2",
    "aac": "aac",
    "m4a": "aac",
    "ogg": "libopus",
    "opus": "libopus",
    "wma": "wmav2",
    "au": "pcm_s16be",
    "caf": "pcm_s16le",
    "wv": "wavpack",
    "tta": "tta",
    "ac3": "ac3",
    "voc": "pcm_s16le",
    "mka": "libvorbis",
}
PICTURES = ("jpg", "png", "webp", "bmp", "tiff", "gif", "ppm", "pgm", "jp2", "avif")


@pytest.fixture
def unnamed(tmp_path: Path) -> Callable[[Path], Path]:
    """The same file under a name that says nothing, or something else."""

    def rename(path: Path) -> Path:
        return shutil.move(path, tmp_path / "song.mp3.jpg")

    return rename


@pytest.mark.parametrize(("suffix", "codec"), FILMS.items())
def test_films_of_every_format(tmp_path: Path, unnamed: Callable[[Path], Path], suffix: str, codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    rate = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    pictures = [(n / FPS, picture(n, 128, 96)) for n in range(10)]
    if codec in ("mpeg1video", "mpeg2video"):
        pictures = [(n / 25, image) for n, (_time, image) in enumerate(pictures)]
    path = unnamed(_write_film(tmp_path / f"film.{suffix}", pictures, codec, rate))
    info = read_media(path)
    assert info.video is not None
    assert not info.still
    assert (info.video.width, info.video.height) == (128, 96)
    frames = list(iter_frames(path))
    assert 9 <= len(frames) <= 10
    assert info.duration > 0.2


def _write_film(path: Path, pictures: list[tuple[float, np.ndarray]], codec: str, pixels: str) -> Path:  # type: ignore[type-arg]
    if codec not in ("mpeg1video", "mpeg2video"):
        return write(path, pictures, codec=codec, pixels=pixels)
    with av.open(str(path), "w") as container:  # these know a few rates only
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, pixels
        for _time, image in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("suffix", "codec"), SOUNDS.items())
def test_sounds_of_every_format(tmp_path: Path, unnamed: Callable[[Path], Path], suffix: str, codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    path = tmp_path / f"sound.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000, layout="stereo" if codec == "libvorbis" else "mono")
        stream.bit_rate = 96_000
        resampler = av.AudioResampler(stream.format, stream.layout, 48_000, stream.codec_context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray((tone(1.5, 48_000).T * 32767).astype(np.int16), "s16", "mono")
        frame.rate = 48_000
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    path = unnamed(path)
    info = read_media(path)
    assert info.video is None
    assert info.audio is not None
    heard = np.concatenate([b.samples for b in iter_media(path) if isinstance(b, AudioBlock)])
    assert len(heard) == pytest.approx(1.5 * 16_000, abs=1_600)
    assert np.abs(heard[3000:-3000]).max() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("suffix", PICTURES)
def test_a_file_with_one_picture_is_a_still(tmp_path: Path, unnamed: Callable[[Path], Path], suffix: str) -> None:
    path = tmp_path / f"still.{suffix}"
    (corner().convert("L") if suffix == "pgm" else corner()).save(path)
    info = read_media(path := unnamed(path))
    assert info.still
    assert info.duration == 0.0
    frames = list(iter_frames(path))
    assert [(f.time, f.width, f.height) for f in frames] == [(0.0, 160, 96)]


def test_a_film_of_one_picture_is_a_still(tmp_path: Path) -> None:
    assert read_media(write(tmp_path / "one.mp4", [(0.0, picture(0))])).still
    assert not read_media(write(tmp_path / "two.mp4", [(0.0, picture(0)), (0.1, picture(1))])).still
    spoken = read_media(write(tmp_path / "slide.mkv", [(0.0, picture(0))], tone(3.0)))
    assert spoken.still
    assert spoken.duration == pytest.approx(3.0, abs=0.1)


def test_pictures_in_motion_are_films(tmp_path: Path) -> None:
    moving = [corner().rotate(9 * n) for n in range(4)]
    for suffix in ("gif", "png", "avif"):
        path = tmp_path / f"moving.{suffix}"
        moving[0].save(path, save_all=True, append_images=moving[1:], duration=100)
        assert not read_media(path).still
        assert len(list(iter_frames(path))) == 4
    path = tmp_path / "moving.webp"
    moving[0].save(path, save_all=True, append_images=moving[1:], duration=100)
    if "webp_anim" in av.formats_available:
        assert len(list(iter_frames(path))) == 4
    else:
        with pytest.raises(MediaError, match=r"WebP needs a newer decoder"):
            read_media(path)


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
        b"ID3\x04\x00\x00\x00\x00\x00\x05hello#EXTM3U\nsecret.ts\n",
        b"ffconcat version 1.0\nfile secret.ts\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        b"BM is how this text begins, and it goes on for a while",
        b"P5 is a note, not a picture"[:2] + b"x",
        b"RIFF\x10\x00\x00\x00FAKEfmt ",
        b"\xff\xfb",
        b"",
        bytes(10_000),
    ],
)
def test_what_is_no_media_is_not_taken_for_it(content: bytes) -> None:
    assert sniff_bytes(content) is None


def test_noise_and_raw_samples_are_not_taken_for_media() -> None:
    random = np.random.default_rng(1)
    for _ in range(200):
        assert sniff_bytes(random.bytes(9000)) is None
        quiet = (random.normal(0, 300, 4500)).astype("<i2").tobytes()
        assert sniff_bytes(quiet) is None


def test_every_demuxer_of_the_table_is_there() -> None:
    assert {form.demuxer for form in TABLE} <= av.formats_available


# ---------------------------------------------------------------------- geometry


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone(tmp_path: Path, suffix: str, orientation: int) -> None:
    frames = list(iter_frames(turned(tmp_path / f"still.{suffix}", orientation)))
    assert len(frames) == 1
    assert is_upright(frames[0].data)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_without_meaning_turns_nothing(tmp_path: Path, orientation: int) -> None:
    (frame,) = iter_frames(turned(tmp_path / "still.jpg", orientation))
    assert is_upright(frame.data)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0*\0\0\0\xffgarbage",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" * 3,
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0\x06\0\0\0\x08\0\0\0",  # a text, and a circle
    ],
)
def test_damaged_exif_costs_nothing_but_itself(tmp_path: Path, exif: bytes) -> None:
    corner().save(tmp_path / "still.jpg", exif=exif)
    (frame,) = iter_frames(tmp_path / "still.jpg")
    assert is_upright(frame.data)


MATRICES = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
"""Display matrices and the EXIF orientations that ask for the same."""


@pytest.mark.parametrize(("matrix", "orientation"), MATRICES.items())
def test_a_display_matrix_is_applied_whole(tmp_path: Path, matrix: tuple[int, ...], orientation: int) -> None:
    assert Turn.of_matrix(*matrix) == Turn.of_exif(orientation)
    stored = np.asarray(turned_image(orientation))
    path = write(tmp_path / "film.mp4", [(n / FPS, stored) for n in range(3)])
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    for position, value in zip((0, 1, 3, 4), matrix, strict=True):
        data[at + 4 * position : at + 4 * position + 4] = (value * 0x10000).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    frames = list(iter_frames(path))
    assert len(frames) == 3
    assert all(is_upright(frame.data) for frame in frames)


def turned_image(orientation: int) -> Image.Image:
    from tests.support.pictures import UNDO

    return corner().transpose(UNDO[orientation]) if orientation in UNDO else corner()


def test_turns_follow_on_one_another() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    turns = [Turn(bool(n & 1), bool(n & 2), bool(n & 4)) for n in range(8)]
    for first in turns:
        for second in turns:
            assert np.array_equal(second.apply(first.apply(image)), first.then(second).apply(image))


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 1, 1)])
def test_a_matrix_that_would_show_a_line_turns_nothing(matrix: tuple[float, ...]) -> None:
    assert Turn.of_matrix(*matrix) == Turn()


def test_a_matrix_between_turns_is_the_nearest() -> None:
    assert Turn.of_matrix(0.9, -0.1, 0.1, -0.9) == Turn(flip=True)


@pytest.mark.parametrize(
    ("stored", "aspect", "shown"),
    [
        ((352, 576), 32 / 11, (1024, 576)),
        ((480, 540), 2.0, (960, 540)),
        ((960, 270), 0.5, (960, 540)),
        ((720, 576), 59 / 54, (787, 576)),
        ((640, 480), None, (640, 480)),
        ((640, 480), 0.0, (640, 480)),
        ((640, 480), 1.004, (640, 480)),
        ((640, 480), 1000.0, (640, 480)),
        ((640, 480), 0.001, (640, 480)),
        ((8000, 8000), 2.0, (8000, 8000)),
    ],
)
def test_pixels_become_square(stored: tuple[int, int], aspect: float | None, shown: tuple[int, int]) -> None:
    assert square_size(*stored, aspect) == shown


def test_a_film_with_wide_pixels_is_widened(tmp_path: Path) -> None:
    from fractions import Fraction

    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 80, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for _ in range(3):
            image = np.asarray(corner(80, 96))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    assert [is_upright(frame.data) for frame in iter_frames(path)] == [True] * 3


# ---------------------------------------------------------------------- tiles and pages


@pytest.mark.parametrize(
    ("size", "properties", "orientation"),
    [
        ((160, 96), [], 1),
        ((160, 96), [irot(3)], 6),
        ((160, 96), [irot(1)], 8),
        ((160, 96), [imir(1)], 2),
        ((160, 96), [imir(0)], 4),
        ((160, 96), [irot(3), imir(1)], 5),
        ((160, 96), [irot(1), imir(1)], 7),
    ],
)
def test_a_picture_in_tiles_is_put_together(
    tmp_path: Path, size: tuple[int, int], properties: list[bytes], orientation: int
) -> None:
    path = heic(tmp_path / "still.heic", turned_image(orientation), 64, properties)
    info = read_media(path)
    assert info.still
    assert info.video is not None
    assert {info.video.width, info.video.height} == set(size)
    (frame,) = iter_frames(path)
    assert is_upright(frame.data)


def test_undeclared_tiles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"still\.heic: .*tiles are declared"):
        read_media(heic(tmp_path / "still.heic", corner(), 64, lost=1))


def test_tiles_put_together_in_an_unknown_way_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"unknown composition \(iovl\): save it as JPEG or PNG"):
        read_media(heic(tmp_path / "still.heic", corner(), 64, kind=b"iovl"))


def test_a_damaged_tile_is_no_picture(tmp_path: Path) -> None:
    path = heic(tmp_path / "still.heic", corner(), 64)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 40])
    with pytest.raises(MediaError, match="damaged"):
        list(iter_media(path))


def test_boxes_that_end_early_are_refused_in_one_line(tmp_path: Path) -> None:
    content = heic(tmp_path / "still.heic", corner(), 64).read_bytes()
    path = tmp_path / "cut.heic"
    for length in range(20, content.index(b"mdat"), 37):
        path.write_bytes(content[:length])
        with pytest.raises(MediaError):
            list(iter_media(path))


def test_pages_of_a_tiff_are_refused_but_thumbnails_are_not(tmp_path: Path) -> None:
    path = tmp_path / "pages.tiff"
    corner().save(path, save_all=True, append_images=[corner(), corner()])
    with pytest.raises(MediaError, match="holds 3 pages: save each"):
        read_media(path)


def test_a_second_rendering_behind_a_jpeg_is_none_to_look_at(tmp_path: Path) -> None:
    """Phones append a map of brightness to a picture, and say so (MPF)."""
    file = io.BytesIO()
    corner().save(file, "JPEG", quality=95)
    content = file.getvalue()
    told = b"\xff\xe2" + (2 + 4 + 8).to_bytes(2, "big") + b"MPF\0" + bytes(8)
    path = tmp_path / "phone.jpg"
    path.write_bytes(content[:2] + told + content[2:] + content)
    assert read_media(path).still
    assert len(list(iter_frames(path))) == 1
    path.write_bytes(content * 3)
    assert not read_media(path).still
    assert len(list(iter_frames(path))) == 3


# ---------------------------------------------------------------------- names and things that are no files


@pytest.mark.parametrize(
    "name",
    [
        "2024-05-01-birdnet-06:12:33.wav",
        "http:x.wav",
        "concat:a|b.wav",
        "-x.wav",
        "a|b.wav",
        "img%03d.wav",
        "file:x.wav",
        "data:,x.wav",
        "[tag] *?.wav",
        os.fsdecode(b"caf\xe9.wav"),
    ],
)
def test_a_name_is_a_name_whatever_it_looks_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shutil.move(write(tmp_path / "sound.wav", sound=tone(0.5)), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), Path(".") / name, tmp_path / name):
        assert read_media(path).duration == pytest.approx(0.5, abs=0.01)
        assert sum(b.seconds for b in iter_media(path) if isinstance(b, AudioBlock)) == pytest.approx(0.5, abs=0.01)


def test_a_numbered_picture_is_itself_and_no_pattern(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (0, 0, 255)).save(tmp_path / "img001.jpg")
    corner().save(tmp_path / "img%03d.jpg", quality=95)
    (frame,) = iter_frames(tmp_path / "img%03d.jpg")
    assert is_upright(frame.data)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    reader, writer = os.pipe()
    try:
        for path in (tmp_path / "pipe", Path(f"/proc/self/fd/{reader}")):
            with pytest.raises(MediaError, match=r"is a pipe; save its data to a file"):
                read_media(path)
    finally:
        os.close(reader)
        os.close(writer)
    with pytest.raises(MediaError, match="is a device"):
        read_media(Path("/dev/zero"))
    with pytest.raises(MediaError, match="standard input is not read; save it to a file"):
        read_media(Path("-"))
    write(tmp_path / "sound.wav", sound=tone(0.2))
    (tmp_path / "sound.wav").rename("-")
    assert read_media(Path("-")).audio is not None


def test_a_file_opens_nothing_that_it_names(tmp_path: Path) -> None:
    write(tmp_path / "secret.ts", [(n / FPS, picture(n)) for n in range(5)])
    playlist = tmp_path / "list.ts"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError, match="not a media file"):
        read_media(playlist)


@pytest.mark.parametrize("medium", get_args(Medium))
def test_the_page_of_formats_names_each_of_them(medium: Medium) -> None:
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| {medium}s |"))
    assert set(row.split("|")[2].strip().split(", ")) == set(names(medium).split(", "))
