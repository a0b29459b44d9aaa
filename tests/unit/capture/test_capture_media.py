"""Recordings of every kind, made here: what they hold, what comes out in which order, how bad ones are refused."""

from __future__ import annotations

import gc
import os
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.capture import iter_media, read_media
from edge_agent.capture.decode import decode, decode_pictures
from edge_agent.capture.timing import Meter
from edge_agent.domain.errors import ConfigError, MediaError
from edge_agent.domain.media import AudioBlock, Frame, PixelFormat
from tests.support.recordings import FPS, picture, tone, write


def steady(count: int) -> list[tuple[float, npt.NDArray[np.uint8]]]:
    return [(n / FPS, picture(n)) for n in range(count)]


def split(path: Path, channel: int | None = None) -> tuple[list[Frame], list[AudioBlock]]:
    frames, blocks = [], []
    last = -1.0
    for item in iter_media(path, channel):
        assert item.time >= last, "items come in the order of their times"
        last = item.time
        if isinstance(item, Frame):
            frames.append(item)
        else:
            blocks.append(item)
    return frames, blocks


@pytest.mark.parametrize("suffix", ["mkv", "mov"])
def test_picture_and_sound_in_step(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"clip.{suffix}", steady(20), tone(2.0))
    info = read_media(path)
    assert info.duration == pytest.approx(2.0, abs=0.1)
    assert info.video is not None
    assert (info.video.width, info.video.height, info.video.fps) == (96, 64, FPS)
    assert info.audio is not None
    assert (info.audio.rate, info.audio.channels) == (44_100, 1)
    frames, blocks = split(path)
    assert [f.index for f in frames] == list(range(20))
    assert [f.time for f in frames] == pytest.approx([n / FPS for n in range(20)], abs=1e-3)
    assert all(f.format is PixelFormat.BGR and f.data.shape == (64, 96, 3) for f in frames)
    assert {b.seconds for b in blocks[:-1]} == {0.1}
    assert sum(b.seconds for b in blocks) == pytest.approx(2.0, abs=0.01)
    assert not any(b.gap for b in blocks)
    heard = np.concatenate([b.samples for b in blocks])
    assert np.abs(heard - tone(2.0, 16_000)[: len(heard), 0])[300:-300].max() < 0.01


def test_badly_interleaved_file_comes_out_in_order(tmp_path: Path) -> None:
    # The helper writes all pictures before any sound.
    frames, blocks = split(write(tmp_path / "clip.nut", steady(30), tone(3.0)))
    assert len(frames) == 30
    assert len(blocks) == 30


def test_variable_frame_rate_keeps_the_real_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.51, 2.0]
    frames, _ = split(write(tmp_path / "clip.mkv", [(t, picture(n)) for n, t in enumerate(times)]))
    assert [f.time for f in frames] == pytest.approx(times, abs=2e-3)


def test_times_begin_at_zero_whatever_the_start_time_of_the_file(tmp_path: Path) -> None:
    shifted = [(time + 7.5, image) for time, image in steady(10)]
    frames, _ = split(write(tmp_path / "clip.mkv", shifted))
    assert frames[0].time == pytest.approx(0.0, abs=1e-3)
    assert frames[-1].time == pytest.approx(0.9, abs=2e-3)


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_rotation_is_undone(tmp_path: Path, turn: int) -> None:
    path = tmp_path / "clip.mp4"
    write(path, steady(3))
    turned = tmp_path / "turned.mp4"
    _with_rotation(path, turned, turn)
    frames, _ = split(turned)
    upright, _ = split(path)
    expected = np.rot90(upright[0].data, turn // 90 % 4)
    assert frames[0].data.shape == expected.shape
    assert (frames[0].width, frames[0].height) == expected.shape[1::-1]
    assert np.abs(frames[0].data.astype(int) - expected).max() < 3


def _with_rotation(source: Path, target: Path, degrees: int) -> None:
    """Copy an MP4, rewriting the display matrix of its track header (the box ``tkhd``)."""
    data = bytearray(source.read_bytes())
    matrix = {90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), -90: (0, 1, -1, 0)}[degrees]
    at = data.index(b"tkhd") + 4 + 40
    for position, value in zip((0, 1, 3, 4), matrix, strict=True):
        data[at + 4 * position : at + 4 * position + 4] = (value * 0x10000).to_bytes(4, "big", signed=True)
    target.write_bytes(data)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_still_picture_is_one_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"still.{suffix}"
    cv2.imwrite(str(path), picture(3)[:, :, ::-1])
    assert read_media(path).duration == 0.0
    frames, blocks = split(path)
    assert [(f.time, f.index, f.width, f.height) for f in frames] == [(0.0, 0, 96, 64)]
    assert blocks == []
    assert frames[0].data[10, 10].tolist() == pytest.approx([0, 0, 255], abs=20), "blue, green, red"


