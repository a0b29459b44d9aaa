"""The network: five strided convolutions over two seconds of log-mel, then over time, then mean and maximum over time.

About 256 k parameters and 18 M multiplications a window. Only operators with an int8 kernel in TensorFlow Lite are
used, and padding is symmetric, so :mod:`training.burst.export` can rebuild it in Keras.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from training.burst.layers import LAYERS

DROPOUT = 0.3


class BurstNet(nn.Module):
    """Float [n, 1, 125, 64] in -1..1 to logits [n, classes] and the pooled features [n, 192]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 1
        for layer in LAYERS:
            conv = nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride, layer.padding, bias=False)
            blocks += [conv, nn.BatchNorm2d(layer.channels), nn.ReLU(inplace=True)]
            channels = layer.channels
        self.features = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(DROPOUT)
        self.classify = nn.Linear(2 * channels, classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and pooled features."""
        maps = self.features(x)
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
        return cast("torch.Tensor", self.classify(self.dropout(pooled))), pooled
