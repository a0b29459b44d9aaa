"""Shape of the network, shared by its PyTorch and Keras versions; imports neither."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent_burst.frontend import BANDS
from edge_agent_burst.own import WINDOW_FRAMES

FRAMES_AND_BANDS = (WINDOW_FRAMES, BANDS)


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution, its batch normalization and ReLU. ``kernel``, ``stride``, ``padding`` are (time, frequency)."""

    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


LAYERS = (
    Layer(24, (5, 5), (2, 2), (2, 2)),
    Layer(40, (3, 3), (2, 2), (1, 1)),
    Layer(64, (3, 3), (1, 2), (1, 1)),
    Layer(80, (3, 3), (2, 2), (1, 1)),
    Layer(112, (3, 3), (1, 2), (1, 1)),
    Layer(128, (1, 2), (1, 1), (0, 0)),
    Layer(96, (3, 1), (1, 1), (1, 0)),
    Layer(96, (3, 1), (1, 1), (1, 0)),
)