def test_gif(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.gif", steady(8), codec="gif", pixels="rgb8")
    info = read_media(path)
    assert info.duration == pytest.approx(0.8, abs=0.11)
    assert info.audio is None
    frames, _ = split(path)
    assert len(frames) == 8
    assert frames[0].data.shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libopus")]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_alone(tmp_path: Path, suffix: str, codec: str, channels: int) -> None:
    rate = 48_000 if codec == "libopus" else 44_100
    path = write(tmp_path / f"sound.{suffix}", sound=tone(1.5, rate, channels), sound_codec=codec, rate=rate)
    info = read_media(path)
    assert info.video is None
    assert info.audio is not None
    assert info.audio.channels == channels
    assert info.duration == pytest.approx(1.5, abs=0.1)
    frames, blocks = split(path)
    assert frames == []
    heard = np.concatenate([b.samples for b in blocks])
    assert len(heard) == pytest.approx(1.5 * 16_000, abs=0.08 * 16_000)
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.15)


def test_chosen_channel(tmp_path: Path) -> None:
    left_only = tone(0.5, channels=2)
    left_only[:, 1] = 0
    path = write(tmp_path / "sound.wav", sound=left_only)
    peak = {c: max(np.abs(b.samples).max() for b in split(path, c)[1]) for c in (0, 1, None)}
    assert peak[0] == pytest.approx(0.5, abs=0.02)
    assert peak[1] == pytest.approx(0.0, abs=1e-3)
    assert peak[None] == pytest.approx(0.25, abs=0.02)
    with pytest.raises(ConfigError, match=r"microphone\.channel = 2"):
        split(path, 2)


