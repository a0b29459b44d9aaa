"""The student that ships: plain 3x3 convolutions, which int8 kernels run well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn


@dataclass(frozen=True)
class Layer:
    """A 3x3 convolution + batch norm + ReLU; ``residual`` adds the input before the ReLU (same width, stride 1)."""

    channels: int
    stride: int = 1
    residual: bool = False


LAYERS = (
    Layer(32),
    Layer(48, stride=2),
    Layer(64),
    Layer(96, stride=2),
    Layer(128),
    Layer(160, stride=2),
    Layer(160, residual=True),
    Layer(224),
)
"""In order; global average pooling and one dense layer follow. 0.95 M parameters, 75 M multiply-accumulates."""


class ConvBlock(nn.Module):
    """Convolution, batch norm, optional skip, ReLU."""

    def __init__(self, width: int, layer: Layer) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, layer.channels, 3, layer.stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(layer.channels)
        self.residual = layer.residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        return torch.relu(x + y if self.residual else y)


class EmotionNet(nn.Module):
    """Grey faces [n, 1, 48, 48] in [-1, 1] to logits [n, 8].

    Nothing is dropped at random in training: it is too small for what its teachers say rather than too large.
    """

    def __init__(self) -> None:
        super().__init__()
        width, blocks = 1, []
        for layer in LAYERS:
            blocks.append(ConvBlock(width, layer))
            width = layer.channels
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(width, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classified(self.pooled(x))

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """What the last layer sees, [n, 224]."""
        return cast("torch.Tensor", self.features(x).mean(dim=(2, 3)))

    def classified(self, pooled: torch.Tensor) -> torch.Tensor:
        """What the last layer says of that."""
        return cast("torch.Tensor", self.head(pooled))


@torch.no_grad()
def unfold(norm: nn.BatchNorm2d, y: torch.Tensor, scale: torch.Tensor | float, shift: torch.Tensor) -> None:
    """Make ``norm`` compute ``scale * y + shift``, with the statistics of ``y``, [n, channels, h, w].

    Published and exported networks have their batch norms folded into such a scale and shift; training wants them back.
    """
    mean, variance = y.mean((0, 2, 3)), y.var((0, 2, 3))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(scale * torch.sqrt(variance + norm.eps))
    norm.bias.copy_(shift + scale * mean)
