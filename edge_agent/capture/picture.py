"""A decoded picture and its geometry: turned, mirrored and with square pixels before anybody looks at it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import Frame

log = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]

MAX_PIXELS = 8192 * 8192
_SQUARE = 0.01
"""Pixels that are wider than high by less than this fraction, or the reverse, are taken for square."""
_MAX_ASPECT = 4.0
"""No camera has pixels of a more extreme shape: what says so is wrong."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How a stored picture becomes upright: rows and columns swapped first, then mirrored."""

    swap: bool = False
    mirror: bool = False
    """Left and right exchanged."""
    flip: bool = False
    """Top and bottom exchanged."""

    @classmethod
    def of_matrix(cls, a: float, b: float, c: float, d: float) -> Turn:
        """The nearest turn to a display matrix: the pixel at (x, y) is shown at (ax + cy, bx + dy)."""
        if abs(a * d - b * c) <= 1e-6 * max(abs(a), abs(b), abs(c), abs(d), 1e-9) ** 2:
            return cls()  # it would show a line: no matrix that anybody meant
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @classmethod
    def of_exif(cls, orientation: int) -> Turn:
        """What the orientation in a picture's EXIF asks for; numbers that mean nothing ask for nothing."""
        return _EXIF.get(orientation, cls())

    def then(self, other: Turn) -> Turn:
        """This turn and the other one after it, as one."""
        mirror, flip = (self.flip, self.mirror) if other.swap else (self.mirror, self.flip)
        return Turn(self.swap != other.swap, mirror != other.mirror, flip != other.flip)

    def apply(self, image: Image) -> Image:
        """The picture, [height, width, channels], upright and contiguous."""
        if self.swap:
            image = image.swapaxes(0, 1)
        image = image[:: -1 if self.flip else 1, :: -1 if self.mirror else 1]
        return np.ascontiguousarray(image)


UPRIGHT = Turn()
"""Nothing to be done."""

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
    """The size in which pixels of this ``aspect``, width over height, become square: nothing is made smaller."""
    if not aspect or not 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT or abs(aspect - 1) < _SQUARE:
        return width, height
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return size if size[0] * size[1] <= MAX_PIXELS else (width, height)


class Picture:
    """A decoded picture that is converted only when wanted. ``time`` in seconds from the start of the recording.

    ``render`` makes it BGR with square pixels, or raises ValueError; ``turn`` is what remains to be done then.
    """

    __slots__ = ("_render", "_turn", "index", "time")

    def __init__(self, render: Callable[[], Image], turn: Callable[[], Turn], time: float, index: int) -> None:
        self._render = render
        self._turn = turn
        self.time = time
        self.index = index

    def to_frame(self, time: float) -> Frame | None:
        """The picture, upright, as BGR with the given time; None when its format cannot be converted."""
        try:
            image = self._turn().apply(self._render())
        except ValueError as error:
            log.debug("picture %d cannot be converted: %s", self.index, error)
            return None
        return Frame.from_bgr(image, time, self.index)
