"""A teacher that has seen faces before: dlib's face recognition network, to be trained on for expressions.

The weights (a 29-layer residual network after He et al. 2016, trained by dlib's author on three million faces and put
into the public domain, CC0) come from the npm package ``@vladmandic/face-api``, which holds them in eight bits. They
are fetched for training alone: no part of them is in the student that ships.

    npm pack @vladmandic/face-api@1.7.15
    python -m training.emotion.train --layout face --pretrained vladmandic-face-api-1.7.15.tgz ...
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.emotion import npm
from training.emotion.network import unfold

PACKAGE = "@vladmandic/face-api@1.7.15"
ARCHIVE_SHA256 = "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031"
SIDE = 112
"""Faces are enlarged to this: the network was made for faces of about a hundred pixels."""
WIDTH = 256
BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)
"""As the weights are called; the number is the width."""
_MEAN_RGB = (122.782, 117.001, 104.298)
_MODEL = "model/face_recognition_model"


class Unit(nn.Module):
    """Convolution and batch norm."""

    def __init__(self, width: int, channels: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, channels, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.norm(self.conv(x)))


class Block(nn.Module):
    """Two units around a shortcut; ``down`` halves the map and pads the shortcut's channels with zeros."""

    def __init__(self, width: int, channels: int, down: bool, padding: int) -> None:
        super().__init__()
        self.down = down
        self.first = Unit(width, channels, stride=2 if down else 1, padding=padding)
        self.second = Unit(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(torch.relu(self.first(x)))
        if self.down:
            x = F.avg_pool2d(x, 2)
            rows, columns = (y.shape[axis] - x.shape[axis] for axis in (2, 3))
            y = F.pad(y, (0, max(-columns, 0), 0, max(-rows, 0)))
            x = F.pad(x, (0, max(columns, 0), 0, max(rows, 0), 0, y.shape[1] - x.shape[1]))
        return torch.relu(x + y)


class FaceNet(nn.Module):
    """Grey faces [n, 1, 48, 48] in [-1, 1] to logits [n, 8]; 5.6 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(1, 32, kernel=7, stride=2, padding=0)
        blocks, width = [], 32
        for name in BLOCKS:
            channels, down = int(name[4:].split("_")[0]), "down" in name
            # The last map would be too small for a kernel without a margin.
            blocks.append(Block(width, channels, down, padding=0 if down and name != BLOCKS[-1] else 1))
            width = channels
        self.features = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(WIDTH, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classified(self.pooled(x))

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """What the last layer sees, [n, 256]."""
        x = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        x = F.max_pool2d(torch.relu(self.stem(x)), 3, 2)
        return cast("torch.Tensor", self.features(x).mean(dim=(2, 3)))

    def classified(self, pooled: torch.Tensor) -> torch.Tensor:
        """What the last layer says of that."""
        return cast("torch.Tensor", self.head(self.dropout(pooled)))


def read(archive: Path) -> Mapping[str, torch.Tensor]:
    """Real-valued tensors by name from the npm package.

    Raises:
        ValueError: it is another file than the one this was written for.
    """
    names = [f"{_MODEL}-weights_manifest.json", f"{_MODEL}.bin"]
    manifest, raw = npm.read(archive, PACKAGE, ARCHIVE_SHA256, names)
    found, at = {}, 0
    for entry in json.loads(manifest)[0]["weights"]:
        count, coding = int(np.prod(entry["shape"])), entry.get("quantization")
        values = np.frombuffer(raw, np.uint8 if coding else np.float32, count, at)
        at += values.nbytes
        if coding:
            values = values.astype(np.float32) * coding["scale"] + coding["min"]
        found[entry["name"]] = torch.tensor(values.reshape(entry["shape"]))
    return found


@torch.no_grad()
def pretrained(archive: Path, faces: torch.Tensor) -> FaceNet:
    """The network as published, but for the last layer, which is new.

    The published layers scale and shift where these have batch norms: their statistics are those of ``faces``
    (float [n, 1, 48, 48] in [-1, 1]), with which both compute the same.
    """
    weights, net = read(archive), FaceNet().eval()

    def fill(unit: Unit, name: str, x: torch.Tensor) -> torch.Tensor:
        kernel, bias = weights[f"{name}/conv/filters"].permute(3, 2, 0, 1), weights[f"{name}/conv/bias"]
        scale, shift = weights[f"{name}/scale/weights"], weights[f"{name}/scale/biases"]
        if unit is net.stem:  # from colours in 0..255, centred and divided by 255, to grey in [-1, 1]
            bias = bias + (kernel.sum((2, 3)) * (127.5 - torch.tensor(_MEAN_RGB)) / 255).sum(1)
            kernel = kernel.sum(1, keepdim=True) * 127.5 / 255
        unit.conv.weight.copy_(kernel)
        unfold(unit.norm, unit.conv(x), scale, shift + scale * bias)
        return unit(x)

    x = F.interpolate(faces, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    x = F.max_pool2d(torch.relu(fill(net.stem, "conv32_down", x)), 3, 2)
    for name, block in zip(BLOCKS, net.features, strict=True):
        fill(block.second, f"{name}/conv2", torch.relu(fill(block.first, f"{name}/conv1", x)))
        x = block(x)
    return net
