"""Raw pictures and sound, for capture, analysis and analyzers only; they never reach a summary or a disk."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a check of the config handles no picture, and numpy takes a tenth of a second to import
    import numpy as np
    import numpy.typing as npt

AUDIO_RATE = 16_000
"""Samples per second of every :class:`AudioBlock`; capture resamples to it."""


class PixelFormat(Enum):
    """Memory layout of :attr:`Frame.data`."""

    BGR = "bgr"
    """uint8 [height, width, 3], as OpenCV decodes."""
    GRAY = "gray"
    """uint8 [height, width]."""
    I420 = "i420"
    """uint8 [height * 3 / 2, width]: the Y plane, then U and V at half size (strides already removed)."""


@dataclass(frozen=True, slots=True)
class StreamTransfer:
    """What came over the network since a stream was opened: ``received`` bytes of its picture; ``stalls``, how often
    the next part of it was late, and ``stalled``, for how many seconds in all.
    """

    received: int = 0
    stalls: int = 0
    stalled: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a video stream.

    ``time`` is the monotonic time of capture in seconds (for recordings: the position in the file). ``index`` counts
    the frames of the stream, dropped ones included. ``transfer``: of a network camera, up to this picture. ``skipped``
    counts the frames since the stream was opened that were not converted because no look at them was due.
    """

    data: npt.NDArray[np.uint8]
    format: PixelFormat
    width: int
    height: int
    time: float
    index: int
    transfer: StreamTransfer | None = None
    skipped: int = 0

    @classmethod
    def from_bgr(cls, image: npt.NDArray[np.uint8], time: float, index: int) -> Frame:
        """Wrap an OpenCV picture, uint8 [h, w, 3]."""
        return cls(image, PixelFormat.BGR, image.shape[1], image.shape[0], time, index)


@dataclass(frozen=True, slots=True, eq=False)
class AudioBlock:
    """Mono sound at :data:`AUDIO_RATE`: float32 [n] in [-1, 1].

    ``time`` is the monotonic time of the first sample; ``gap`` the seconds lost since the previous block.
    """

    samples: npt.NDArray[np.float32]
    time: float
    gap: float = 0.0

    @property
    def seconds(self) -> float:
        """Length of the block."""
        return len(self.samples) / AUDIO_RATE

    @property
    def end(self) -> float:
        """Monotonic time just after the last sample."""
        return self.time + self.seconds
