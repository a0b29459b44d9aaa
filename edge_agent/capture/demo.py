"""Demo camera and microphone for machines without either: a moving public-domain portrait and a quiet room.

The picture is a NASA portrait of an astronaut as scikit-image's wheel ships it (extra ``demo``); pan, zoom, roll,
brightness and noise make it look like a person in front of a camera. The face is about 0.4 of the picture's height, all
the time. The sound is synthesised: a noise floor near -60 dBFS and every few seconds a knock. Both run in real time.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.capture.decode import BLOCK
from edge_agent.capture.timing import Pacer
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame

_FACE = (222.0, 125.0)
"""Centre of the face in the 512 x 512 portrait."""
_VIEW = 250.0
"""Rows of the portrait that fill the height of the picture; the face is about 105 rows high."""
_KNOCK_S = 7.0
_MAX_LAG_S = 5.0

Image = npt.NDArray[np.uint8]


class DemoCamera:
    """Demo camera: a moving portrait, ``width`` x ``height`` BGR at ``fps``."""

    def __init__(self, clock: Clock, width: int = 640, height: int = 480, fps: float = 15.0) -> None:
        self._clock = clock
        self._size = (width, height)
        self._fps = fps
        self._pacer: Pacer | None = None
        self._portrait: Image = np.zeros((0, 0, 3), np.uint8)
        self._noise: Image = np.zeros((0, 0), np.uint8)
        self._start = 0.0
        self._index = 0

    def open(self) -> None:
        """Load the portrait. Raises MediaError when the extra is not installed."""
        self._portrait = _load_portrait()
        width, height = self._size
        self._noise = np.random.default_rng(0).integers(0, 6, (2 * height, 2 * width, 1), np.uint8)
        self._start, self._index = self._clock.monotonic(), 0
        self._pacer = Pacer(self._clock)

    def read(self) -> Frame | None:
        """Wait for the next frame's time and return it; late frames are skipped. None after :meth:`close`."""
        pacer = self._pacer
        if pacer is None:
            return None
        self._index = max(self._index, int((self._clock.monotonic() - self._start) * self._fps))
        time = self._start + self._index / self._fps
        if not pacer.wait_until(time):
            return None
        frame = Frame.from_bgr(self._render(time - self._start), time, self._index)
        self._index += 1
        return frame

    def close(self) -> None:
        """Stop; interrupts :meth:`read`."""
        if self._pacer is not None:
            self._pacer.stop()
            self._pacer = None

    def _render(self, t: float) -> Image:
        width, height = self._size
        gain = 1.0 + 0.08 * math.sin(t / 4.1)
        image = cv2.warpAffine(
            self._portrait,
            view(t, width, height),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        image = cv2.convertScaleAbs(image, alpha=gain)
        # Camera noise never repeats; a crop that moves over a fixed noise picture is a cheap stand-in.
        x, y = self._index * 37 % width, self._index * 61 % height
        noisy: Image = cv2.add(image, np.repeat(self._noise[y : y + height, x : x + width], 3, axis=2)).astype(np.uint8)
        return noisy


def view(t: float, width: int, height: int) -> npt.NDArray[np.float64]:
    """Return the 2 x 3 matrix from portrait to picture at ``t`` seconds: pan, zoom and roll of unrelated periods."""
    scale = height / _VIEW * (1.0 + 0.10 * math.sin(t / 2.7))
    roll = math.radians(4.0 * math.sin(t / 1.9))
    x = width * (0.5 + 0.08 * math.sin(t / 3.3))
    y = height * (0.5 + 0.05 * math.sin(t / 2.3))
    cos, sin = scale * math.cos(roll), scale * math.sin(roll)
    matrix: npt.NDArray[np.float64] = np.array(
        [
            [cos, sin, x - cos * _FACE[0] - sin * _FACE[1]],
            [-sin, cos, y + sin * _FACE[0] - cos * _FACE[1]],
        ]
    )
    return matrix


class DemoMicrophone:
    """Demo microphone: a quiet room, in blocks of 0.1 s."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pacer: Pacer | None = None
        self._random = np.random.default_rng(0)
        self._start = 0.0
        self._done = 0

    def open(self) -> None:
        """Start."""
        self._start, self._done = self._clock.monotonic(), 0
        self._pacer = Pacer(self._clock)

    def read(self) -> AudioBlock | None:
        """Wait until the next block is over and return it; None after :meth:`close`."""
        pacer = self._pacer
        if pacer is None:
            return None
        lag = self._clock.monotonic() - self._start - self._done * BLOCK / AUDIO_RATE
        skipped = int(lag * AUDIO_RATE / BLOCK) - 1 if lag > _MAX_LAG_S else 0
        self._done += skipped + 1
        if not pacer.wait_until(self._start + self._done * BLOCK / AUDIO_RATE):
            return None
        t = (self._done - 1) * BLOCK / AUDIO_RATE
        return AudioBlock(sound(t, self._random), self._start + t, gap=skipped * BLOCK / AUDIO_RATE)

    def close(self) -> None:
        """Stop; interrupts :meth:`read`."""
        if self._pacer is not None:
            self._pacer.stop()
            self._pacer = None


def sound(t: float, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Synthesise the block that begins at ``t`` seconds: noise at -60 dBFS, and a knock every few seconds."""
    since = (t + np.arange(BLOCK) / AUDIO_RATE) % _KNOCK_S
    knock = 0.2 * np.exp(-since * 40.0) * np.sin(2 * np.pi * 180.0 * since)
    return (knock + random.normal(0.0, 0.001, BLOCK)).astype(np.float32)


def _load_portrait() -> Image:
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise MediaError("the demo camera needs scikit-image: pip install 'edge-emotion-agent[demo]'") from error
    portrait: Image = np.ascontiguousarray(astronaut()[:, :, ::-1])
    return portrait
