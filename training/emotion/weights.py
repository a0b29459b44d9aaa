"""Networks by the name of their layout: new ones, trained ones from disk, and those that have seen faces before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from training.emotion import facenet, faceres
from training.emotion.facenet import FaceNet
from training.emotion.faceres import FaceRes
from training.emotion.network import LAYOUTS, EmotionNet

Network = EmotionNet | FaceNet | FaceRes

PRETRAINED: Mapping[str, Callable[[Path, torch.Tensor], FaceNet | FaceRes]] = MappingProxyType(
    {"face": facenet.pretrained, "faceres": faceres.pretrained}
)
"""From an npm package and faces, float [n, 1, 48, 48] in [-1, 1]."""


def build(layout: str) -> Network:
    """A new network of one of :data:`LAYOUTS` or of :data:`PRETRAINED`."""
    if layout in LAYOUTS:
        return EmotionNet(LAYOUTS[layout])
    return FaceNet() if layout == "face" else FaceRes()


def load_weights(path: Path) -> Network:
    """A network with the weights of ``path`` (written by :mod:`training.emotion.train`)."""
    saved = torch.load(path, weights_only=True)
    net = build(saved["layout"])
    net.load_state_dict(saved["state"])
    return net.eval()