def test_hole_in_the_sound_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for start in (*range(0, 16_000, 1600), *range(48_000, 64_000, 1600)):
            frame = av.AudioFrame.from_ndarray(np.full((1, 1600), 1000, np.int16), format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = 16_000, start, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
    _, blocks = split(path)
    assert [(round(b.time, 1), round(b.gap, 1)) for b in blocks if b.gap] == [(3.0, 2.0)]
    assert sum(b.seconds for b in blocks) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("pixels", ["gray", "yuv444p", "yuv422p10le", "yuv420p10le"])
def test_24_odd_pixel_formats_become_bgr(tmp_path: Path, pixels: str) -> None:
    path = write(tmp_path / "clip.mkv", steady(3), codec="ffv1", pixels=pixels)
    frames, _ = split(path)
    assert [f.data.shape for f in frames] == [(64, 96, 3)] * 3
    assert frames[0].data.dtype == np.uint8


def test_an_artist_in_an_old_encoding_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = write(tmp_path / "song.wav", sound=tone(0.3))
    artist = b"IART" + (4).to_bytes(4, "little") + "Jäg".encode("latin-1") + b"\0"
    data = path.read_bytes() + b"LIST" + (4 + len(artist)).to_bytes(4, "little") + b"INFO" + artist
    path.write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    if int(av.__version__.split(".")[0]) < 19:
        with pytest.raises(UnicodeDecodeError):
            av.open(str(path))
    assert sum(block.seconds for block in split(path)[1]) == pytest.approx(0.3, abs=0.02)


def test_cover_art_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    write(path, sound=tone(0.3), sound_codec="flac")
    cover = cv2.imencode(".png", picture(0))[1].tobytes()
    block = b"".join(
        [
            (3).to_bytes(4, "big"),
            len(b"image/png").to_bytes(4, "big") + b"image/png",
            (0).to_bytes(4, "big"),
            b"".join(n.to_bytes(4, "big") for n in (96, 64, 24, 0)),
            len(cover).to_bytes(4, "big") + cover,
        ]
    )
    data = path.read_bytes()
    # A PICTURE block right behind the STREAMINFO block, which is first and 34 bytes long.
    at = 4 + 4 + 34
    path.write_bytes(data[:at] + b"\x06" + len(block).to_bytes(3, "big") + block + data[at:])
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1, "the cover is there"
    assert read_media(path).video is None
    assert split(path)[0] == []


def _missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def _folder(folder: Path) -> Path:
    return folder


def _empty(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def _noise(folder: Path) -> Path:
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    return folder / "noise.mp4"


def _text(folder: Path) -> Path:
    (folder / "notes.txt").write_text("no film\n" * 100)
    return folder / "notes.txt"


def _headless(folder: Path) -> Path:
    path = write(folder / "clip.mp4", steady(20))
    path.write_bytes(path.read_bytes()[:1500])
    return path


def _subtitles(folder: Path) -> Path:
    (folder / "film.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    return folder / "film.srt"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_missing, "no such file"),
        (_folder, "is a directory"),
        (_empty, "is empty"),
        (_noise, "not a media file"),
        (_text, "not a media file in a known format: pictures (JPEG, "),
        (_headless, "no picture and no sound"),
        (_subtitles, "not a media file"),
    ],
)
def test_unusable_files_are_refused_in_one_line(tmp_path: Path, make: Any, words: str) -> None:
    path = make(tmp_path)
    for use in (read_media, lambda p: list(iter_media(p))):
        with pytest.raises(MediaError) as raised:
            use(path)
        assert words in str(raised.value)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_damage_in_the_middle_costs_only_what_it_hit(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", [(n / FPS, picture(n)) for n in range(30)], codec="mjpeg", pixels="yuvj420p")
    data = bytearray(path.read_bytes())
    # Wipe the scan data of one picture, in the middle of the file.
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xd8"]
    data[starts[15] + 20 : starts[15] + 400] = bytes(380)
    path.write_bytes(data)
    frames, _ = split(path)
    assert 25 <= len(frames) <= 29
    assert frames[-1].index == 29, "what was dropped is counted"
    assert frames[-1].time == pytest.approx(2.9, abs=0.01)


def test_24_picture_that_the_decoder_calls_corrupt_is_dropped_and_counted() -> None:
    """Which streams make FFmpeg say so changes with its version; what follows from it must not."""

    def frame(number: int) -> Any:
        return SimpleNamespace(is_corrupt=number in (0, 2), time=number / FPS)

    codec = SimpleNamespace(name="h264", options={}, sample_aspect_ratio=None)
    stream = SimpleNamespace(
        disposition=0, codec_context=codec, average_rate=Fraction(FPS), sample_aspect_ratio=Fraction(1)
    )
    packets = [
        SimpleNamespace(decode=lambda number=number: [frame(number)], size=1, dts=None, time_base=None)
        for number in range(5)
    ]
    container = SimpleNamespace(
        streams=SimpleNamespace(video=[stream]), start_time=0, demux=lambda _stream: iter(packets)
    )
    assert [(p.index, p.time) for p in decode_pictures(container, Meter(lambda: 0.0))] == [(1, 0.1), (3, 0.3), (4, 0.4)]


def test_a_whole_recording(media: Path) -> None:
    frames, blocks = split(media / "kiosk.mp4")
    assert len(frames) == 900
    assert frames[-1].time == pytest.approx(59.93, abs=0.01)
    assert sum(b.seconds for b in blocks) == pytest.approx(60.0, abs=0.1)


def test_pictures_leave_with_their_last_reference_and_start_no_threads(tmp_path: Path) -> None:
    """Read from each frame, its side data kept it, its picture and two threads until the garbage collector came."""
    path = write(tmp_path / "film.mkv", ((n / FPS, picture(n)) for n in range(100)), preset="ultrafast")
    threads = most = 0
    gc.disable()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            for one in decode(container, stream, container.demux(stream)):
                assert one.to_frame(one.time) is not None
                threads = threads or len(os.listdir("/proc/self/task"))
                most = max(most, len(os.listdir("/proc/self/task")))
            held = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert held < 20
    assert most - threads <= 4
