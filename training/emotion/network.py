"""The student that ships and the wider teacher that never does: plain 3x3 convolutions, which int8 kernels run well.

Both are described by the same :class:`Layout`, which is also what the Keras export rebuilds the network from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Layer:
    """A 3x3 convolution + batch norm + ReLU; ``residual`` adds the input before the ReLU (same width, stride 1)."""

    channels: int
    stride: int = 1
    residual: bool = False


@dataclass(frozen=True)
class Layout:
    """Layers in order, then global average pooling and one dense layer of eight logits."""

    layers: tuple[Layer, ...]
    dropout: float = 0.4

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one 48x48 face."""
        side, width, total = 48, 1, 0
        for layer in self.layers:
            side = -(-side // layer.stride)
            total += side * side * width * layer.channels * 9
            width = layer.channels
        return total + width * 8


STUDENT = Layout(
    (
        Layer(32),
        Layer(48, stride=2),
        Layer(64),
        Layer(96, stride=2),
        Layer(128),
        Layer(160, stride=2),
        Layer(160, residual=True),
        Layer(224),
    ),
    dropout=0.15,
)
"""0.95 M parameters, 75 M MACs: what runs on the device."""

TEACHER = Layout(
    (
        Layer(48),
        Layer(96, stride=2),
        Layer(96, residual=True),
        Layer(192, stride=2),
        Layer(192, residual=True),
        Layer(192, residual=True),
        Layer(384, stride=2),
        Layer(384, residual=True),
        Layer(384, residual=True),
    ),
    dropout=0.5,
)
"""About five times the student; only used to label augmented faces softly."""

LAYOUTS = {"student": STUDENT, "teacher": TEACHER}


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
    """Grey faces [n, 1, 48, 48] in [-1, 1] to logits [n, 8]."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        width, blocks = 1, []
        for layer in layout.layers:
            blocks.append(ConvBlock(width, layer))
            if layer.stride == 2 and layer.channels > 90:
                blocks.append(nn.Dropout2d(0.1))
            width = layer.channels
        self.features = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(layout.dropout)
        self.head = nn.Linear(width, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.features(x).mean(dim=(2, 3))))


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
