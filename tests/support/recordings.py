"""Small media files made on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

FPS = 10


def picture(number: int, width: int = 96, height: int = 64) -> npt.NDArray[np.uint8]:
    """Left half red on top of black, so that turning it shows; ``number`` sets the brightness of the right half."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2, 0] = 255
    image[:, width // 2 :] = number * 8 % 256
    return image


def write(
    path: Path,
    pictures: Iterable[tuple[float, npt.NDArray[np.uint8]]] = (),
    sound: npt.NDArray[np.float32] | None = None,
    *,
    codec: str = "libx264",
    sound_codec: str = "pcm_s16le",
    rate: int = 44_100,
    pixels: str = "yuv420p",
    fps: int = FPS,
    preset: str = "medium",
) -> Path:
    """A recording of RGB pictures with their times and of sound, float32 [n, channels]."""
    pictures = iter(pictures)
    first = next(pictures, None)
    with av.open(str(path), "w") as container:
        video = audio = None
        if first is not None:
            video = container.add_stream(codec, rate=fps)
            video.height, video.width = first[1].shape[:2]
            video.pix_fmt = pixels
            video.codec_context.time_base = Fraction(1, 1000)
            if codec == "libx264":
                video.codec_context.options = {"preset": preset}
        if sound is not None:
            audio = container.add_stream(sound_codec, rate=rate, layout="mono" if sound.shape[1] == 1 else "stereo")
        for time, image in () if first is None else chain([first], pictures):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        if sound is not None:
            container.mux(_encoded(audio, sound, rate))
    return path


def _encoded(stream: Any, sound: npt.NDArray[np.float32], rate: int) -> list[Any]:
    packets = []
    size = stream.codec_context.frame_size or 1024
    for start in range(0, len(sound), size):
        samples = (sound[start : start + size].reshape(1, -1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=stream.layout.name)
        frame.rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))


def tone(seconds: float, rate: int = 44_100, channels: int = 1, frequency: float = 500.0) -> npt.NDArray[np.float32]:
    wave = 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)
    return np.repeat(wave.astype(np.float32).reshape(-1, 1), channels, axis=1)


def joined(path: Path, offset: float) -> Path:
    """Two transport streams of 2 s at 25 fps in one file, the second one's stamps ``offset`` later."""
    parts = []
    for begin in (0.0, offset):
        with av.open(str(path), "w") as container:
            video: Any = container.add_stream("mpeg2video", rate=25)
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
            video.codec_context.max_b_frames = 0
            audio = container.add_stream("mp2", rate=48_000, layout="mono")
            _record(container, video, audio, begin, 2.0)
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def _record(container: Any, video: Any, audio: Any, begin: float, seconds: float) -> None:
    """Coded once with proper stamps, which are then moved."""
    coders = {
        video: av.CodecContext.create("mpeg2video", "w"),
        audio: av.CodecContext.create("mp2", "w"),
    }
    coders[video].width, coders[video].height, coders[video].pix_fmt = 96, 64, "yuv420p"
    coders[video].framerate, coders[video].time_base, coders[video].max_b_frames = 25, Fraction(1, 25), 0
    coders[audio].sample_rate, coders[audio].layout, coders[audio].format = 48_000, "mono", "s16"
    packets = []
    for number in range(round(seconds * 25)):
        frame: Any = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += [(video, p) for p in coders[video].encode(frame)]
    packets += [(video, p) for p in coders[video].encode(None)]
    wave = (8000 * np.sin(np.arange(round(seconds * 48_000)) / 20)).astype(np.int16)
    for start in range(0, len(wave) - 1151, 1152):
        frame = av.AudioFrame.from_ndarray(wave[start : start + 1152].reshape(1, -1), format="s16", layout="mono")
        frame.pts, frame.sample_rate, frame.time_base = start, 48_000, Fraction(1, 48_000)
        packets += [(audio, p) for p in coders[audio].encode(frame)]
    packets += [(audio, p) for p in coders[audio].encode(None)]
    for stream, packet in sorted(packets, key=lambda item: float((item[1].dts or 0) * item[1].time_base)):
        ticks = round(begin / packet.time_base)
        packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
        container.mux_one(packet)
